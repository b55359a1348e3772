/* Arenas: alignment, zeroes, the budget, and that what was handed out stays apart. */
#include <check.h>
#include <stdalign.h>
#include <stdlib.h>

#include "postern/arena.h"

static bool is_filled(const char *p, size_t n, char with)
{
    while (n > 0 && p[n - 1] == with)
        n--;
    return n == 0;
}

START_TEST(pieces_are_aligned_zeroed_and_apart)
{
    struct arena a;
    arena_init(&a, 8u << 20);
    char *pieces[2000];
    for (size_t i = 0; i < N_ELEMENTS(pieces); i++) {
        size_t n = i % 7 == 0 ? i * 5 : i % 61;
        pieces[i] = arena_alloc(&a, n);
        ck_assert_ptr_nonnull(pieces[i]);
        ck_assert_uint_eq((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        ck_assert(is_filled(pieces[i], n, 0));
        memset(pieces[i], (int)(i & 0x7F), n);
    }
    for (size_t i = 0; i < N_ELEMENTS(pieces); i++) {
        size_t n = i % 7 == 0 ? i * 5 : i % 61;
        ck_assert(is_filled(pieces[i], n, (char)(i & 0x7F)));
    }
    ck_assert_uint_ge(a.held_bytes, a.used_bytes);
    arena_clear(&a);
    ck_assert_uint_eq(a.used_bytes, 0);
    ck_assert_uint_eq(a.held_bytes, 0);
    ck_assert_ptr_nonnull(arena_alloc(&a, 1));
    arena_clear(&a);
}
END_TEST

START_TEST(budget)
{
    struct arena a;
    arena_init(&a, 1024);
    ck_assert_ptr_null(arena_alloc(&a, 1025));
    ck_assert_ptr_nonnull(arena_alloc(&a, 1000));
    ck_assert_ptr_null(arena_alloc(&a, 100));
    ck_assert_ptr_nonnull(arena_alloc(&a, 16));
    ck_assert_ptr_null(arena_alloc(&a, 1));
    ck_assert_ptr_null(arena_alloc(&a, 0));
    ck_assert_uint_le(a.used_bytes, 1024);
    arena_clear(&a);
    ck_assert_ptr_nonnull(arena_alloc(&a, 1000));
    arena_clear(&a);
}
END_TEST

START_TEST(sizes_do_not_wrap)
{
    struct arena a;
    arena_init(&a, SIZE_MAX);
    ck_assert_ptr_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    ck_assert_ptr_null(arena_calloc(&a, SIZE_MAX, SIZE_MAX));
    ck_assert_ptr_null(arena_strndup(&a, "", SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
    ck_assert_uint_eq(a.used_bytes, 0);
    ck_assert_ptr_nonnull(arena_calloc(&a, 10, 0));
    ck_assert_ptr_nonnull(arena_calloc(&a, 0, 10));
    arena_clear(&a);
}
END_TEST

START_TEST(copies)
{
    struct arena a;
    arena_init(&a, 65536);
    ck_assert_str_eq(arena_strndup(&a, "hello", 4), "hell");
    struct slice empty = arena_slice(&a, (struct slice){NULL, 0});
    ck_assert_ptr_nonnull(empty.p);
    ck_assert_uint_eq(empty.n, 0);
    struct slice s = arena_slice(&a, SLICE("a\0b"));
    ck_assert_uint_eq(s.n, 3);
    ck_assert_mem_eq(s.p, "a\0b", 4);
    ck_assert_str_eq(arena_join(&a, SLICE("ab"), SLICE("cd")).p, "abcd");
    ck_assert_uint_eq(arena_join(&a, (struct slice){NULL, 0}, SLICE("cd")).n, 2);
    ck_assert_str_eq(arena_join(&a, SLICE("ab"), (struct slice){NULL, 0}).p, "ab");
    ck_assert_ptr_null(arena_join(&a, SLICE("ab"), (struct slice){"", SIZE_MAX - 2}).p);
    ck_assert_str_eq(arena_printf(&a, "%s-%d", "x", 42), "x-42");
    char *wide = arena_printf(&a, "%5000d", 1);
    ck_assert_uint_eq(strlen(wide), 5000);
    ck_assert_ptr_null(arena_printf(&a, "%70000d", 1));
    ck_assert_ptr_null(arena_slice(&a, (struct slice){wide, 70000}).p);
    arena_clear(&a);
}
END_TEST

/* Whatever was taken meanwhile: in the head, in new heads, in blocks alone. */
START_TEST(rewinds)
{
    static const size_t sizes[] = {16, 1000, 5000, 100000, 3000000};
    for (unsigned before = 0; before <= N_ELEMENTS(sizes); before++) {
        struct arena a;
        arena_init(&a, 1u << 28);
        char *kept[N_ELEMENTS(sizes)];
        for (unsigned i = 0; i < before; i++)
            kept[i] = memset(arena_alloc(&a, sizes[i]), 'k', sizes[i]);
        struct arena_mark m = arena_mark(&a);
        struct arena was = a;
        for (unsigned lap = 0; lap < 3; lap++) {
            for (unsigned i = 0; i < 40; i++) {
                size_t n = sizes[(i + lap) % N_ELEMENTS(sizes)];
                memset(arena_alloc(&a, n), 'x', n);
            }
            arena_rewind(&a, &m);
            ck_assert(a.head == was.head && a.used_bytes == was.used_bytes && a.held_bytes == was.held_bytes);
        }
        for (unsigned i = 0; i < before; i++)
            ck_assert(kept[i][0] == 'k' && kept[i][sizes[i] - 1] == 'k');
        ck_assert_ptr_nonnull(arena_alloc(&a, 64));
        arena_clear(&a);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, pieces_are_aligned_zeroed_and_apart);
    tcase_add_test(tests, budget);
    tcase_add_test(tests, sizes_do_not_wrap);
    tcase_add_test(tests, copies);
    tcase_add_test(tests, rewinds);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

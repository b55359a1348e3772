/*
 * Address lists: what is read lies in the list in its order, each piece reads as itself alone, and the list with one
 * of them cut out holds the others.
 */
#include "connectors/edit.h"
#include "connectors/mailbox.h"
#include "postern/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define READ_MAX 64

static size_t read_all(struct slice text, struct mailbox *out)
{
    struct mailbox_list list = {.text = text};
    struct errmsg e;
    size_t n = 0;
    enum err err = OK;
    while (n < READ_MAX && (err = mailbox_next(&list, &out[n], &e)) == OK)
        n++;
    ensure(err != ERR_SYNTAX || e.text[0] != '\0');
    return err == ERR_SYNTAX ? SIZE_MAX : n;
}

static void cut_one(struct slice text, const struct mailbox *all, size_t n, size_t cut, struct arena *a)
{
    struct edits edits = {.arena = a};
    struct edit_row row = {.edits = &edits};
    struct mailbox left[READ_MAX];
    struct slice rest;
    for (size_t i = 0; i < n; i++)
        edit_row_item(&row, all[i].start, all[i].end, i + 1 < n ? all[i + 1].start : SIZE_MAX, i == cut);
    ensure(edit_apply(&edits, text, &rest) == OK);
    ensure(read_all(rest, left) == n - 1);
    for (size_t i = 0, k = 0; i < n; i++) {
        if (i != cut)
            ensure(slice_eq(all[i].address, left[k].address) && slice_eq(all[i].name, left[k].name) && ++k > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice text = {(const char *)data, n};
    struct mailbox all[READ_MAX], one[READ_MAX];
    size_t found = read_all(text, all), behind = 0;
    if (found == SIZE_MAX || found == READ_MAX)
        return 0;
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    for (size_t i = 0; i < found; i++) {
        ensure(behind <= all[i].start && all[i].start < all[i].end && all[i].end <= n);
        behind = all[i].end;
        struct slice piece = {text.p + all[i].start, all[i].end - all[i].start};
        ensure(read_all(piece, one) == 1 && slice_eq(one[0].address, all[i].address));
        cut_one(text, all, found, i, &arena);
    }
    arena_clear(&arena);
    return 0;
}

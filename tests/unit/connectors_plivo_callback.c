/*
 * Plivo's own posts about a message that Postern released: genuine or not, and what the application is handed on.
 * Each signature here was taken by the validators of plivo-node 4.79.0 and 4.40.0 (validateSignature,
 * validateV3Signature).
 */
#include <check.h>

#include "connectors/plivo.h"

#define OURS  "https://postern.example/postern/v1/callbacks/plivo/33333333-3333-4333-8333-333333333333"
#define TO    "to=https%3A%2F%2Fapp.example%2Fcb%3Fa%3D1"
#define QUERY TO "&via=POST&mac=29b3dcd1dc67bf68c621fe6ed3d58782"
#define POST                                                                                                           \
    "MessageUUID=77777777-7777-4777-8777-777777777777&ParentMessageUUID=77777777-7777-4777-8777-777777777777&"         \
    "From=15005550006&To=15550100001&Status=delivered&Units=1&ErrorCode=000&requester_ip=192.0.2.1&"                   \
    "Extra=%2Fv1%2FAccount%2FMA99999999999999999999%2Fx&Name=J%C3%B6rg+%26+S%C3%B6hne"
#define NONCE    "05429567804466091622"
#define V2       "2iH6fUm09NMp69+vuxE2SNr5uBdI94NK2s1etnSsnrs="
#define V3       "QVX4/TV5oPWI7IqxtwarwU7LS7Elpac1xHYkY+DxrNk="
#define V3_EMPTY "M5aRmNo+w5ygNrwL/WsX9RhzpaibFpaaacBtZUT3Q7c="

static const struct provider_login login = {.account = SLICE_INIT("MA99999999999999999999"),
                                            .secret = SLICE_INIT("provider-token")};
static struct arena arena;

static void set_up(void)
{
    arena_init(&arena, 1u << 20);
}

static void tear_down(void)
{
    arena_clear(&arena);
}

struct signature {
    const char *field, *value; /* NULL: none */
};

static bool genuine(const char *query, const char *body, struct signature one, struct signature two, const char *secret)
{
    struct wire_field fields[5] = {
        {SLICE("Content-Type"), SLICE("application/x-www-form-urlencoded")},
        {SLICE("X-Plivo-Signature-V2-Nonce"), SLICE(NONCE)},
    };
    struct wire_request r = {.query = slice_of(query), .fields = fields, .n_fields = 2, .body = slice_of(body)};
    const struct signature given[] = {one, two};
    for (size_t i = 0; i < N_ELEMENTS(given); i++) {
        if (given[i].field != NULL)
            fields[r.n_fields++] = (struct wire_field){slice_of(given[i].field), slice_of(given[i].value)};
    }
    if (two.field != NULL && strstr(two.field, "V3") != NULL)
        fields[r.n_fields++] = (struct wire_field){SLICE("X-Plivo-Signature-V3-Nonce"), SLICE(NONCE)};
    const char *url = arena_printf(&arena, OURS "%s%s", query[0] == '\0' ? "" : "?", query);
    struct provider_login own = {.account = login.account, .secret = slice_of(secret)};
    return url != NULL && plivo_is_genuine(&r, slice_of(url), &own, &arena);
}

static const struct signature none;
#define SIGNED_V2(value) ((struct signature){"X-Plivo-Signature-V2", value})

static const struct {
    bool good;
    const char *query, *body;
    struct signature one, two;
} posts[] = {
    {true, QUERY, POST, {"X-Plivo-Signature-V2", V2}, {NULL, NULL}},
    {true, QUERY, POST, {"X-Plivo-Signature-Ma-V2", V2}, {NULL, NULL}},
    {true, QUERY, POST, {"X-Plivo-Signature-V2", "x"}, {"X-Plivo-Signature-Ma-V2", V2}},
    {true, QUERY, POST, {"X-Plivo-Signature-V2", "x, " V2 ",y"}, {NULL, NULL}},
    {true, QUERY, POST, {NULL, NULL}, {"X-Plivo-Signature-V3", V3}},
    {true, QUERY, POST, {"X-Plivo-Signature-V2", "x"}, {"X-Plivo-Signature-Ma-V3", "x," V3}},
    {true, QUERY, "", {NULL, NULL}, {"X-Plivo-Signature-V3", V3_EMPTY}},
    {true, TO "&via=GET&mac=453a28e4032a873a9d22fb7e91f64050", POST, {"X-Plivo-Signature-V2", V2}, {NULL, NULL}},
    /* no signature, another one, one of other parameters where those are signed */
    {false, QUERY, POST, {NULL, NULL}, {NULL, NULL}},
    {false, QUERY, POST, {"X-Plivo-Signature-V2", ""}, {NULL, NULL}},
    {false, QUERY, POST, {"X-Plivo-Signature-V2", V3}, {NULL, NULL}},
    {false, QUERY, POST, {"X-Plivo-Signature-V2", V2}, {"X-Plivo-Signature-V3", V2}},
    {false, QUERY, POST "&x=1", {"X-Plivo-Signature-V2", V2}, {"X-Plivo-Signature-V3", V3}},
    {false, QUERY, "a=1&a=2", {NULL, NULL}, {"X-Plivo-Signature-V3", V3}},
    {false, QUERY "&a=%zz", POST, {NULL, NULL}, {"X-Plivo-Signature-V3", V3}},
    /* V2 does not cover the query: our own MAC does */
    {false, "", POST, {"X-Plivo-Signature-V2", V2}, {NULL, NULL}},
    {false, TO, POST, {"X-Plivo-Signature-V2", V2}, {NULL, NULL}},
    {false, TO "&via=GET&mac=29b3dcd1dc67bf68c621fe6ed3d58782", POST, {"X-Plivo-Signature-V2", V2}, {NULL, NULL}},
    {false,
     "to=https%3A%2F%2Fevil.example&via=POST&mac=29b3dcd1dc67bf68c621fe6ed3d58782",
     POST,
     {"X-Plivo-Signature-V2", V2},
     {NULL, NULL}},
    {false, QUERY "&to=x", POST, {"X-Plivo-Signature-V2", V2}, {NULL, NULL}},
    {false, "", POST, {NULL, NULL}, {"X-Plivo-Signature-V3", "8h1Qvygrm3eGME0hqyroN7wKpuCpMDG/sUpe4a1rNek="}},
};

START_TEST(genuine_or_not)
{
    ck_assert(genuine(posts[_i].query, posts[_i].body, posts[_i].one, posts[_i].two, "provider-token") ==
              posts[_i].good);
    ck_assert(!genuine(posts[_i].query, posts[_i].body, posts[_i].one, posts[_i].two, "provider-tokem"));
}
END_TEST

START_TEST(without_a_nonce)
{
    struct wire_field fields[] = {{SLICE("Content-Type"), SLICE("application/x-www-form-urlencoded")},
                                  {SLICE("X-Plivo-Signature-V2"), SLICE(V2)}};
    struct wire_request r = {.query = SLICE(QUERY), .fields = fields, .n_fields = 2, .body = SLICE(POST)};
    ck_assert(!plivo_is_genuine(&r, SLICE(OURS "?" QUERY), &login, &arena));
}
END_TEST

/* What is put into the URL is what is taken out of it. */
START_TEST(the_url_is_ours)
{
    struct plivo_callback app = {SLICE("https://app.example/cb?a=1"), SLICE("POST")};
    struct slice url = plivo_callback_url(SLICE(OURS), app, login.secret, &arena);
    ck_assert(slice_eq_cstr(url, OURS "?" QUERY));
}
END_TEST

static enum err relay(const char *query, const char *body, struct slice *url, struct outgoing *out)
{
    static const struct wire_field type = {SLICE_INIT("Content-Type"), SLICE_INIT("application/x-www-form-urlencoded")};
    struct wire_request r = {.query = slice_of(query), .fields = &type, .n_fields = 1, .body = slice_of(body)};
    struct relay_options o = {.login = &login,
                              .id = SLICE("33333333-3333-4333-8333-333333333333"),
                              .account = SLICE("MA00000000000000000001"),
                              .secret = SLICE("app-token")};
    return plivo_relay(&r, &o, &arena, url, out);
}

#define RELAYED                                                                                                        \
    "ErrorCode=000&From=15005550006&MessageUUID=33333333-3333-4333-8333-333333333333&Name=J%C3%B6rg+%26+S%C3%B6hne&"   \
    "ParentMessageUUID=33333333-3333-4333-8333-333333333333&Status=delivered&To=15550100001&Units=1&"                  \
    "requester_ip=192.0.2.1"

START_TEST(the_application_hears_its_own_names)
{
    struct slice url;
    struct outgoing out;
    ck_assert_int_eq(relay(QUERY, POST, &url, &out), OK);
    ck_assert(slice_eq_cstr(url, "https://app.example/cb?a=1"));
    ck_assert(slice_eq_cstr(out.method, "POST"));
    ck_assert(slice_eq_cstr(out.path_and_query, "/cb?a=1"));
    ck_assert_msg(slice_eq_cstr(out.body, RELAYED), "%.*s", SLICE_ARG(out.body));
    ck_assert_int_eq(relay(TO "&via=GET&mac=x", POST, &url, &out), OK);
    ck_assert(slice_eq_cstr(out.method, "GET"));
    ck_assert(slice_eq_cstr(out.path_and_query, "/cb?a=1&" RELAYED));
    ck_assert_uint_eq(out.body.n, 0);
}
END_TEST

/* A field that names the provider's message stays behind; a post that names none has nothing to hide. */
START_TEST(other_names_of_the_message)
{
    struct slice url;
    struct outgoing out;
    ck_assert_int_eq(relay(QUERY, "MessageUUID=77&Media=%2Fx%2F77&To=1", &url, &out), OK);
    ck_assert(slice_eq_cstr(out.body, "MessageUUID=33333333-3333-4333-8333-333333333333&To=1"));
    ck_assert_int_eq(relay(QUERY, "Media=%2Fx%2F77", &url, &out), OK);
    ck_assert(slice_eq_cstr(out.body, "Media=%2Fx%2F77"));
}
END_TEST

START_TEST(nowhere_to_go_on_to)
{
    struct slice url;
    struct outgoing out;
    ck_assert_int_eq(relay("", POST, &url, &out), ERR_SYNTAX);
    ck_assert_int_eq(relay("a=1&a=2", POST, &url, &out), ERR_SYNTAX);
    ck_assert_int_eq(relay(QUERY, "a=1&a=2", &url, &out), ERR_SYNTAX);
    ck_assert_int_eq(relay("to=not+a+URL&via=POST", POST, &url, &out), ERR_SYNTAX);
}
END_TEST

/* A signature, a relay or a URL that memory is not enough for is none; with enough, all are what they were. */
START_TEST(posts_short_of_bytes)
{
    struct arena whole = arena;
    const struct plivo_callback app = {SLICE("https://app.example/cb?a=1"), SLICE("POST")};
    size_t n_genuine = 0, n_relayed = 0, n_urls = 0, n = 0;
    for (size_t bytes = 16; bytes < 32768; bytes += 16, n++) {
        struct slice url;
        struct outgoing out;
        arena_init(&arena, bytes);
        n_genuine += genuine(QUERY, POST, none, (struct signature){"X-Plivo-Signature-V3", V3}, "provider-token");
        arena_clear(&arena);
        arena_init(&arena, bytes);
        n_genuine += genuine(QUERY, POST, SIGNED_V2(V2), none, "provider-token");
        arena_clear(&arena);
        arena_init(&arena, bytes);
        if (relay(QUERY, POST, &url, &out) == OK) {
            ck_assert(slice_eq_cstr(out.body, RELAYED));
            n_relayed++;
        }
        arena_clear(&arena);
        arena_init(&arena, bytes);
        struct slice ours = plivo_callback_url(SLICE(OURS), app, login.secret, &arena);
        n_urls += ours.p != NULL && slice_eq_cstr(ours, OURS "?" QUERY);
        ck_assert(ours.p == NULL || slice_eq_cstr(ours, OURS "?" QUERY));
        arena_clear(&arena);
    }
    ck_assert(n_genuine > 0 && n_genuine < 2 * n);
    ck_assert(n_relayed > 0 && n_relayed < n);
    ck_assert(n_urls > 0 && n_urls < n);
    arena = whole;
}
END_TEST

int main(void)
{
    Suite *s = suite_create("connectors_plivo_callback");
    TCase *t = tcase_create("plivo");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, genuine_or_not, 0, (int)N_ELEMENTS(posts));
    tcase_add_test(t, without_a_nonce);
    tcase_add_test(t, the_url_is_ours);
    tcase_add_test(t, the_application_hears_its_own_names);
    tcase_add_test(t, other_names_of_the_message);
    tcase_add_test(t, nowhere_to_go_on_to);
    tcase_add_test(t, posts_short_of_bytes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}

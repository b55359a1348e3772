/*
 * A contact as the native API reads it: members, addresses, preferences.  What is
 * accepted becomes rows whose values can be written as JSON again.
 */
#include <jansson.h>

#include "gateway/api_contacts.h"
#include "gateway/api_preferences.h"
#include "gateway/place.h"
#include "postern/json.h"
#include "postern/limits.h"

#define NOW_MS INT64_C(1795341600000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_put(const struct store_contact_put *put, struct arena *a)
{
    for (size_t i = 0; i < put->n_preferences; i++) {
        const struct preference *p = &put->preferences[i];
        struct errmsg e;
        struct buf b;
        buf_init(&b, a, LIMIT_JSON_API_BYTES);
        buf_add_cstr(&b, "[");
        if (p->text.n == 0)
            continue; /* cleared */
        api_preference_value(&b, p->key, p->text);
        buf_add_cstr(&b, "]");
        if (b.failed)
            continue;
        json_t *again = json_parse(buf_slice(&b), &e);
        ensure(again != NULL && json_array_size(again) == 1);
        json_decref(again);
    }
}

static void read_contact(json_t *body, struct arena *a)
{
    static struct category categories[] = {{.name = "newsletter"}, {.name = "invoice"}};
    struct conf conf = {.policy = {.categories = categories, .n_categories = N_ELEMENTS(categories)}};
    struct gateway gateway = {.conf = &conf};
    struct http_request request = {.arena = a};
    struct api_call call = {.g = &gateway, .r = &request, .body = body};
    struct contact_wish wish;
    struct contact before = {0};
    struct api_fault fault = {0};
    struct store_contact_put put = {.arena = a, .id = SLICE("ada"), .now_ms = NOW_MS};
    if (!contact_wish_read(&call, NOW_MS, &wish, &fault)) {
        ensure(fault.set && fault.why.text[0] != '\0' && slice_is_utf8(slice_of(fault.why.text)));
        return;
    }
    if (contact_wish_apply(&wish, &before, &put, &fault) == CONTACT_CHANGES)
        check_put(&put, a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena arena;
    struct errmsg e;
    static bool ready;
    if (!ready)
        place_load(NOW_MS);
    ready = true;
    json_t *body = json_parse((struct slice){(const char *)data, n}, &e);
    arena_init(&arena, LIMIT_ARENA_BYTES);
    if (json_is_object(body))
        read_contact(body, &arena);
    json_decref(body);
    arena_clear(&arena);
    return 0;
}

/* Forms: fields cover the body, values are UTF-8, and a form written anew reads the same. */
#include "connectors/form.h"
#include "postern/buf.h"
#include "postern/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const repeatable[] = {"MediaUrl", NULL};
    struct arena arena;
    struct form form, again;
    struct errmsg e;
    struct buf b;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    buf_init(&b, &arena, 4u << 20);
    if (form_parse((struct slice){(const char *)data, n}, repeatable, &arena, &form, &e) == OK) {
        for (size_t i = 0; i < form.n; i++) {
            ensure(form.fields[i].start < form.fields[i].end && form.fields[i].end <= n);
            ensure(slice_is_utf8(form.fields[i].value));
            buf_add_cstr(&b, i == 0 ? "" : "&");
            buf_add_form(&b, form.fields[i].name);
            buf_add_cstr(&b, "=");
            buf_add_form(&b, form.fields[i].value);
        }
        if (!b.failed) {
            ensure(form_parse(buf_slice(&b), repeatable, &arena, &again, &e) == OK && again.n == form.n);
            for (size_t i = 0; i < form.n; i++)
                ensure(slice_eq(form.fields[i].value, again.fields[i].value));
        }
    }
    arena_clear(&arena);
    return 0;
}

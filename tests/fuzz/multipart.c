/*
 * multipart/form-data: parts lie one behind the other, the body without one of them is a body with the others, and no
 * delimiter is left in a value.
 */
#include "connectors/edit.h"
#include "connectors/multipart.h"
#include "postern/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct slice type = SLICE_INIT("multipart/form-data; boundary=b");

static void cut_one(struct slice body, const struct multipart *m, size_t cut, struct arena *a)
{
    struct edits edits = {.arena = a};
    struct slice rest;
    struct multipart left;
    struct errmsg e;
    edit_cut(&edits, m->parts[cut].start, m->parts[cut].end);
    if (edit_apply(&edits, body, &rest) != OK)
        return;
    enum err err = multipart_parse(type, rest, a, &left, &e);
    if (err == ERR_LIMIT)
        return;
    ensure(err == OK && left.n == m->n - 1);
    for (size_t i = 0, k = 0; i < m->n; i++) {
        if (i != cut)
            ensure(slice_eq(m->parts[i].name, left.parts[k].name) && slice_eq(m->parts[i].value, left.parts[k].value) &&
                   m->parts[i].file == left.parts[k].file && ++k);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice body = {(const char *)data, n};
    struct arena arena;
    struct multipart m;
    struct errmsg e;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    enum err err = multipart_parse(type, body, &arena, &m, &e);
    ensure(err == OK || err == ERR_LIMIT || e.text[0] != '\0');
    for (size_t i = 0; err == OK && i < m.n; i++) {
        const struct multipart_part *p = &m.parts[i];
        ensure(p->start == (i == 0 ? 0 : m.parts[i - 1].end) && p->end <= n);
        ensure(p->name.n > 0 && slice_is_clean(p->name));
        ensure(memmem(p->value.p, p->value.n, "--b", 3) == NULL);
        ignore(multipart_is_utf8(p)); /* may be either */
        if (i < 8)
            cut_one(body, &m, i, &arena);
    }
    arena_clear(&arena);
    return 0;
}

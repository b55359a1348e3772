/*
 * Editing bytes without reading them again.  Knows nothing of JSON or forms: only
 * offsets, ascending.  The one idea: an item of a row takes the separator before it
 * along when something that stays stands before it, else the one behind it.
 */
#include "edit.h"

#define FIRST_EDITS 16u

void edit_replace(struct edits *e, size_t start, size_t end, struct slice put)
{
    ensure(start <= end && (e->n == 0 || e->list[e->n - 1].end <= start));
    if (e->n == e->cap) {
        size_t cap = e->cap == 0 ? FIRST_EDITS : e->cap * 2;
        struct edit *moved = arena_calloc(e->arena, cap, sizeof *moved);
        if (moved == NULL) {
            e->failed = true;
            return;
        }
        if (e->n > 0)
            memcpy(moved, e->list, e->n * sizeof *moved);
        e->list = moved;
        e->cap = cap;
    }
    e->list[e->n++] = (struct edit){start, end, put};
}

void edit_cut(struct edits *e, size_t start, size_t end)
{
    edit_replace(e, start, end, (struct slice){NULL, 0});
}

enum err edit_apply(const struct edits *e, struct slice body, struct slice *out)
{
    if (e->failed)
        return ERR_LIMIT;
    if (e->n == 0) {
        *out = body;
        return OK;
    }
    size_t n = body.n;
    for (size_t i = 0; i < e->n; i++)
        n = n - (e->list[i].end - e->list[i].start) + e->list[i].put.n;
    char *text = arena_bytes(e->arena, n + 1);
    if (text == NULL)
        return ERR_LIMIT;
    size_t from = 0, to = 0;
    for (size_t i = 0; i < e->n; i++) {
        const struct edit *edit = &e->list[i];
        memcpy(text + to, body.p + from, edit->start - from);
        to += edit->start - from;
        if (edit->put.n > 0)
            memcpy(text + to, edit->put.p, edit->put.n);
        to += edit->put.n;
        from = edit->end;
    }
    memcpy(text + to, body.p + from, body.n - from);
    text[n] = '\0';
    *out = (struct slice){text, n};
    return OK;
}

void edit_row_item(struct edit_row *r, size_t start, size_t end, size_t next_start, bool cut)
{
    if (!cut)
        r->kept_before = true;
    else if (r->kept_before)
        edit_cut(r->edits, r->end_before, end);
    else
        edit_cut(r->edits, start, next_start == SIZE_MAX ? end : next_start);
    r->end_before = end;
}

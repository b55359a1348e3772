/*
 * The packed form: each number seven bits at a time, low ones first, the high bit set while more follow; the category
 * with its length before it.  Written by this process or another one of the same schema, so bytes that do not fit are
 * damage: the walk ends there, and what was read stands.
 */
#include "store/packed.h"

#include <stdlib.h>

#define NUMBER_MAX 10 /* bytes of 64 bits */
#define NUMBERS    8
#define BYTES_MAX  ((size_t)(NUMBERS + 1) * NUMBER_MAX) /* of a message, but for its category */

static size_t put_number(char *to, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        to[n++] = (char)(v | 0x80);
    to[n++] = (char)v;
    return n;
}

static bool take_number(struct slice *in, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < in->n && i < NUMBER_MAX; i++) {
        v |= (uint64_t)(in->p[i] & 0x7f) << (7 * i);
        if ((in->p[i] & 0x80) == 0) {
            *in = (struct slice){in->p + i + 1, in->n - i - 1};
            *out = v;
            return true;
        }
    }
    return false;
}

static void reserve(struct packed *p, size_t n)
{
    if (p->cap - p->n >= n)
        return;
    p->cap = (p->cap + n) * 2;
    p->p = xrealloc(p->p, p->cap, 1);
}

void packed_add(struct packed *to, const struct packed_message *m)
{
    reserve(to, BYTES_MAX + m->category.n);
    /* One more than the mail, so that MAIL_RELEASED is a small number too. */
    const uint64_t numbers[NUMBERS] = {m->decision, (uint64_t)m->at_ms, m->contact_hash, m->subject_id,
                                       m->channel,  m->class,           m->counting,     (uint64_t)(m->mail + 1)};
    char *at = to->p + to->n;
    for (size_t i = 0; i < NUMBERS; i++)
        at += put_number(at, numbers[i]);
    at += put_number(at, m->category.n);
    if (m->category.n > 0)
        memcpy(at, m->category.p, m->category.n);
    to->n = (size_t)(at - to->p) + m->category.n;
}

void packed_clear(struct packed *p)
{
    free(p->p);
    *p = (struct packed){0};
}

bool packed_take(struct slice *in, struct packed_message *out)
{
    uint64_t numbers[NUMBERS], length;
    for (size_t i = 0; i < NUMBERS; i++) {
        if (!take_number(in, &numbers[i]))
            return false;
    }
    if (!take_number(in, &length) || length > in->n)
        return false;
    *out = (struct packed_message){.decision = numbers[0],
                                   .at_ms = (int64_t)numbers[1],
                                   .contact_hash = numbers[2],
                                   .subject_id = (uint32_t)numbers[3],
                                   .channel = (uint8_t)numbers[4],
                                   .class = (uint8_t)numbers[5],
                                   .counting = (uint8_t)numbers[6],
                                   .mail = (int64_t)numbers[7] - 1,
                                   .category = {in->p, (size_t)length}};
    *in = (struct slice){in->p + length, in->n - (size_t)length};
    return true;
}

/*
 * The latest sends by contact and content, in a table of fixed size: a newer send
 * takes the place of an older one that falls on the same row.  Forgetting costs a
 * notice, never a message.
 */
#include "duplicates.h"

#include <stdlib.h>

#define ROWS 65536u /* ten minutes at 100 messages a second */

struct row {
    uint64_t key;
    int64_t at_ms;
};

struct duplicates {
    struct row rows[ROWS];
};

static uint64_t key_of(uint64_t contact_hash, uint64_t fingerprint)
{
    uint64_t k = (contact_hash ^ (fingerprint << 1 | fingerprint >> 63)) * UINT64_C(0x9E3779B97F4A7C15);
    return k ^ k >> 32;
}

struct duplicates *duplicates_new(void)
{
    return xcalloc(1, sizeof(struct duplicates));
}

void duplicates_free(struct duplicates **d)
{
    free(take(d));
}

int64_t duplicates_last_ms(const struct duplicates *d, uint64_t contact_hash, uint64_t fingerprint)
{
    uint64_t key = key_of(contact_hash, fingerprint);
    const struct row *r = &d->rows[key % ROWS];
    return fingerprint != 0 && r->key == key ? r->at_ms : 0;
}

void duplicates_note(struct duplicates *d, uint64_t contact_hash, uint64_t fingerprint, int64_t now_ms)
{
    uint64_t key = key_of(contact_hash, fingerprint);
    if (fingerprint != 0)
        d->rows[key % ROWS] = (struct row){key, now_ms};
}

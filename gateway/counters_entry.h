/* One send as Redis holds it: 29 bytes, laid out in counters.lua, numbers big-endian. */
#ifndef GATEWAY_COUNTERS_ENTRY_H
#define GATEWAY_COUNTERS_ENTRY_H

#include <assert.h>

#include "postern/policy.h"

#define COUNTERS_ENTRY_BYTES 29
#define COUNTERS_CHECKS_HEAD 5
#define COUNTERS_CHECK_BYTES 36
#define COUNTERS_COUNT_BYTES 16

struct counters_entry {
    uint8_t b[COUNTERS_ENTRY_BYTES];
};

static inline void counters_put(uint8_t *p, size_t n, uint64_t value)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(value >> 8 * (n - 1 - i));
}

static inline uint64_t counters_take(const char *p, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | (uint8_t)p[i];
    return value;
}

/* Six bytes of a time; what lies before 1970 is 1970. */
static inline void counters_put_ms(uint8_t *p, int64_t ms)
{
    counters_put(p, 6, ms > 0 ? (uint64_t)ms : 0);
}

struct counters_send {
    uint64_t store, decision; /* together they name it everywhere */
    int64_t at_ms;
    enum message_class class;
    enum channel channel;
    enum cap_counting counts;
    uint32_t category_id, subject_id;
};

static inline void counters_entry_time(struct counters_entry *e, int64_t at_ms)
{
    counters_put_ms(e->b + 8, at_ms);
}

static_assert(CLASS_N <= 8 && CHANNEL_N <= 8, "each is a bit of a byte");

/* A commit is delivered as it was packed. */
static inline void counters_entry_reserve(uint8_t entry[COUNTERS_ENTRY_BYTES], int64_t redis_s)
{
    counters_put(entry + 25, 4, (uint64_t)redis_s);
}

static inline void counters_entry_pack(struct counters_entry *e, const struct counters_send *s)
{
    /* One to one for a store's decisions; two stores meet by chance alone, and only within one contact matters it. */
    counters_put(e->b, 8, (s->decision * UINT64_C(0x9E3779B97F4A7C15)) ^ s->store);
    counters_entry_time(e, s->at_ms);
    e->b[14] = (uint8_t)s->counts;
    e->b[15] = (uint8_t)(1u << s->class);
    e->b[16] = (uint8_t)(1u << s->channel);
    counters_put(e->b + 17, 4, s->category_id);
    counters_put(e->b + 21, 4, s->subject_id);
    counters_put(e->b + 25, 4, UINT32_MAX);
}

#endif

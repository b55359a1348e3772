/*
 * What is remembered of logins: by address, by address and login, and by address, login and secret, as keyed hashes in
 * one table of fixed size.  Knows no clock, no verifier and no client.
 *
 * The one idea: a guess is something new.  What was right before from that address is no guess, and the same wrong
 * secret once more (an application with an old password, trying for ever) is none either: the first always reaches the
 * verifier, the second not again for a while, and neither takes from what the address has left for others behind it.
 */
#include "auth_backoff.h"

#include <stdlib.h>

#include "postern/hash.h"

#define SETS         1024u /* of the table; which one an entry falls into, nobody outside can tell */
#define WAYS         8u
#define MINUTE_MS    60000
#define FORGET_MS    900000 /* without a failure for this long, a login's are forgotten */
#define QUICK        5u     /* failures at a login before it has to wait */
#define WAIT_MIN_MS  15000
#define WAIT_MAX_MS  60000
#define KNOWN_BAD_MS 60000 /* the configuration may have changed meanwhile */

enum kind { ADDRESS = 1, LOGIN, CREDENTIAL };

struct entry {
    uint64_t key;   /* 0: free */
    int64_t at_ms;  /* last touched: the oldest of a set gives way */
    int64_t due_ms; /* ADDRESS: when all its failures will have been paid off; else: not before this */
    uint32_t n;     /* LOGIN: failures; CREDENTIAL: 1 when it was right */
};

struct auth_backoff {
    uint64_t epoch; /* credentials of another one are forgotten */
    uint32_t burst;
    int64_t interval_ms; /* in any minute: burst, and what comes due meanwhile */
    struct entry set[SETS][WAYS];
};

struct auth_backoff *auth_backoff_new(uint32_t per_minute)
{
    struct auth_backoff *b = xcalloc(1, sizeof(*b));

    ensure(per_minute >= 1 && per_minute <= 1000);
    b->burst = per_minute >= 3 ? per_minute * 2 / 5 : 1; /* more than QUICK, so that another login finds some left */
    b->interval_ms = per_minute > b->burst ? MINUTE_MS / (per_minute - b->burst) + 1 : MINUTE_MS + 1;
    return b;
}

void auth_backoff_free(struct auth_backoff **b)
{
    free(take(b));
}

/* The lengths are hashed with the parts, so that no two lists of parts are one text. */
static uint64_t key_of(const struct auth_backoff *b, const struct auth_attempt *a, enum kind kind)
{
    const struct slice part[] = {a->address, a->login, a->secret};
    uint64_t h[4] = {kind == CREDENTIAL ? kind + b->epoch : kind};

    for (size_t i = 0; i < (size_t)kind; i++)
        h[i + 1] = hash_siphash(part[i].p, part[i].n);
    uint64_t key = hash_siphash(h, sizeof(h));
    return key != 0 ? key : 1;
}

/* WAYS: it is not there. */
static size_t way_of(const struct entry set[WAYS], uint64_t key)
{
    size_t i = 0;

    while (i < WAYS && set[i].key != key)
        i++;
    return i;
}

static const struct entry *find(const struct auth_backoff *b, uint64_t key)
{
    const struct entry *set = b->set[key % SETS];
    size_t way = way_of(set, key);

    return way < WAYS ? &set[way] : NULL;
}

/* Found, or made in place of the oldest. */
static struct entry *touch(struct auth_backoff *b, uint64_t key, int64_t now_ms)
{
    struct entry *set = b->set[key % SETS];
    size_t way = way_of(set, key);

    if (way == WAYS) {
        way = 0;
        for (size_t i = 1; i < WAYS && set[way].key != 0; i++) {
            if (set[i].key == 0 || set[i].at_ms < set[way].at_ms)
                way = i;
        }
        set[way] = (struct entry){.key = key};
    }
    set[way].at_ms = now_ms;
    return &set[way];
}

bool auth_backoff_admits(const struct auth_backoff *b, const struct auth_attempt *a, int64_t mono_ms)
{
    const struct entry *credential = find(b, key_of(b, a, CREDENTIAL));

    if (credential != NULL && credential->n == 1)
        return true;
    if (credential != NULL && mono_ms < credential->due_ms)
        return false;
    const struct entry *login = find(b, key_of(b, a, LOGIN)), *address = find(b, key_of(b, a, ADDRESS));
    if (login != NULL && mono_ms < login->due_ms)
        return false;
    return address == NULL || address->due_ms - mono_ms <= (b->burst - 1) * b->interval_ms;
}

static int64_t wait_ms(uint32_t failures)
{
    int64_t ms = WAIT_MIN_MS;

    if (failures < QUICK)
        return 0;
    for (uint32_t i = QUICK; i < failures && ms < WAIT_MAX_MS; i++)
        ms *= 2;
    return ms < WAIT_MAX_MS ? ms : WAIT_MAX_MS;
}

void auth_backoff_failed(struct auth_backoff *b, const struct auth_attempt *a, int64_t mono_ms)
{
    uint64_t key = key_of(b, a, LOGIN);
    const struct entry *before = find(b, key);
    bool forgotten = before != NULL && mono_ms - before->at_ms >= FORGET_MS;
    struct entry *login = touch(b, key, mono_ms);

    login->n = forgotten ? 1 : login->n + (login->n < UINT32_MAX);
    login->due_ms = mono_ms + wait_ms(login->n);

    struct entry *address = touch(b, key_of(b, a, ADDRESS), mono_ms);
    address->due_ms = (address->due_ms > mono_ms ? address->due_ms : mono_ms) + b->interval_ms;

    struct entry *credential = touch(b, key_of(b, a, CREDENTIAL), mono_ms);
    credential->n = 0;
    credential->due_ms = mono_ms + KNOWN_BAD_MS;
}

void auth_backoff_passed(struct auth_backoff *b, const struct auth_attempt *a, int64_t mono_ms)
{
    touch(b, key_of(b, a, CREDENTIAL), mono_ms)->n = 1;
}

void auth_backoff_keys_changed(struct auth_backoff *b)
{
    b->epoch++;
}

/*
 * Frequency counters in Redis: one string a contact, one script a turn.  Knows slots;
 * how they are asked for and delivered is counters_ask.c's and counters_turn.c's,
 * whether Redis' counts are whole counters_epoch.c's.
 *
 * The idea: a send is named by its decision, everywhere.  So a commit may be
 * delivered twice, late, or into counts that were rebuilt meanwhile: it is the same
 * send, and counts once.
 */
#include "counters_redis.h"

#include <stdlib.h>

#include "loop.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"

/* uthash is macros: their branches are not this file's.  NOLINTBEGIN(readability-function-size) */

static struct shared *shared_of(struct counters *base)
{
    return (struct shared *)base; /* its first member */
}

char *shared_key(uint64_t contact_hash, char out[COUNTERS_KEY])
{
    uint8_t hash[8];

    counters_put(hash, sizeof(hash), contact_hash);
    memcpy(out, COUNTERS_PREFIX "c:", sizeof(COUNTERS_PREFIX "c:") - 1);
    hash_hex(hash, sizeof(hash), out + sizeof(COUNTERS_PREFIX "c:") - 1);
    return out;
}

bool shared_usable(const struct shared *c)
{
    const struct epoch *e = &c->epoch;
    return redis_is_up(c->redis) && c->sha[0] != '\0' && e->verified && e->live && !c->draining &&
           strncmp(e->loaded, e->text, EPOCH_ID_HEX) == 0;
}

void shared_changed(struct shared *c, const char *why)
{
    bool usable = shared_usable(c);

    if (usable == c->told_usable)
        return;
    c->told_usable = usable;
    log_line(usable ? LOG_INFO : LOG_WARN, NULL, "counters", usable ? "up" : "down", "why=%s kept=%zu epoch=%.16s",
             LOG_Q(slice_of(why)), c->n_kept, c->epoch.text);
}

/* --- slots ----------------------------------------------------------------------------- */

static struct slot *slot_get(const struct shared *c, uint64_t decision)
{
    struct slot *slot;

    HASH_FIND(hh, c->slots, &decision, sizeof(decision), slot);
    return slot;
}

struct slot *shared_slot_new(struct shared *c, const struct counters_request *r, const struct counters_entry *entry)
{
    struct slot *slot = xcalloc(1, sizeof(*slot));

    ensure(r->decision != 0 && slot_get(c, r->decision) == NULL);
    slot->decision = r->decision;
    slot->contact_hash = r->contact_hash;
    slot->entry = *entry;
    slot->asked_mono_ms = clock_mono_ms();
    slot->epoch_n = c->epoch.n;
    HASH_ADD(hh, c->slots, decision, sizeof(slot->decision), slot);
    return slot;
}

/* Out of the table: nobody's but the caller's. */
static void slot_take(struct shared *c, struct slot *slot)
{
    /* The analyzer loses the list within uthash.  NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    HASH_DEL(c->slots, slot);
}

void shared_slot_free(struct shared *c, struct slot *slot)
{
    slot_take(c, slot);
    free(slot);
}

static void shared_commit(struct counters *base, uint64_t reservation, int64_t now_ms)
{
    struct shared *c = shared_of(base);
    struct slot *slot = slot_get(c, reservation);

    if (slot == NULL)
        return;
    slot_take(c, slot);
    counters_entry_time(&slot->entry, now_ms);
    turn_settle(c, slot);
}

void shared_release(struct counters *base, uint64_t reservation)
{
    struct shared *c = shared_of(base);
    struct slot *slot = slot_get(c, reservation);

    if (slot == NULL)
        return;
    /* What Redis never saw may be in a rebuild by now, as an open intent. */
    if (!slot->asked && c->epoch.n == slot->epoch_n && c->epoch.live) {
        shared_slot_free(c, slot);
        return;
    }
    slot_take(c, slot);
    slot->released = true;
    turn_settle(c, slot);
}

static bool shared_holds(const struct counters *base, uint64_t reservation)
{
    const struct shared *c = (const struct shared *)base;
    const struct slot *slot = slot_get(c, reservation);

    if (slot == NULL || !slot->counted)
        return true;
    return c->epoch.live && c->epoch.n == slot->epoch_n && clock_mono_ms() - slot->asked_mono_ms < COUNTERS_HOLD_MS;
}

/* --- start, end, state ------------------------------------------------------------------- */

static void on_script(enum err status, const struct redis_reply *reply, void *arg)
{
    struct shared *c = arg;

    c->script = NULL;
    if (status != OK || reply->kind != REDIS_TEXT || reply->text.n != sizeof(c->sha) - 1) {
        redis_reconnect(c->redis, status == OK && reply->kind == REDIS_ERROR ? reply->text.p : "it takes no script");
        return;
    }
    memcpy(c->sha, reply->text.p, sizeof(c->sha) - 1);
    epoch_ask(c);
}

static void before_write(void *arg)
{
    turn_end(arg);
}

static void on_state(bool up, void *arg)
{
    struct shared *c = arg;

    c->sha[0] = '\0';
    c->draining = true;
    turn_end(c);
    redis_op_cancel(&c->script);
    epoch_connected(c, up);
    if (up)
        c->script = redis_ask(c->redis, (struct slice[]){SLICE("SCRIPT"), SLICE("LOAD"), counters_lua}, 3,
                              COUNTERS_SETTLE_MS, on_script, c);
    shared_changed(c, "the connection to Redis is gone");
}

static void shared_free(struct counters *base)
{
    struct shared *c = shared_of(base);
    struct slot *slot, *next_slot;

    epoch_clear(c);
    redis_op_cancel(&c->script);
    turn_clear(c);
    HASH_ITER(hh, c->slots, slot, next_slot)
    {
        shared_slot_free(c, slot);
    }
    redis_free(&c->redis);
    free(c);
}

static struct counters_state shared_state(const struct counters *base)
{
    const struct shared *c = (const struct shared *)base;
    struct redis_counters r = redis_counters(c->redis);
    struct counters_state s = c->seen;

    s.reservations = HASH_COUNT(c->slots);
    s.up = shared_usable(c);
    s.breaker_open = !redis_is_up(c->redis);
    s.older = c->epoch.older;
    s.kept = c->n_fresh + c->n_kept + c->n_under_way;
    s.commands = r.commands;
    s.timeouts = r.timeouts;
    s.failures = r.failures;
    s.commands_us = r.answered_us;
    return s;
}

static const struct counters_ops redis_ops = {
    .ask = ask_new,
    .cancel = ask_cancel,
    .commit = shared_commit,
    .release = shared_release,
    .holds = shared_holds,
    .state = shared_state,
    .free = shared_free,
};

struct counters *counters_redis_new(struct loop *loop, const struct counters_redis_options *o, struct errmsg *e)
{
    struct shared *c = xcalloc(1, sizeof(*c));
    struct redis_options redis = {
        .host = o->host,
        .port = o->port,
        .db = o->db,
        .tls = o->tls,
        .ca_file = o->ca_file,
        .username = o->username,
        .password = o->password,
        .deadline_ms = o->deadline_ms,
        .on_state = on_state,
        .before_write = before_write,
        .arg = c,
    };

    c->base.ops = &redis_ops;
    c->loop = loop;
    c->store = o->store;
    turn_init(c);
    if (store_identity(o->store, &c->identity) != OK) {
        errmsg_set(e, "the store cannot say which one it is; run: posternctl audit verify");
        free(c);
        return NULL;
    }
    epoch_init(c);
    c->redis = redis_new(loop, &redis, e);
    if (c->redis == NULL) {
        free(c);
        return NULL;
    }
    return &c->base;
}

/* NOLINTEND(readability-function-size) */

/*
 * Is what Redis holds whole?  Asks twice a second, notices a flush, an eviction,
 * another server; reads the own store for the rebuild.  What is agreed between
 * processes is in counters_epoch.lua; here is one process's part.
 *
 * The idea: an epoch is a promise that Redis holds every send of every store.  A
 * reservation is acted upon only under the epoch it was made in, and for 2 s; a
 * rebuild waits longer than that before stores are read, so that what was reserved
 * in the lost epoch and did leave is in them.
 */
#include "counters_redis.h"

#include <stdio.h>
#include <stdlib.h>

#include "loop.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"

#define LIVE_ASK_MS  500
#define BUILD_ASK_MS 100
#define ASK_MS       1000 /* deadline of the questions here */
#define LOAD_MS      5000 /* and of a chunk of rows */
#define SETTLED_MS   (COUNTERS_HOLD_MS + 500)
#define AWAY_MS      60000
#define SLACK_MS                                                                                                       \
    (60 * MS_PER_MINUTE) /* rows that are loaded once more at a restart: clocks are set, results come late */

static void on_tick(void *arg)
{
    struct shared *c = arg;
    c->epoch.next = NULL;
    epoch_ask(c);
}

static void again_in(struct shared *c, int64_t ms)
{
    loop_cancel(&c->epoch.next);
    if (redis_is_up(c->redis))
        c->epoch.next = loop_after(c->loop, ms, on_tick, c);
}

/* --- loading the store's sends -------------------------------------------------------------- */

static void send_chunk(struct shared *c);

static void load_end(struct shared *c, bool ok)
{
    struct epoch *e = &c->epoch;

    redis_op_cancel(&e->loading_chunk);
    counters_load_free(&e->load);
    if (!ok)
        return;
    memcpy(e->loaded, e->loading, sizeof(e->loaded));
    e->upto_ms = e->load_began_ms - SLACK_MS;
    log_line(LOG_INFO, NULL, "counters", "loaded", "epoch=%s ms=%lld", e->loaded,
             (long long)(clock_wall_ms() - e->load_began_ms));
    epoch_ask(c);
    shared_changed(c, "the store's sends are loaded");
}

static void on_load(void *arg)
{
    struct shared *c = arg;
    struct epoch *e = &c->epoch;
    enum err err;

    if (counters_load_ended(e->load, &err)) {
        if (e->loading_chunk != NULL)
            return;
        if (err != OK)
            log_line(LOG_WARN, NULL, "counters", "load_ended", "epoch=%s then=\"tried again\"", e->loading);
        load_end(c, err == OK);
    } else if (e->loading_chunk == NULL) {
        send_chunk(c);
    }
}

static void on_chunk(enum err status, const struct redis_reply *reply, void *arg)
{
    struct shared *c = arg;
    struct epoch *e = &c->epoch;

    e->loading_chunk = NULL;
    if (status != OK || reply->kind != REDIS_TEXT) {
        counters_load_cancel(e->load); /* the answer to the next question starts it anew */
        return;
    }
    counters_load_next(e->load);
    on_load(c);
}

static void send_chunk(struct shared *c)
{
    const struct counters_load_chunk *chunk = counters_load_chunk(c->epoch.load);
    static char keys[COUNTERS_LOAD_ROWS][COUNTERS_KEY];
    struct slice args[COUNTERS_LOAD_ROWS + 9];
    char n_keys[12], clock[24];
    size_t n = 0;

    if (chunk == NULL)
        return;
    snprintf(n_keys, sizeof(n_keys), "%zu", chunk->n + 1);
    args[n++] = SLICE("EVAL");
    args[n++] = counters_lua;
    args[n++] = slice_of(n_keys);
    args[n++] = SLICE(COUNTERS_PREFIX "epoch");
    for (size_t i = 0; i < chunk->n; i++)
        args[n++] = slice_of(shared_key(chunk->contact[i], keys[i]));
    snprintf(clock, sizeof(clock), "%lld", (long long)epoch_redis_s(c));
    args[n++] = SLICE(""); /* into whichever epoch is made or in force */
    args[n++] = slice_of(clock);
    args[n++] = SLICE("");
    args[n++] = (struct slice){(const char *)chunk->entry[0].b, chunk->n * COUNTERS_ENTRY_BYTES};
    args[n++] = SLICE("");
    c->epoch.loading_chunk = redis_ask(c->redis, args, n, LOAD_MS, on_chunk, c);
}

/* since_ms 0: all that a window may reach, and what may be on its way out. */
static void load(struct shared *c, const char *id, int64_t since_ms)
{
    struct epoch *e = &c->epoch;
    enum err err;

    if (e->load != NULL && strcmp(e->loading, id) == 0 && !counters_load_ended(e->load, &err))
        return;
    if (e->load != NULL) {
        counters_load_cancel(e->load);
        if (counters_load_ended(e->load, &err))
            load_end(c, false);
        else
            return; /* on_load comes when the thread has ended, and the next question after it */
    }
    snprintf(e->loading, sizeof(e->loading), "%s", id);
    e->load_began_ms = clock_wall_ms();
    struct counters_load_options o = {
        .store = c->store,
        .identity = c->identity,
        .since_ms = since_ms != 0 ? since_ms : e->load_began_ms - COUNTERS_KEEP_MS,
        .now_ms = e->load_began_ms,
        .with_intents = since_ms == 0,
        .ready = on_load,
        .arg = c,
    };
    e->load = counters_load_new(c->loop, &o);
}

/* --- what the others say ---------------------------------------------------------------------- */

void epoch_lost(struct shared *c, const char *why)
{
    if (!c->epoch.live)
        return;
    c->epoch.live = false;
    c->seen.losses++;
    log_line(LOG_WARN, NULL, "counters", "lost", "epoch=%.16s why=%s then=\"counted again from the stores\"",
             c->epoch.text, LOG_Q(slice_of(why)));
    shared_changed(c, why);
    epoch_ask(c);
}

static bool is_id(struct slice s)
{
    for (size_t i = 0; i < EPOCH_ID_HEX && i < s.n; i++) {
        if (hash_hex_digit(s.p[i]) == -1)
            return false;
    }
    return s.n >= EPOCH_ID_HEX && s.n < EPOCH_MAX;
}

static void note_known(struct epoch *e, const struct redis_reply *reply, bool anew)
{
    if (anew)
        e->n_known = 0;
    for (size_t i = 5; i < reply->n && e->n_known < STORES_MAX; i++) {
        struct slice s = reply->items[i]->text;
        bool have = s.n != EPOCH_ID_HEX || !is_id(s);
        for (size_t k = 0; k < e->n_known && !have; k++)
            have = slice_eq_cstr(s, e->known[k]);
        if (!have)
            snprintf(e->known[e->n_known++], sizeof(e->known[0]), "%.*s", SLICE_ARG(s));
    }
}

static void on_live(struct shared *c, struct slice text, struct slice upto, int64_t missing)
{
    struct epoch *e = &c->epoch;
    char id[EPOCH_ID_HEX + 1];
    uint64_t since_ms = 0;

    e->verified = true;
    if (!e->live || !slice_eq_cstr(text, e->text)) {
        bool other = !slice_eq_cstr(text, e->text);
        epoch_lost(c, "another epoch is in force");
        snprintf(e->text, sizeof(e->text), "%.*s", SLICE_ARG(text));
        e->live = true;
        e->n++;
        c->draining = true;
        c->seen.rebuilds += other;
        c->seen.missing = (size_t)missing;
        log_line(missing > 0 ? LOG_WARN : LOG_INFO, NULL, "counters", "epoch", "epoch=%.16s stores_left_out=%lld",
                 e->text, (long long)missing);
    }
    snprintf(id, sizeof(id), "%.16s", e->text);
    if (strcmp(e->loaded, id) != 0) {
        ignore(slice_to_u64(upto, INT64_MAX, &since_ms)); /* empty: this store is not in it yet */
        load(c, id, (int64_t)since_ms);
    } else if (c->n_kept == 0) { /* the others are of the last second */
        e->upto_ms = clock_wall_ms() - SLACK_MS;
    }
    turn_drain(c);
    shared_changed(c, "the epoch is whole");
}

static void note_older(struct epoch *e, bool older)
{
    if (older && !e->older)
        log_line(LOG_WARN, NULL, "counters", "waits",
                 "why=\"a Postern of an older version counts in this Redis\" then=\"counted when it is replaced\"");
    e->older = older;
}

static void on_answer(enum err status, const struct redis_reply *reply, void *arg)
{
    struct shared *c = arg;
    struct epoch *e = &c->epoch;
    bool good = status == OK && reply->kind == REDIS_LIST && reply->n >= 5 && is_id(reply->items[1]->text);
    int64_t next_ms = BUILD_ASK_MS;

    e->ask = NULL;
    if (!good) {
        if (status == OK && reply->kind == REDIS_ERROR)
            log_line(LOG_WARN, NULL, "counters", "refused", "by=redis why=%s", LOG_Q(reply->text));
        again_in(c, LIVE_ASK_MS);
        return;
    }
    struct slice word = reply->items[0]->text, id = reply->items[1]->text;
    bool live = slice_eq_cstr(word, "live");
    note_known(e, reply, live);
    e->redis_minus_boot_ms = reply->items[4]->number - clock_boot_ms();
    e->give_up = false;
    if (live) {
        on_live(c, id, reply->items[2]->text, reply->items[3]->number);
        next_ms = e->load == NULL ? LIVE_ASK_MS : BUILD_ASK_MS;
    } else {
        char text[EPOCH_ID_HEX + 1];
        snprintf(text, sizeof(text), "%.*s", SLICE_ARG(id));
        e->verified = true;
        epoch_lost(c, "Redis was flushed, restarted, replaced, or it evicted keys");
        if (slice_eq_cstr(word, "load"))
            load(c, text, 0);
        note_older(e, slice_eq_cstr(word, "older"));
    }
    if (e->again)
        next_ms = 0;
    e->again = false;
    if (e->ask == NULL)
        again_in(c, next_ms);
}

static void ask_state(struct shared *c)
{
    struct epoch *e = &c->epoch;
    char drawn[EPOCH_ID_HEX + 1], upto[24], settled[12], away[12];
    struct slice args[18 + STORES_MAX];
    size_t n = 0;

    hash_random_id("", EPOCH_ID_HEX / 2, drawn, sizeof(drawn));
    snprintf(upto, sizeof(upto), "%lld", (long long)(e->upto_ms > 1 ? e->upto_ms : 1));
    snprintf(settled, sizeof(settled), "%d", SETTLED_MS);
    snprintf(away, sizeof(away), "%d", AWAY_MS);
    args[n++] = SLICE("EVAL");
    args[n++] = counters_epoch_lua;
    args[n++] = SLICE("5");
    args[n++] = SLICE(COUNTERS_PREFIX "epoch");
    args[n++] = SLICE(COUNTERS_PREFIX "build");
    args[n++] = SLICE(COUNTERS_PREFIX "seen");
    args[n++] = SLICE(COUNTERS_PREFIX "members");
    args[n++] = SLICE(COUNTERS_FORMER);
    const char *const texts[] = {
        e->store, e->process, e->run_id, e->evicted, drawn, e->loaded, upto, e->give_up ? e->text : "", settled, away};
    for (size_t i = 0; i < N_ELEMENTS(texts); i++)
        args[n++] = slice_of(texts[i]);
    for (size_t i = 0; i < e->n_known; i++)
        args[n++] = slice_of(e->known[i]);
    e->ask = redis_ask(c->redis, args, n, ASK_MS, on_answer, c);
}

/* "name:value\r\n" of INFO. */
static struct slice field(struct slice info, const char *name)
{
    size_t n = strlen(name);

    for (size_t at = 0; at < info.n;) {
        const char *end = memchr(info.p + at, '\n', info.n - at);
        size_t len = end != NULL ? (size_t)(end - info.p) - at : info.n - at;
        if (len > n && memcmp(info.p + at, name, n) == 0 && info.p[at + n] == ':') {
            struct slice value = {info.p + at + n + 1, len - n - 1};
            if (value.n > 0 && value.p[value.n - 1] == '\r')
                value.n--;
            return value;
        }
        at += len + 1;
    }
    return (struct slice){0};
}

static void note_memory(struct shared *c, struct slice info)
{
    struct slice policy = field(info, "maxmemory_policy"), most = field(info, "maxmemory");
    bool may_evict = most.n > 0 && !slice_eq_cstr(most, "0") && policy.n > 0 && !slice_eq_cstr(policy, "noeviction");

    if (may_evict && !c->seen.may_evict)
        log_line(LOG_WARN, NULL, "counters", "may_evict", "policy=%s then=\"set maxmemory-policy noeviction\"",
                 LOG_Q(policy));
    c->seen.may_evict = may_evict;
}

static void on_info(enum err status, const struct redis_reply *reply, void *arg)
{
    struct shared *c = arg;
    struct epoch *e = &c->epoch;
    uint64_t evicted = 0;

    e->ask = NULL;
    if (status != OK) {
        again_in(c, BUILD_ASK_MS);
        return;
    }
    struct slice info = reply->text, run_id = field(info, "run_id"), gone = field(info, "evicted_keys");
    bool good =
        reply->kind == REDIS_TEXT && run_id.n > 0 && run_id.n < RUN_ID_MAX && slice_to_u64(gone, INT64_MAX, &evicted);
    for (size_t i = 0; i < run_id.n && good; i++)
        good = hash_hex_digit(run_id.p[i]) != -1;
    if (!good) {
        redis_reconnect(c->redis, reply->kind == REDIS_ERROR ? reply->text.p : "its INFO names no run_id");
        return;
    }
    snprintf(e->run_id, sizeof(e->run_id), "%.*s", SLICE_ARG(run_id));
    snprintf(e->evicted, sizeof(e->evicted), "%llu", (unsigned long long)evicted);
    c->seen.evicted = evicted;
    note_memory(c, info);
    ask_state(c);
}

void epoch_ask(struct shared *c)
{
    struct epoch *e = &c->epoch;

    loop_cancel(&e->next);
    if (!redis_is_up(c->redis) || c->sha[0] == '\0')
        return;
    if (e->ask != NULL) {
        e->again = true;
        return;
    }
    e->ask = redis_ask(c->redis, (struct slice[]){SLICE("INFO")}, 1, ASK_MS, on_info, c);
}

int64_t epoch_redis_s(const struct shared *c)
{
    return (clock_boot_ms() + c->epoch.redis_minus_boot_ms) / 1000;
}

void epoch_connected(struct shared *c, bool up)
{
    struct epoch *e = &c->epoch;

    e->verified = false;
    e->again = false;
    redis_op_cancel(&e->ask);
    loop_cancel(&e->next);
    if (!up && e->load != NULL)
        counters_load_cancel(e->load);
}

void epoch_init(struct shared *c)
{
    struct epoch *e = &c->epoch;

    snprintf(e->store, sizeof(e->store), "%016llx", (unsigned long long)c->identity);
    hash_random_id("", EPOCH_ID_HEX / 2, e->process, sizeof(e->process));
}

void epoch_clear(struct shared *c)
{
    struct epoch *e = &c->epoch;

    redis_op_cancel(&e->ask);
    redis_op_cancel(&e->loading_chunk);
    loop_cancel(&e->next);
    counters_load_free(&e->load);
}

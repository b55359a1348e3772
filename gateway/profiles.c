/*
 * The cache of profiles.  An open-addressing table of fixed size, its pages
 * touched only as they fill; each contact packed into one blob, "nobody" into
 * none.  Keyed by the folded address first, so that one opt-out drops every
 * spelling; evicted by a clock hand when the budget is spent.
 */
#include "profiles.h"

#include <stdlib.h>

#include "loop.h"
#include "place.h"
#include "postern/clock.h"
#include "postern/hash.h"
#include "profile_pack.h"
#include "zone_guess.h"

#define BYTES_PER_SLOT_PLANNED 128 /* slot at load 3/4, and a contact's blob: performance figures in docs */
#define SLOTS_MIN              1024
#define DROPS_KEPT             1024 /* a submission that is older than so many drops looks at the store again */
#define HEAP_OVERHEAD          16
#define FREED_A_TURN           8192 /* slots of a dropped table: a fraction of a millisecond */

struct slot {
    uint64_t folded;    /* hash of the folded address; 0 = empty */
    uint64_t canonical; /* of the address itself: 128 bits in all, so that no two addresses meet */
    uint8_t *blob;      /* NULL: nobody has this address */
    uint32_t blob_bytes;
    bool used; /* since the hand passed */
};

struct drop {
    uint64_t epoch, folded;
};

struct profiles {
    struct loop *loop;
    struct store *store;
    const struct zone *default_zone;
    struct slot *slots;
    size_t mask; /* slots - 1 */
    size_t hand;
    size_t max_bytes;
    uint64_t epoch;
    struct drop drops[DROPS_KEPT];
    struct profiles_state state;
    struct {
        struct slot *slots; /* a table that was dropped as a whole, from slots[done] on still to be freed */
        size_t n, done;
        struct loop_task *task;
    } old;
};

struct profiles_op {
    struct profiles *profiles;
    struct address to;
    struct arena *arena;
    struct profile *out;
    profiles_cb *cb; /* NULL: cancelled; the store still holds the request */
    void *arg;
    struct loop_task *task;
    uint64_t epoch; /* when the store was asked */
    struct arena own;
    struct profile found;
    struct store_profile_get get;
};

struct key {
    uint64_t folded, canonical;
};

uint64_t profiles_hash(const struct address *to)
{
    struct address folded;

    address_fold(to, &folded);
    uint64_t h = hash_siphash(folded.text, strlen(folded.text));
    return h != 0 ? h : 1;
}

static struct key key_of(const struct address *to)
{
    char text[ADDRESS_TEXT_MAX + 1];
    size_t n = strlen(to->text);

    /* A prefix makes it another hash than the folded one where folding changes nothing. */
    text[0] = 'c';
    memcpy(text + 1, to->text, n);
    return (struct key){profiles_hash(to), hash_siphash(text, n + 1)};
}

/* --- the table -------------------------------------------------------------------- */

static struct slot *find(const struct profiles *p, struct key k)
{
    for (size_t i = k.folded & p->mask; p->slots[i].folded != 0; i = (i + 1) & p->mask) {
        if (p->slots[i].folded == k.folded && p->slots[i].canonical == k.canonical)
            return &p->slots[i];
    }
    return NULL;
}

static size_t cost(const struct slot *s)
{
    return sizeof(*s) + (s->blob != NULL ? s->blob_bytes + HEAP_OVERHEAD : 0);
}

/* Empties slot i and closes the gap, so that no probe stops short of what lies behind it. */
static void erase(struct profiles *p, size_t i)
{
    p->state.bytes -= cost(&p->slots[i]);
    p->state.entries--;
    free(p->slots[i].blob);
    for (size_t j = i;;) {
        p->slots[i] = (struct slot){0};
        for (;;) {
            j = (j + 1) & p->mask;
            if (p->slots[j].folded == 0)
                return;
            size_t home = p->slots[j].folded & p->mask;
            if (((j - home) & p->mask) >= ((j - i) & p->mask))
                break;
        }
        p->slots[i] = p->slots[j];
        i = j;
    }
}

static void evict_one(struct profiles *p)
{
    for (;;) {
        struct slot *s = &p->slots[p->hand];
        if (s->folded != 0 && !s->used) {
            erase(p, p->hand);
            p->state.evictions++;
            return;
        }
        s->used = false;
        p->hand = (p->hand + 1) & p->mask;
    }
}

static void insert(struct profiles *p, const struct address *to, const struct profile *found)
{
    struct key k = key_of(to);
    struct slot *old = find(p, k);
    struct slot fresh = {.folded = k.folded, .canonical = k.canonical, .used = true};

    if (old != NULL)
        erase(p, (size_t)(old - p->slots));
    fresh.blob = profile_pack(found, &fresh.blob_bytes);
    while (p->state.entries > 0 &&
           (p->state.bytes + cost(&fresh) > p->max_bytes || p->state.entries >= p->mask / 4 * 3))
        evict_one(p);
    size_t i = k.folded & p->mask;
    while (p->slots[i].folded != 0)
        i = (i + 1) & p->mask;
    p->slots[i] = fresh;
    p->state.entries++;
    p->state.bytes += cost(&fresh);
}

static void make_slots(struct profiles *p, size_t max_bytes)
{
    size_t slots = SLOTS_MIN;

    while (slots * BYTES_PER_SLOT_PLANNED < max_bytes)
        slots *= 2;
    p->max_bytes = max_bytes;
    p->mask = slots - 1;
    p->slots = xcalloc(slots, sizeof(*p->slots));
}

struct profiles *profiles_new(struct loop *loop, struct store *store, size_t max_bytes, const struct zone *default_zone)
{
    struct profiles *p = xcalloc(1, sizeof(*p));

    place_load(clock_wall_ms());
    p->loop = loop;
    p->store = store;
    p->default_zone = default_zone;
    make_slots(p, max_bytes);
    return p;
}

/* At most max slots of the dropped table. */
static void free_old(struct profiles *p, size_t max)
{
    for (; max > 0 && p->old.done < p->old.n; max--)
        free(p->old.slots[p->old.done++].blob);
    if (p->old.done < p->old.n)
        return;
    loop_cancel(&p->old.task);
    free(p->old.slots);
    memset(&p->old, 0, sizeof(p->old));
}

static void on_free_old(void *arg)
{
    struct profiles *p = arg;

    p->old.task = NULL;
    free_old(p, FREED_A_TURN);
    if (p->old.slots != NULL)
        p->old.task = loop_defer(p->loop, on_free_old, p);
}

void profiles_free(struct profiles **pp)
{
    struct profiles *p = take(pp);
    if (p == NULL)
        return;
    free_old(p, SIZE_MAX);
    for (size_t i = 0; i <= p->mask; i++)
        free(p->slots[i].blob);
    free(p->slots);
    free(p);
}

/* --- look-up ------------------------------------------------------------------------ */

static bool read_slot(struct profiles *p, const struct address *to, struct arena *a, struct profile *out)
{
    struct slot *s = find(p, key_of(to));

    if (s == NULL || !profile_unpack(s->blob, s->blob_bytes, a, out))
        return false;
    s->used = true;
    zone_guess(out, to, p->default_zone);
    return true;
}

bool profiles_get(struct profiles *p, const struct address *to, struct arena *a, struct profile *out)
{
    bool hit = read_slot(p, to, a, out);

    p->state.hits += hit;
    p->state.misses += !hit;
    return hit;
}

static void finish(struct profiles_op *op, enum err status)
{
    profiles_cb *cb = op->cb;
    void *arg = op->arg;

    arena_clear(&op->own);
    free(op);
    if (cb != NULL)
        cb(status, arg);
}

static void on_hit(void *arg)
{
    finish(arg, OK);
}

static void ask(struct profiles_op *op);

static void on_found(enum err status, void *arg)
{
    struct profiles_op *op = arg;
    struct profiles *p = op->profiles;

    /* Another process may have changed it after our store had read it: what was dropped since is read again. */
    if (status == OK && profiles_dropped_since(p, &op->to, op->epoch)) {
        arena_clear(&op->own);
        ask(op);
        return;
    }
    if (status == OK)
        insert(p, &op->to, &op->found);
    /* Read back from the cache: one way to fill a profile, and the caller's arena holds all of it. */
    if (status == OK && op->cb != NULL && !read_slot(p, &op->to, op->arena, op->out))
        status = ERR_LIMIT;
    finish(op, status);
}

static void ask(struct profiles_op *op)
{
    op->epoch = op->profiles->epoch;
    op->found = (struct profile){0};
    arena_init(&op->own, LIMIT_ARENA_BYTES);
    op->get = (struct store_profile_get){
        .r = {.kind = STORE_PROFILE_GET, .cb = on_found, .arg = op},
        .arena = &op->own,
        .to = op->to,
        .profile = &op->found,
    };
    store_submit(op->profiles->store, &op->get.r);
}

struct profiles_op *profiles_fetch(struct profiles *p, const struct address *to, struct arena *a, struct profile *out,
                                   profiles_cb *cb, void *arg)
{
    struct profiles_op *op = xcalloc(1, sizeof(*op));

    *op = (struct profiles_op){.profiles = p, .to = *to, .arena = a, .out = out, .cb = cb, .arg = arg};
    if (profiles_get(p, to, a, out)) {
        op->task = loop_defer(p->loop, on_hit, op);
        return op;
    }
    ask(op);
    return op;
}

void profiles_cancel(struct profiles_op **opp)
{
    struct profiles_op *op = take(opp);
    if (op == NULL)
        return;
    op->cb = NULL;
    if (op->task == NULL)
        return; /* the store gives it back */
    loop_cancel(&op->task);
    free(op);
}

/* --- drops ---------------------------------------------------------------------------- */

void profiles_drop(struct profiles *p, uint64_t folded)
{
    p->epoch++;
    p->drops[p->epoch % DROPS_KEPT] = (struct drop){p->epoch, folded};
    for (size_t i = folded & p->mask; p->slots[i].folded != 0;) {
        if (p->slots[i].folded == folded)
            erase(p, i); /* another may have moved here: look again */
        else
            i = (i + 1) & p->mask;
    }
}

void profiles_drop_all(struct profiles *p)
{
    free_old(p, SIZE_MAX);
    p->old.slots = p->slots;
    p->old.n = p->mask + 1;
    p->old.task = loop_defer(p->loop, on_free_old, p);
    make_slots(p, p->max_bytes);
    p->hand = 0;
    p->state.entries = 0;
    p->state.bytes = 0;
    p->epoch += DROPS_KEPT; /* older than what is remembered: so it holds for all who read before */
}

void profiles_reloaded(struct profiles *p, size_t max_bytes, const struct zone *default_zone)
{
    p->default_zone = default_zone;
    if (p->max_bytes == max_bytes)
        return;
    p->max_bytes = max_bytes;
    profiles_drop_all(p);
}

uint64_t profiles_epoch(const struct profiles *p)
{
    return p->epoch;
}

bool profiles_dropped_since(const struct profiles *p, const struct address *to, uint64_t epoch)
{
    if (p->epoch - epoch >= DROPS_KEPT)
        return true;
    uint64_t folded = profiles_hash(to);
    for (uint64_t e = epoch + 1; e <= p->epoch; e++) {
        if (p->drops[e % DROPS_KEPT].folded == folded)
            return true;
    }
    return false;
}

struct profiles_state profiles_state(const struct profiles *p)
{
    return p->state;
}

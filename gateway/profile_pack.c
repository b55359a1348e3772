/*
 * Packing of profiles.  Written and read only by this process: no versions, no
 * byte order, but every length is checked against the blob all the same.
 * Numbers are varints (seven bits a byte, low first), so that a contact with a
 * consent and three wishes takes about a hundred bytes.
 */
#include "profile_pack.h"

#include <assert.h>
#include <stdlib.h>

struct writer {
    uint8_t *p;
    size_t n, cap;
};

struct reader {
    const uint8_t *p, *end;
    struct arena *arena;
    bool bad;
};

static void put_u64(struct writer *w, uint64_t v)
{
    if (w->cap - w->n < 10) {
        w->cap = w->cap * 2 + 64;
        w->p = xrealloc(w->p, w->cap, 1);
    }
    for (; v >= 0x80; v >>= 7)
        w->p[w->n++] = (uint8_t)(v | 0x80);
    w->p[w->n++] = (uint8_t)v;
}

static void put_time(struct writer *w, int64_t ms)
{
    put_u64(w, (uint64_t)ms);
}

static void put_slice(struct writer *w, struct slice s)
{
    put_u64(w, s.n);
    if (w->cap - w->n < s.n) {
        w->cap = w->cap * 2 + s.n;
        w->p = xrealloc(w->p, w->cap, 1);
    }
    if (s.n > 0)
        memcpy(w->p + w->n, s.p, s.n);
    w->n += s.n;
}

static uint64_t get_u64(struct reader *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; r->p < r->end && shift < 64; shift += 7) {
        uint8_t b = *r->p++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if ((b & 0x80) == 0)
            return v;
    }
    r->bad = true;
    return 0;
}

static int64_t get_time(struct reader *r)
{
    return (int64_t)get_u64(r);
}

static struct slice get_slice(struct reader *r)
{
    uint64_t n = get_u64(r);
    struct slice s = {(const char *)r->p, (size_t)n};

    if (n > (uint64_t)(r->end - r->p)) {
        r->bad = true;
        return (struct slice){0};
    }
    r->p += n;
    return s;
}

/* An array of n elements, each at least one byte in the blob; NULL for none. */
static void *get_array(struct reader *r, uint64_t n, size_t size)
{
    if (n > (uint64_t)(r->end - r->p))
        r->bad = true;
    if (r->bad || n == 0)
        return NULL;
    void *p = arena_calloc(r->arena, (size_t)n, size);
    r->bad |= p == NULL;
    return p;
}

static void put_opt_out(struct writer *w, const struct opt_out *o)
{
    put_u64(w,
            (uint64_t)o->scope | (uint64_t)o->channel << 3 | (uint64_t)o->any_channel << 6 | (uint64_t)o->source << 7);
    put_slice(w, o->category);
    put_slice(w, o->topic);
    put_slice(w, o->sender);
    put_time(w, o->at_ms);
}

static void get_opt_out(struct reader *r, struct opt_out *o)
{
    uint64_t bits = get_u64(r);

    o->scope = (enum opt_out_scope)(bits & 7);
    o->channel = (enum channel)(bits >> 3 & 7);
    o->any_channel = (bits >> 6 & 1) != 0;
    o->source = (enum source)(bits >> 7 & 7);
    o->category = get_slice(r);
    o->topic = get_slice(r);
    o->sender = get_slice(r);
    o->at_ms = get_time(r);
}

static void put_consent(struct writer *w, const struct consent *c)
{
    put_u64(w, (uint64_t)c->state | (uint64_t)c->channel << 3 | (uint64_t)c->any_channel << 6 |
                   (uint64_t)c->source << 7 | (uint64_t)c->night << 10);
    put_slice(w, c->category);
    put_slice(w, c->basis);
    put_time(w, c->at_ms);
    put_time(w, c->expires_at_ms);
}

static void get_consent(struct reader *r, struct consent *c)
{
    uint64_t bits = get_u64(r);

    c->state = (enum consent_state)(bits & 7);
    c->channel = (enum channel)(bits >> 3 & 7);
    c->any_channel = (bits >> 6 & 1) != 0;
    c->source = (enum source)(bits >> 7 & 7);
    c->night = (bits >> 10 & 1) != 0;
    c->category = get_slice(r);
    c->basis = get_slice(r);
    c->at_ms = get_time(r);
    c->expires_at_ms = get_time(r);
}

static void put_preference(struct writer *w, const struct preference *v)
{
    put_u64(w, (uint64_t)v->key | (uint64_t)v->specificity << 5 | (uint64_t)v->authority << 7 |
                   (uint64_t)v->source << 10 | (uint64_t)v->confidence << 13);
    put_slice(w, v->scope);
    put_slice(w, v->text);
    put_slice(w, v->system);
    put_time(w, v->at_ms);
    put_u64(w, v->version);
}

static void get_preference(struct reader *r, struct preference *v)
{
    uint64_t bits = get_u64(r);

    v->key = (enum preference_key)(bits & 31);
    v->specificity = (enum specificity)(bits >> 5 & 3);
    v->authority = (enum authority)(bits >> 7 & 7);
    v->source = (enum source)(bits >> 10 & 7);
    v->confidence = (enum confidence)(bits >> 13 & 3);
    v->scope = get_slice(r);
    v->text = get_slice(r);
    v->system = get_slice(r);
    v->at_ms = get_time(r);
    v->version = (uint32_t)get_u64(r);
}

static_assert(SCOPE_N <= 8 && CHANNEL_N <= 8 && SOURCE_N <= 8 && AUTHORITY_N <= 8 && PREFERENCE_N <= 32,
              "the bit fields above hold every value");

static bool is_nobody(const struct profile *p)
{
    return p->known == UNKNOWN && p->n_opt_outs == 0 && p->n_consents == 0 && p->n_preferences == 0 &&
           p->resubscribed_at_ms == 0 && p->opted_out_at_ms == 0;
}

uint8_t *profile_pack(const struct profile *p, uint32_t *n)
{
    struct writer w = {0};

    *n = 0;
    if (is_nobody(p))
        return NULL;
    put_u64(&w, p->known);
    put_u64(&w, p->version);
    put_slice(&w, p->contact_id);
    put_slice(&w, p->account);
    put_time(&w, p->resubscribed_at_ms);
    put_time(&w, p->opted_out_at_ms);
    put_time(&w, p->zone_changed_at_ms);
    put_slice(&w, p->previous_zone_name);
    put_u64(&w, p->n_opt_outs);
    for (size_t i = 0; i < p->n_opt_outs; i++)
        put_opt_out(&w, &p->opt_outs[i]);
    put_u64(&w, p->n_consents);
    for (size_t i = 0; i < p->n_consents; i++)
        put_consent(&w, &p->consents[i]);
    put_u64(&w, p->n_preferences);
    for (size_t i = 0; i < p->n_preferences; i++)
        put_preference(&w, &p->preferences[i]);
    ensure(w.n <= UINT32_MAX);
    *n = (uint32_t)w.n;
    /* A copy: cutting the end off the larger piece would leave a million small holes. */
    uint8_t *exact = xrealloc(NULL, w.n, 1);
    memcpy(exact, w.p, w.n);
    free(w.p);
    return exact;
}

static void unpack(struct reader *r, struct profile *out)
{
    out->known = (enum known)get_u64(r);
    out->version = get_u64(r);
    out->contact_id = get_slice(r);
    out->account = get_slice(r);
    out->resubscribed_at_ms = get_time(r);
    out->opted_out_at_ms = get_time(r);
    out->zone_changed_at_ms = get_time(r);
    out->previous_zone_name = get_slice(r);

    uint64_t n = get_u64(r);
    struct opt_out *opt_outs = get_array(r, n, sizeof(*opt_outs));
    for (uint64_t i = 0; i < n && !r->bad; i++)
        get_opt_out(r, &opt_outs[i]);
    out->opt_outs = opt_outs;
    out->n_opt_outs = (size_t)n;

    n = get_u64(r);
    struct consent *consents = get_array(r, n, sizeof(*consents));
    for (uint64_t i = 0; i < n && !r->bad; i++)
        get_consent(r, &consents[i]);
    out->consents = consents;
    out->n_consents = (size_t)n;

    n = get_u64(r);
    struct preference *preferences = get_array(r, n, sizeof(*preferences));
    for (uint64_t i = 0; i < n && !r->bad; i++)
        get_preference(r, &preferences[i]);
    out->preferences = preferences;
    out->n_preferences = (size_t)n;
}

bool profile_unpack(const uint8_t *blob, uint32_t n, struct arena *a, struct profile *out)
{
    *out = (struct profile){0};
    if (blob == NULL)
        return true;
    /* The slices point into a copy: the cache may drop the blob while a submission still reads the profile. */
    uint8_t *copy = arena_alloc(a, n);
    if (copy == NULL)
        return false;
    memcpy(copy, blob, n);
    struct reader r = {copy, copy + n, a, false};
    unpack(&r, out);
    return !r.bad;
}

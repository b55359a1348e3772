/*
 * Idempotency keys (semantics, section 11): a request that carries one claims it
 * before anything is decided, and its answer is durable before the client hears it.
 * The one idea: with the decisions goes the answer that a replay would hear if
 * nothing more were ever known, so a crash never sends twice and never lies.
 */
#include "submission_parts.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/clock.h"
#include "postern/hash.h"
#include "postern/log.h"

#define KEY_FIELD         "Idempotency-Key"
#define BUSY_AGAIN_MS     1000 /* an answer takes milliseconds, a slow provider's its deadline */
#define SWEEP_EVERY_MS    60000
#define SWEEP_ROWS        500 /* a few milliseconds of the store's thread */
#define DIGEST_PARTS_MORE 8   /* beside the fields: method, path, query, body, and what stands between them */

/* --- the claim --------------------------------------------------------------------- */

struct claiming {
    struct submission *s;
    struct store_idempotency_claim request;
};

/* Postern's own fields change what is done with a body, and so do a mail's envelope's; no other field does. */
static bool tells_apart(const struct submission *s, struct slice name)
{
    static const char prefix[] = "x-postern-";
    bool mail = s->connector->transport == TRANSPORT_SMTP;

    if (mail && (slice_eq_cstr(name, "MAIL") || slice_eq_cstr(name, "RCPT")))
        return true;
    return name.n >= sizeof(prefix) - 1 && slice_ieq((struct slice){name.p, sizeof(prefix) - 1}, slice_of(prefix));
}

/* No part holds a line feed but the body, which is the last; its pieces say how long they are. */
static struct slice *request_parts(struct submission *s, size_t *n)
{
    const struct wire_request *w = &s->wire;
    const struct slice *content = s->parsed.content != NULL ? s->parsed.content : &w->body;
    size_t n_content = s->parsed.content != NULL ? s->parsed.n_content : 1;
    struct slice *parts = arena_calloc(s->arena, 4 * w->n_fields + DIGEST_PARTS_MORE + n_content, sizeof(*parts));
    const struct slice end = SLICE("\n");

    *n = 0;
    if (parts == NULL)
        return NULL;
    for (size_t i = 0; i < w->n_fields; i++) {
        if (!tells_apart(s, w->fields[i].name))
            continue;
        parts[(*n)++] = w->fields[i].name;
        parts[(*n)++] = end;
        parts[(*n)++] = w->fields[i].value;
        parts[(*n)++] = end;
    }
    const struct slice rest[] = {w->method, end, w->path, end, w->query, end};
    memcpy(parts + *n, rest, sizeof(rest));
    *n += N_ELEMENTS(rest);
    memcpy(parts + *n, content, n_content * sizeof(*content));
    *n += n_content;
    return parts;
}

static void refuse(struct submission *s, enum fault_kind kind, const char *text)
{
    submission_fail(s, kind, text);
    snprintf(s->fault.field, sizeof(s->fault.field), "%s", KEY_FIELD);
}

/* The first answer once more, with the field that says so. */
static void replay(struct submission *s, const struct kept_answer *kept)
{
    struct wire_reply *w = arena_calloc(s->arena, 1, sizeof(*w));

    if (w == NULL) {
        submission_fail(s, FAULT_TOO_LARGE, "the submission needs more memory than one may have");
        return;
    }
    w->status = kept->status;
    w->body = kept->body;
    for (size_t i = 0; i < kept->n_fields && w->n_fields < WIRE_REPLY_FIELDS - 1; i++)
        w->fields[w->n_fields++] = (struct wire_field){kept->fields[i].name, kept->fields[i].value};
    w->fields[w->n_fields++] = (struct wire_field){SLICE("Postern-Replayed"), SLICE("true")};
    s->reply = w;
    s->replayed = true;
    log_line(LOG_INFO, s->id, "submission", "replayed", "dialect=%s key=%s status=%d", s->connector->name, s->key->name,
             w->status);
}

static void on_claimed(enum err status, void *arg)
{
    struct claiming *c = arg;
    struct submission *s = c->s;

    if (status != OK) {
        submission_fail(s, FAULT_UNAVAILABLE, "the store of record cannot write; nothing was accepted");
        submission_resume(s);
        return;
    }
    metrics_idempotency(s->g->metrics, c->request.state);
    switch (c->request.state) {
    case KEY_CLAIMED:
        s->claim = c->request.id;
        break;
    case KEY_BUSY:
        refuse(s, FAULT_IN_PROGRESS, "the first request with this Idempotency-Key is still under way; ask again");
        s->fault.retry_after_ms = BUSY_AGAIN_MS;
        break;
    case KEY_REUSED:
        refuse(s, FAULT_KEY_REUSED,
               "this Idempotency-Key was used for another request within 72 hours; give each request its own");
        break;
    case KEY_ANSWERED:
        replay(s, &c->request.answer);
        break;
    }
    submission_resume(s);
}

enum step_next submission_claim(struct submission *s)
{
    if (s->deferred != NULL || s->parsed.idempotency_key.n == 0)
        return STEP_DONE;
    struct claiming *c = arena_alloc(s->arena, sizeof(*c));
    size_t n_parts;
    struct slice *parts = request_parts(s, &n_parts);
    if (c == NULL || parts == NULL) {
        submission_fail(s, FAULT_TOO_LARGE, "the submission needs more memory than one may have");
        return STEP_DONE;
    }
    *c = (struct claiming){
        .s = s,
        .request =
            {
                .r = {.kind = STORE_IDEMPOTENCY_CLAIM, .cb = on_claimed, .arg = c},
                .arena = s->arena,
                .api_key = slice_of(s->key->name),
                .key = s->parsed.idempotency_key,
                .parts = parts,
                .n_parts = n_parts,
                .now_ms = clock_wall_ms(),
            },
    };
    s->waiting++;
    store_submit(s->g->store, &c->request.r);
    return STEP_WAIT;
}

/* --- the settlement ---------------------------------------------------------------- */

static bool is_final(const struct submission *s, const struct wire_reply *w)
{
    if (s->connector->transport == TRANSPORT_HTTP)
        return !s->faulted && w->status != 429 && w->status < 500;
    return !s->faulted && w->status / 100 != 4;
}

struct key_settlement *submission_settlement(struct submission *s, const struct wire_reply *w, struct arena *a)
{
    struct key_settlement *k = arena_calloc(a, 1, sizeof(*k));
    struct stored_field *fields = arena_calloc(a, w->n_fields, sizeof(*fields));

    if (k == NULL || fields == NULL)
        return NULL;
    for (size_t i = 0; i < w->n_fields; i++)
        fields[i] = (struct stored_field){arena_slice(a, w->fields[i].name), arena_slice(a, w->fields[i].value)};
    *k = (struct key_settlement){
        .id = s->claim,
        .becomes = is_final(s, w) ? KEY_IS_ANSWERED : KEY_IS_FREE,
        .answer = {.status = w->status, .fields = fields, .n_fields = w->n_fields},
    };
    if (w->body.n <= LIMIT_KEPT_ANSWER_BYTES)
        k->answer.body = arena_slice(a, w->body);
    return k;
}

struct key_settlement *submission_settle_recorded(struct submission *s)
{
    bool sends = false;
    struct wire_reply *w = arena_calloc(s->arena, 1, sizeof(*w));

    for (size_t i = 0; i < s->n_items; i++)
        sends |= s->items[i].send;
    if (w == NULL || !submission_answer(s, sends, w))
        return NULL;
    struct key_settlement *k = submission_settlement(s, w, s->arena);
    if (k != NULL && sends)
        k->becomes = KEY_IS_RECORDED;
    else
        s->reply = w;
    return k;
}

void submission_key_settled(struct submission *s, const struct key_settlement *k)
{
    if (k != NULL && k->becomes == KEY_IS_ANSWERED)
        s->claim = 0;
}

/* --- mails that come again --------------------------------------------------------------- */

/*
 * It begins with the time that the mail bears.  Which mail it is, all of it still says; but digests of mails that are
 * sent at about the same time lie side by side in the store's index, and a commit of many writes few of its pages.
 */
static void mail_digest(const struct submission *s, const struct digest *d, uint8_t out[SHA256_BYTES])
{
    uint32_t at_s = htobe32(s->parsed.mail_at_s);

    memcpy(out, &at_s, sizeof(at_s));
    memcpy(out + sizeof(at_s), d->b, SHA256_BYTES - sizeof(at_s));
}

struct store_mail *submission_mail(struct submission *s)
{
    struct slice key = slice_of(s->key->name);
    struct slice parts[] = {key, SLICE("\n"), s->parsed.mail_key};
    bool accepted = false;

    for (size_t i = 0; i < s->n_items; i++)
        accepted |= s->items[i].send || s->items[i].kept;
    if (s->parsed.mail_key.n == 0 || s->deferred != NULL || s->parsed.sandbox_mode || !accepted)
        return NULL;
    struct digest d = hash_sha256_parts(parts, N_ELEMENTS(parts));
    mail_digest(s, &d, s->mail.digest);
    s->mail.kept_id = slice_of(submission_kept_id(s));
    return &s->mail;
}

void submission_mail_known(struct submission *s)
{
    struct wire_reply *w = arena_calloc(s->arena, 1, sizeof(*w));
    char id[SID_MAX];

    if (s->mail.under_way) {
        refuse(s, FAULT_IN_PROGRESS, "the same mail is still under way; try again later");
        s->fault.retry_after_ms = BUSY_AGAIN_MS;
        return;
    }
    snprintf(id, sizeof(id), "%.*s", SLICE_ARG(s->mail.first_id));
    if (w == NULL || s->connector->accept(&s->parsed, &s->route, id, s->now_ms, s->arena, w) != OK) {
        submission_fail(s, FAULT_TOO_LARGE, "the submission needs more memory than one may have");
        return;
    }
    s->reply = w;
    s->replayed = true;
    metrics_idempotency(s->g->metrics, KEY_ANSWERED);
    log_line(LOG_INFO, s->id, "submission", "replayed", "dialect=%s key=%s status=%d", s->connector->name, s->key->name,
             w->status);
}

const struct store_mail *submission_mail_forgets(struct submission *s, struct arena *a)
{
    for (size_t i = 0; i < s->n_items; i++) {
        const struct item *item = &s->items[i];
        bool out = item->send && item->sent.result != RESULT_NOT_SENT && item->sent.result != RESULT_REFUSED;
        if (out || item->kept)
            return NULL;
    }
    return submission_mail_refused(s, a);
}

const struct store_mail *submission_mail_refused(struct submission *s, struct arena *a)
{
    if (!s->mail_recorded)
        return NULL;
    struct store_mail *m = arena_calloc(a, 1, sizeof(*m));
    ensure(m != NULL);
    memcpy(m->digest, s->mail.digest, sizeof(m->digest));
    s->mail_recorded = false;
    return m;
}

/* --- expiry ------------------------------------------------------------------------ */

struct sweeping {
    struct store_idempotency_sweep request;
    struct gateway *g;
};

static void sweep_on(struct sweeping *sweeping);

static void on_swept(enum err status, void *arg)
{
    struct sweeping *sweeping = arg;

    if (status == OK && sweeping->request.swept == sweeping->request.max && !sweeping->g->draining)
        sweep_on(sweeping);
    else
        free(sweeping);
}

static void sweep_on(struct sweeping *sweeping)
{
    sweeping->request = (struct store_idempotency_sweep){
        .r = {.kind = STORE_IDEMPOTENCY_SWEEP, .cb = on_swept, .arg = sweeping},
        .now_ms = clock_wall_ms(),
        .max = SWEEP_ROWS,
    };
    store_submit(sweeping->g->store, &sweeping->request.r);
}

void submission_sweep_keys(struct gateway *g)
{
    int64_t now_ms = clock_mono_ms();

    if (now_ms < g->sweep_mono_ms || g->draining)
        return;
    g->sweep_mono_ms = now_ms + SWEEP_EVERY_MS;
    struct sweeping *sweeping = xcalloc(1, sizeof(*sweeping));
    sweeping->g = g;
    sweep_on(sweeping);
}

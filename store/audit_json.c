/*
 * What an audit row says: the JSON of decisions and results.  Pure.  Fields have a
 * fixed order and no blanks, so equal decisions give equal text.  Nothing personal
 * goes into a body; the recipient goes into the personal part, behind a random salt
 * (without it an address could be guessed from its digest after an erasure).
 */
#include "store/audit.h"

#include "postern/buf.h"
#include "postern/policy.h"

#define SALT_BYTES 16

#define ADD(b, literal) buf_add((b), (literal), sizeof(literal) - 1)

void audit_put_text(struct buf *b, struct slice name, struct slice value)
{
    if (value.n == 0)
        return;
    buf_add_slice(b, name);
    buf_add_json(b, value);
}

/* A word of our own tables: needs no escaping. */
static void put_word(struct buf *b, struct slice opening, const char *word)
{
    buf_add_slice(b, opening);
    buf_add_cstr(b, word);
    ADD(b, "\"");
}
#define add_word(b, name, word) put_word((b), SLICE(",\"" name "\":\""), (word))

#define add_bool(b, name, value)                                                                                       \
    buf_add_slice((b), (value) ? SLICE(",\"" name "\":true") : SLICE(",\"" name "\":false"))

void audit_put_number(struct buf *b, struct slice name, int64_t value)
{
    buf_add_slice(b, name);
    if (value < 0)
        ADD(b, "-");
    buf_add_u64(b, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

void audit_put_time(struct buf *b, struct slice name, int64_t wall_ms)
{
    char text[RFC3339_MAX];
    buf_add_slice(b, name);
    if (wall_ms == 0 || wall_ms == INT64_MAX) {
        ADD(b, "null");
        return;
    }
    put_word(b, SLICE("\""), rfc3339_format(wall_ms, text));
}

/* prefix: with its opening quote. */
static void put_hex_id(struct buf *b, struct slice prefix, uint64_t id)
{
    static const char digits[] = "0123456789abcdef";
    char hex[17];
    for (size_t i = 16; i-- > 0; id >>= 4)
        hex[i] = digits[id & 15];
    hex[16] = '"';
    buf_add_slice(b, prefix);
    buf_add(b, hex, sizeof hex);
}

void audit_put_id(struct buf *b, struct slice name, struct slice prefix, uint64_t id)
{
    buf_add_slice(b, name);
    if (id == 0)
        ADD(b, "null");
    else
        put_hex_id(b, prefix, id);
}

void audit_personal_open(struct buf *b)
{
    uint8_t salt[SALT_BYTES];
    char hex[2 * SALT_BYTES + 1];
    hash_random(salt, sizeof salt);
    ADD(b, "{\"salt\":\"");
    buf_add(b, hash_hex(salt, sizeof salt, hex), sizeof hex - 1);
    ADD(b, "\"");
}

static void add_violations(struct buf *b, const struct decision *d)
{
    ADD(b, ",\"violations\":[");
    for (size_t i = 0; i < d->n_violations; i++) {
        const struct violation *v = &d->violations[i];
        put_word(b, i == 0 ? SLICE("{\"rule\":\"") : SLICE(",{\"rule\":\""), rule_name(v->rule));
        add_word(b, "reason", reason_name(v->reason));
        add_word(b, "level", level_name(v->level));
        add_word(b, "severity", severity_name(v->severity));
        add_word(b, "outcome", outcome_name(v->outcome));
        add_bool(b, "shadow", v->shadow);
        audit_add_text(b, "detail", slice_of(v->detail));
        if (v->passes_at_ms != 0)
            audit_add_time(b, "passes_at", v->passes_at_ms);
        ADD(b, "}");
    }
    ADD(b, "]");
}

static void add_verdict(struct buf *b, const struct decision *d)
{
    char code[PST_CODE_MAX];
    add_word(b, "outcome", outcome_name(d->outcome));
    add_word(b, "level", level_name(d->level));
    add_word(b, "code", decision_code(d, code));
    add_word(b, "reason", reason_name(d->reason));
    add_violations(b, d);
    add_word(b, "would_have", outcome_name(d->would_have));
    audit_add_time(b, "release_at", d->release_at_ms);
    audit_add_time(b, "expires_at", d->expires_at_ms);
    audit_add_text(b, "zones", slice_of(d->zones));
    audit_add_text(b, "local_rule", slice_of(d->local_rule));
    add_bool(b, "degraded", d->degraded);
    audit_add_number(b, "policy_version", d->policy_version);
}

static void add_message(struct buf *b, const struct message *m)
{
    add_word(b, "channel", channel_name(m->channel));
    if (m->category != NULL) {
        audit_add_text(b, "category", slice_of(m->category->name));
        add_word(b, "class", class_name(m->category->class));
    }
    add_word(b, "priority", priority_name(m->priority));
    add_word(b, "sender_kind", sender_kind_name(m->sender_kind));
    audit_add_number(b, "message_index", m->index);
    audit_add_text(b, "field", m->field);
}

void audit_decision_body(struct buf *b, const struct store_record *r, const struct record_decision *d,
                         uint64_t deferred_id)
{
    put_hex_id(b, SLICE("{\"id\":\"dec_"), d->id);
    audit_add_id(b, "parent_decision", "dec_", d->parent);
    audit_add_text(b, "submission_id", r->submission_id);
    audit_add_time(b, "decided_at", r->now_ms);
    add_verdict(b, d->decision);
    audit_add_text(b, "key", r->key);
    audit_add_text(b, "dialect", r->dialect);
    add_message(b, d->message);
    if (deferred_id != 0)
        audit_add_id(b, "deferred_id", "def_", deferred_id);
    if (d->facts.n > 0) {
        ADD(b, ",\"facts\":");
        buf_add_slice(b, d->facts);
    }
    ADD(b, "}");
}

void audit_decision_personal(struct buf *b, const struct record_decision *d)
{
    audit_personal_open(b);
    audit_add_text(b, "recipient", slice_of(d->message->to.text));
    audit_add_text(b, "contact", d->contact_id);
    ADD(b, "}");
}

void audit_result_body(struct buf *b, const struct record_result *r, uint64_t deferred_id)
{
    put_hex_id(b, SLICE("{\"decision\":\"dec_"), r->decision);
    add_word(b, "result", result_name(r->result));
    audit_add_text(b, "provider", r->provider);
    if (r->provider_status != 0)
        audit_add_number(b, "provider_status", r->provider_status);
    audit_add_text(b, "provider_id", r->provider_id);
    audit_add_text(b, "detail", r->detail);
    add_bool(b, "counted", r->counts);
    if (deferred_id != 0)
        audit_add_id(b, "deferred_id", "def_", deferred_id);
    ADD(b, "}");
}

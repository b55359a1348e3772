/*
 * Consents and opt-outs.  The one idea: what an opt-out binds and what it empties
 * from the queue become durable in one transaction, so that once it is acknowledged
 * nothing that waits can leave against it.
 */
#include "store/sqlite.h"

#include "postern/limits.h"
#include "store/binding.h"

/* --- emptying the queue -------------------------------------------------------------------- */

/* What empties: an opt-out or a revocation, and for whom. */
struct emptying {
    const struct opt_out *opt_out; /* or */
    const struct consent *revoked;
    struct slice own_folded; /* of the address that opted out */
    struct slice actor;
    int64_t now_ms;
    struct arena *arena;
    struct rows found; /* struct deferred */
};

static bool is_found(const struct emptying *e, uint64_t id)
{
    const struct deferred *d = e->found.items;
    for (size_t i = 0; i < e->found.n; i++) {
        if (d[i].id == id)
            return true;
    }
    return false;
}

static bool is_bound(const struct emptying *e, const struct deferred *d)
{
    if (e->revoked != NULL)
        return binding_revocation(e->revoked, d);
    struct address folded;
    address_fold(&d->to, &folded);
    return binding_opt_out(e->opt_out, d, slice_eq_cstr(e->own_folded, folded.text));
}

static void find_bound(struct backend *b, sqlite3_stmt *st, struct emptying *e)
{
    while (sql_row(b, st) && !b->arena_spent) {
        int64_t state = col_int(st, 3);
        if ((state != DEFERRED_WAITING && state != DEFERRED_PAUSED) || is_found(e, (uint64_t)col_int(st, 0)))
            continue;
        struct deferred d;
        int64_t submission = deferred_read(b, st, e->arena, &d);
        struct deferred *kept = is_bound(e, &d) ? rows_add(b, &e->found, e->arena, sizeof d) : NULL;
        if (kept == NULL)
            continue;
        deferred_read_small_submission(b, submission, e->arena, &d.submission);
        *kept = d;
    }
    sql_end(st);
}

static void empty_queue(struct backend *b, struct slice contact_id, const struct address *addresses, size_t n,
                        struct emptying *e)
{
    if (contact_id.n > 0)
        find_bound(b, SQL_START(b, SQL_DEFERRED_BY_CONTACT, V_TEXT(contact_id), V_INT(0)), e);
    for (size_t i = 0; i < n; i++) {
        struct address folded;
        address_fold(&addresses[i], &folded);
        find_bound(b, SQL_START(b, SQL_DEFERRED_BY_ADDRESS, V_TEXT(slice_of(folded.text)), V_INT(0)), e);
    }
    struct deferred *d = e->found.items;
    for (size_t i = 0; i < e->found.n && !b->arena_spent; i++)
        deferred_cancel(b, &d[i], REASON_OPTED_OUT_MEANWHILE, e->actor, e->now_ms);
}

static struct slice contact_id_of(struct backend *b, int64_t contact, struct arena *a)
{
    struct slice id = {0};
    sqlite3_stmt *st = SQL_START(b, SQL_CONTACT_GET, V_INT(contact));
    if (sql_row(b, st)) {
        id = col_slice(b, st, 0, a);
        sql_end(st);
    }
    return id;
}

/* --- opt-outs ------------------------------------------------------------------------------- */

static uint64_t audit_opt_out(struct backend *b, const struct store_opt_out_add *r)
{
    struct arena *a = scratch_new(b);
    struct buf body, personal;
    buf_init(&body, a, LIMIT_JSON_API_BYTES);
    buf_init(&personal, a, LIMIT_JSON_API_BYTES);
    buf_add_cstr(&body, "{\"action\":\"add\"");
    audit_add_text(&body, "scope", slice_of(opt_out_scope_name(r->opt_out.scope)));
    if (!r->opt_out.any_channel)
        audit_add_text(&body, "channel", slice_of(channel_name(r->opt_out.channel)));
    audit_add_text(&body, "category", r->opt_out.category);
    audit_add_text(&body, "topic", r->opt_out.topic);
    audit_add_text(&body, "source", slice_of(source_name(r->opt_out.source)));
    audit_add_text(&body, "actor", r->actor);
    buf_add_cstr(&body, "}");
    audit_personal_open(&personal);
    audit_add_text(&personal, "recipient", slice_of(r->address.text));
    audit_add_text(&personal, "contact", r->contact_id);
    audit_add_text(&personal, "sender", r->opt_out.sender);
    audit_add_text(&personal, "reason", r->reason); /* may be the person's own words */
    buf_add_cstr(&personal, "}");
    return audit_append(b, r->now_ms, "opt_out", 0, &body, &personal);
}

/* The same opt-out said twice is one; the first is kept, with its time and source. */
static int64_t find_same(struct backend *b, const struct opt_out *o, struct slice folded)
{
    return SQL_GET(b, SQL_OPT_OUT_SAME, 0, V_TEXT(folded), V_INT(o->scope), V_INT(o->any_channel),
                   V_INT(o->any_channel ? 0 : o->channel), V_TEXT(o->category), V_TEXT(o->topic), V_TEXT(o->sender));
}

static void insert_opt_out(struct backend *b, struct store_opt_out_add *r, struct slice folded, int64_t contact)
{
    const struct opt_out *o = &r->opt_out;
    uint64_t seq = audit_opt_out(b, r);
    SQL_RUN(b, SQL_OPT_OUT_INSERT, V_TEXT(folded), V_TEXT(slice_of(r->address.text)), V_INT(contact), V_INT(o->scope),
            V_INT(o->any_channel), V_INT(o->any_channel ? 0 : o->channel), V_TEXT(o->category), V_TEXT(o->topic),
            V_TEXT(o->sender), V_INT(o->source), V_TEXT(r->reason), V_TEXT(r->actor), V_INT(o->at_ms), V_INT(seq));
    r->opt_out_id = (uint64_t)sql_last_id(b);
    if (contact != 0)
        SQL_RUN(b, SQL_CONTACT_RAISE, V_INT(contact), V_INT(seq), V_INT(r->now_ms));
}

/* The contact that has the address; else one that has it but for case or tag, as suppressions err toward blocking. */
static int64_t contact_bound(struct backend *b, const struct address *address, struct slice folded)
{
    int64_t contact = contact_of_address(b, address);
    return contact != 0 ? contact : SQL_GET(b, SQL_CONTACT_OF_FOLDED, 0, V_TEXT(folded));
}

/* The address itself, and all of its contact's. */
static void list_touched(struct backend *b, struct store_opt_out_add *r, int64_t contact)
{
    size_t n = 0;
    const struct address *list = contact == 0 ? NULL : contact_addresses(b, contact, r->arena, &n);
    struct address *touched = sql_alloc(b, r->arena, n + 1, sizeof *touched);
    if (touched == NULL)
        return;
    touched[0] = r->address;
    r->n_touched = 1;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].text, r->address.text) != 0)
            touched[r->n_touched++] = list[i];
    }
    r->touched = touched;
}

enum err sqlite_opt_out_add(struct backend *b, struct store_opt_out_add *r)
{
    struct address folded;
    address_fold(&r->address, &folded);
    struct slice folded_text = slice_of(folded.text);
    int64_t contact = contact_bound(b, &r->address, folded_text);
    r->contact_id = contact == 0 ? (struct slice){0} : contact_id_of(b, contact, r->arena);
    r->opt_out_id = (uint64_t)find_same(b, &r->opt_out, folded_text);
    if (r->opt_out_id == 0)
        insert_opt_out(b, r, folded_text, contact);
    list_touched(b, r, contact);
    struct emptying e = {
        .opt_out = &r->opt_out, .own_folded = folded_text, .actor = r->actor, .now_ms = r->now_ms, .arena = r->arena};
    if (!b->arena_spent)
        empty_queue(b, r->contact_id, r->touched, r->n_touched, &e);
    r->cancelled = e.found.items;
    r->n_cancelled = e.found.n;
    return sql_done(b, OK);
}

/* --- consents ------------------------------------------------------------------------------- */

static uint64_t audit_consent(struct backend *b, const struct store_consent_add *r)
{
    static const char *const states[] = {
        [CONSENT_GRANTED] = "granted", [CONSENT_REVOKED] = "revoked", [CONSENT_PENDING] = "pending"};
    struct arena *a = scratch_new(b);
    struct buf body, personal;
    buf_init(&body, a, LIMIT_JSON_API_BYTES);
    buf_init(&personal, a, LIMIT_JSON_API_BYTES);
    buf_add_cstr(&body, "{\"state\":\"");
    buf_add_cstr(&body, states[r->consent.state]);
    buf_add_cstr(&body, "\"");
    if (!r->consent.any_channel)
        audit_add_text(&body, "channel", slice_of(channel_name(r->consent.channel)));
    audit_add_text(&body, "category", r->consent.category);
    audit_add_text(&body, "source", slice_of(source_name(r->consent.source)));
    audit_add_text(&body, "basis", r->consent.basis);
    if (r->consent.night)
        audit_add_text(&body, "scope", SLICE("night"));
    audit_add_time(&body, "expires_at", r->consent.expires_at_ms);
    audit_add_number(&body, "lifted", (int64_t)r->n_lifted);
    audit_add_text(&body, "actor", r->actor);
    buf_add_cstr(&body, "}");
    audit_personal_open(&personal);
    audit_add_text(&personal, "contact", r->contact_id);
    audit_add_text(&personal, "evidence", r->evidence);
    buf_add_cstr(&personal, "}");
    return audit_append(b, r->now_ms, "consent", 0, &body, &personal);
}

static bool is_lifted(sqlite3_stmt *st, const struct consent *c)
{
    struct opt_out o = {.scope = (enum opt_out_scope)col_int(st, 1),
                        .any_channel = col_int(st, 2) != 0,
                        .channel = (enum channel)col_int(st, 3),
                        .category = col_borrow(st, 4)};
    return col_int(st, 9) == 0 && consent_lifts(c, &o);
}

/* Ids of the opt-outs that the consent lifts. */
static void find_lifted(struct backend *b, int64_t contact, const struct store_consent_add *r, struct rows *ids)
{
    sqlite3_stmt *st = SQL_START(b, SQL_OPT_OUTS_OF_PERSON, V_INT(contact));
    while (sql_row(b, st)) {
        int64_t *id = is_lifted(st, &r->consent) ? rows_add(b, ids, r->arena, sizeof *id) : NULL;
        if (id != NULL)
            *id = col_int(st, 0);
    }
}

static void insert_consent(struct backend *b, const struct store_consent_add *r, int64_t contact)
{
    const struct consent *c = &r->consent;
    SQL_RUN(b, SQL_CONSENT_INSERT, V_INT(contact), V_INT(c->any_channel), V_INT(c->any_channel ? 0 : c->channel),
            V_TEXT(c->category), V_INT(c->state), V_INT(c->source), V_TEXT(c->basis), V_TEXT(r->evidence),
            V_TEXT(r->actor), V_INT(c->at_ms), V_INT(c->expires_at_ms), V_INT(c->night));
}

static bool is_of_version(struct backend *b, int64_t contact, uint64_t version)
{
    uint64_t is = 0;
    sqlite3_stmt *st = SQL_START(b, SQL_CONTACT_GET, V_INT(contact));
    if (sql_row(b, st)) {
        is = (uint64_t)col_int(st, 2);
        sql_end(st);
    }
    return is == version;
}

enum err sqlite_consent_add(struct backend *b, struct store_consent_add *r)
{
    int64_t contact = contact_of_id(b, r->contact_id);
    if (contact == 0)
        return sql_done(b, ERR_NOT_FOUND);
    /* A grant is decided over what was read: an opt-out that came meanwhile must not be lifted unseen. */
    if (r->expected_version != 0 && !is_of_version(b, contact, r->expected_version))
        return sql_done(b, ERR_CONFLICT);
    r->touched = contact_addresses(b, contact, r->arena, &r->n_touched);
    struct rows ids = {0};
    if (r->lifts && r->consent.state == CONSENT_GRANTED)
        find_lifted(b, contact, r, &ids);
    if (b->arena_spent)
        return sql_done(b, OK);
    r->n_lifted = ids.n;
    uint64_t seq = audit_consent(b, r);
    insert_consent(b, r, contact);
    SQL_RUN(b, SQL_CONTACT_RAISE, V_INT(contact), V_INT(seq), V_INT(r->now_ms));
    for (size_t i = 0; i < r->n_lifted; i++)
        SQL_RUN(b, SQL_OPT_OUT_LIFT, V_INT(((const int64_t *)ids.items)[i]), V_INT(r->now_ms), V_INT(seq));
    struct emptying e = {.revoked = &r->consent, .actor = r->actor, .now_ms = r->now_ms, .arena = r->arena};
    /* Without the night's consent a message still waits for the day. */
    if (r->consent.state == CONSENT_REVOKED && !r->consent.night && !b->arena_spent)
        empty_queue(b, r->contact_id, r->touched, r->n_touched, &e);
    r->cancelled = e.found.items;
    r->n_cancelled = e.found.n;
    return sql_done(b, OK);
}

/*
 * Contacts: a person's addresses and the versions of each preference.  An address
 * belongs to one contact; a version of a preference is never changed, the latest
 * one of each authority and system stands.
 */
#include "store/sqlite.h"

#include "postern/limits.h"

/* --- get -------------------------------------------------------------------------------- */

static void read_addresses(struct backend *b, int64_t n, struct arena *a, struct contact *c)
{
    const struct address *list = contact_addresses(b, n, a, &c->n_addresses);
    struct contact_address *out = sql_alloc(b, a, c->n_addresses, sizeof *out);
    for (size_t i = 0; out != NULL && i < c->n_addresses; i++) {
        struct address folded;
        address_fold(&list[i], &folded);
        out[i].address = list[i];
        out[i].valid = SQL_GET(b, SQL_OPT_OUT_OF_ONE_ADDRESS, 0, V_TEXT(slice_of(folded.text))) == 0;
    }
    c->addresses = out;
}

enum err sqlite_contact_get(struct backend *b, struct store_contact_get *r)
{
    int64_t n = r->id.n > 0 ? contact_of_id(b, r->id) : contact_of_address(b, &r->address);
    sqlite3_stmt *st = SQL_START(b, SQL_CONTACT_GET, V_INT(n));
    if (!sql_row(b, st))
        return sql_done(b, ERR_NOT_FOUND);
    struct contact *c = r->contact;
    *c = (struct contact){.id = col_slice(b, st, 0, r->arena),
                          .account = col_slice(b, st, 1, r->arena),
                          .version = (uint64_t)col_int(st, 2),
                          .created_at_ms = col_int(st, 4),
                          .updated_at_ms = col_int(st, 5),
                          .previous_zone = col_slice(b, st, 6, r->arena),
                          .zone_changed_at_ms = col_int(st, 7)};
    sql_end(st);
    read_addresses(b, n, r->arena, c);
    if (b->arena_spent)
        return sql_done(b, OK);
    c->preferences =
        contact_preferences(b, SQL_PREFERENCES_STANDING, (struct person){n, INT64_MAX}, r->arena, &c->n_preferences);
    if (r->with_history)
        c->history =
            contact_preferences(b, SQL_PREFERENCES_ALL, (struct person){n, INT64_MAX}, r->arena, &c->n_history);
    c->consents = consents_read(b, (struct person){n, INT64_MAX}, false, r->arena, &c->n_consents);
    c->opt_outs = opt_outs_of_person(b, n, r->arena, &c->n_opt_outs);
    return sql_done(b, OK);
}

/* --- put -------------------------------------------------------------------------------- */

/* The address that another contact has, if any, becomes the request's conflict. */
static bool addresses_are_free(struct backend *b, struct store_contact_put *r, int64_t own)
{
    for (size_t i = 0; i < r->n_addresses; i++) {
        int64_t other = contact_of_address(b, &r->addresses[i]);
        if (other == 0 || other == own)
            continue;
        sqlite3_stmt *st = SQL_START(b, SQL_CONTACT_GET, V_INT(other));
        if (sql_row(b, st)) {
            struct slice id = col_borrow(st, 0);
            r->conflict =
                slice_of(arena_printf(r->arena, "%s belongs to contact \"%.*s\"", r->addresses[i].text, SLICE_ARG(id)));
            sql_end(st);
        }
        return false;
    }
    return true;
}

/* Every address before and after; those that stay are named once. */
static void list_touched(struct backend *b, struct store_contact_put *r, int64_t contact)
{
    struct rows rows = {0};
    size_t n_old;
    const struct address *old = contact_addresses(b, contact, r->arena, &n_old);
    for (size_t i = 0; i < n_old + r->n_addresses; i++) {
        const struct address *a = i < n_old ? &old[i] : &r->addresses[i - n_old];
        bool known = false;
        for (size_t k = 0; i >= n_old && k < n_old && !known; k++)
            known = strcmp(old[k].text, a->text) == 0;
        struct address *kept = known ? NULL : rows_add(b, &rows, r->arena, sizeof *kept);
        if (kept != NULL)
            *kept = *a;
    }
    r->touched = rows.items;
    r->n_touched = rows.n;
}

static void put_addresses(struct backend *b, const struct store_contact_put *r, int64_t contact)
{
    SQL_RUN(b, SQL_ADDRESSES_CLEAR, V_INT(contact));
    for (size_t i = 0; i < r->n_addresses; i++) {
        const struct address *a = &r->addresses[i];
        if (contact_of_address(b, a) != 0)
            continue; /* named twice in the list */
        struct address folded;
        address_fold(a, &folded);
        SQL_RUN(b, SQL_ADDRESS_INSERT, V_TEXT(slice_of(a->text)), V_INT(a->kind), V_TEXT(slice_of(folded.text)),
                V_INT(contact), V_INT(i));
    }
}

static void put_preferences(struct backend *b, const struct store_contact_put *r, int64_t contact)
{
    for (size_t i = 0; i < r->n_preferences; i++) {
        const struct preference *p = &r->preferences[i];
        struct slice key = slice_of(preference_key_name(p->key));
        int64_t version =
            SQL_GET(b, SQL_PREFERENCE_VERSION, 0, V_INT(contact), V_TEXT(key), V_INT(p->specificity), V_TEXT(p->scope));
        SQL_RUN(b, SQL_PREFERENCE_INSERT, V_INT(contact), V_TEXT(key), V_INT(p->specificity), V_TEXT(p->scope),
                V_INT(version + 1), V_TEXT(p->text), V_INT(p->authority), V_INT(p->source), V_TEXT(p->system),
                V_INT(p->confidence), V_INT(p->at_ms), V_TEXT(r->actor), V_INT(r->now_ms));
    }
}

static void personal_preferences(struct buf *out, const struct store_contact_put *r)
{
    buf_add_cstr(out, ",\"preferences\":[");
    for (size_t i = 0; i < r->n_preferences; i++) {
        const struct preference *p = &r->preferences[i];
        buf_add_cstr(out, i == 0 ? "{\"key\":\"" : ",{\"key\":\"");
        buf_add_cstr(out, preference_key_name(p->key));
        buf_add_cstr(out, "\"");
        audit_add_text(out, "scope", p->scope);
        audit_add_text(out, "text", p->text);
        audit_add_text(out, "source", slice_of(source_name(p->source)));
        buf_add_cstr(out, "}");
    }
    buf_add_cstr(out, "]");
}

static uint64_t audit_contact(struct backend *b, const struct store_contact_put *r, uint64_t version)
{
    struct arena *a = scratch_new(b);
    struct buf body, personal;
    buf_init(&body, a, LIMIT_JSON_API_BYTES);
    buf_init(&personal, a, LIMIT_JSON_API_BYTES);
    buf_add_cstr(&body, version == 1 ? "{\"action\":\"create\"" : "{\"action\":\"change\"");
    audit_add_number(&body, "version", (int64_t)version);
    if (r->addresses != NULL)
        audit_add_number(&body, "addresses", (int64_t)r->n_addresses);
    audit_add_number(&body, "preferences", (int64_t)r->n_preferences);
    audit_add_text(&body, "actor", r->actor);
    buf_add_cstr(&body, "}");
    audit_personal_open(&personal);
    audit_add_text(&personal, "contact", r->id);
    audit_add_text(&personal, "account", r->account);
    for (size_t i = 0; i < r->n_addresses; i++) {
        buf_add_cstr(&personal, i == 0 ? ",\"addresses\":[" : ",");
        buf_add_json(&personal, slice_of(r->addresses[i].text));
        if (i + 1 == r->n_addresses)
            buf_add_cstr(&personal, "]");
    }
    personal_preferences(&personal, r);
    buf_add_cstr(&personal, "}");
    return audit_append(b, r->now_ms, "contact", 0, &body, &personal);
}

/* An opt-out that came before its address had a contact binds the contact from now on. */
static void adopt_opt_outs(struct backend *b, const struct store_contact_put *r, int64_t contact, uint64_t seq)
{
    for (size_t i = 0; i < r->n_addresses; i++) {
        struct address folded;
        address_fold(&r->addresses[i], &folded);
        SQL_RUN(b, SQL_OPT_OUT_ADOPT, V_INT(contact), V_TEXT(slice_of(folded.text)), V_INT(seq));
    }
}

enum err sqlite_contact_put(struct backend *b, struct store_contact_put *r)
{
    uint64_t version = 0;
    int64_t contact = contact_of_id(b, r->id);
    sqlite3_stmt *st = SQL_START(b, SQL_CONTACT_GET, V_INT(contact));
    if (sql_row(b, st)) {
        version = (uint64_t)col_int(st, 2);
        sql_end(st);
    }
    if (version != r->expected_version || !addresses_are_free(b, r, contact))
        return sql_done(b, ERR_CONFLICT);
    list_touched(b, r, contact);
    if (contact == 0) {
        SQL_RUN(b, SQL_CONTACT_INSERT, V_TEXT(r->id), V_TEXT(r->account), V_INT(r->now_ms), V_INT(r->now_ms));
        contact = sql_last_id(b);
    } else {
        SQL_RUN(b, SQL_CONTACT_UPDATE, V_INT(contact), V_TEXT(r->account), V_INT(r->now_ms));
    }
    if (r->addresses != NULL)
        put_addresses(b, r, contact);
    put_preferences(b, r, contact);
    if (r->previous_zone.n > 0)
        SQL_RUN(b, SQL_CONTACT_ZONE_CHANGED, V_INT(contact), V_TEXT(r->previous_zone), V_INT(r->now_ms));
    uint64_t seq = audit_contact(b, r, version + 1);
    SQL_RUN(b, SQL_CONTACT_CHANGED, V_INT(contact), V_INT(seq));
    if (r->addresses != NULL)
        adopt_opt_outs(b, r, contact, seq);
    return sql_done(b, OK);
}

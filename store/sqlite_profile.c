/*
 * What is known of a recipient: a few point look-ups by address.  For an address
 * that nobody knows two probes are all.
 */
#include "store/sqlite.h"

int64_t contact_of_address(struct backend *b, const struct address *address)
{
    return SQL_GET(b, SQL_CONTACT_OF_ADDRESS, 0, V_TEXT(slice_of(address->text)));
}

int64_t contact_of_id(struct backend *b, struct slice id)
{
    return SQL_GET(b, SQL_CONTACT_OF_ID, 0, V_TEXT(id));
}

struct address *contact_addresses(struct backend *b, int64_t contact, struct arena *a, size_t *n)
{
    struct rows rows = {0};
    sqlite3_stmt *st = SQL_START(b, SQL_ADDRESSES_OF, V_INT(contact));
    while (sql_row(b, st)) {
        struct address *address = rows_add(b, &rows, a, sizeof *address);
        if (address == NULL)
            break;
        col_address(st, 0, 1, address);
    }
    sql_end(st);
    *n = rows.n;
    return rows.items;
}

const struct preference *contact_preferences(struct backend *b, enum sql id, struct person who, struct arena *a,
                                             size_t *n)
{
    struct rows rows = {0};
    sqlite3_stmt *st = SQL_START(b, id, V_INT(who.contact), V_INT(who.at_ms));
    while (sql_row(b, st)) {
        enum preference_key key;
        if (!preference_key_parse(col_borrow(st, 0), &key))
            continue; /* of a newer posternd: means nothing to our rules */
        struct preference *p = rows_add(b, &rows, a, sizeof *p);
        if (p == NULL)
            break;
        *p = (struct preference){.key = key,
                                 .specificity = (enum specificity)col_int(st, 1),
                                 .scope = col_slice(b, st, 2, a),
                                 .version = (uint32_t)col_int(st, 3),
                                 .text = col_slice(b, st, 4, a),
                                 .authority = (enum authority)col_int(st, 5),
                                 .source = (enum source)col_int(st, 6),
                                 .system = col_slice(b, st, 7, a),
                                 .confidence = (enum confidence)col_int(st, 8),
                                 .at_ms = col_int(st, 9)};
    }
    sql_end(st);
    *n = rows.n;
    return rows.items;
}

static bool is_seen(const struct rows *seen, const struct consent *c)
{
    const struct consent *s = seen->items;
    for (size_t i = 0; i < seen->n; i++) {
        if (s[i].any_channel == c->any_channel && s[i].channel == c->channel && slice_eq(s[i].category, c->category) &&
            s[i].night == c->night)
            return true;
    }
    return false;
}

static void keep_consent(struct backend *b, struct rows *rows, struct arena *a, const struct consent *c)
{
    struct consent *kept = rows_add(b, rows, a, sizeof *c);
    if (kept != NULL)
        *kept = *c;
}

static void read_consent(struct backend *b, sqlite3_stmt *st, struct arena *a, struct consent *c)
{
    *c = (struct consent){.any_channel = col_int(st, 0) != 0,
                          .channel = (enum channel)col_int(st, 1),
                          .category = col_slice(b, st, 2, a),
                          .state = (enum consent_state)col_int(st, 3),
                          .source = (enum source)col_int(st, 4),
                          .at_ms = col_int(st, 5),
                          .expires_at_ms = col_int(st, 6),
                          .basis = col_slice(b, st, 7, a),
                          .night = col_int(st, 8) != 0};
}

const struct consent *consents_read(struct backend *b, struct person who, bool in_force, struct arena *a, size_t *n)
{
    struct rows rows = {0}, pending = {0};
    sqlite3_stmt *st = SQL_START(b, SQL_CONSENTS_OF, V_INT(who.contact), V_INT(who.at_ms));
    while (sql_row(b, st) && !b->arena_spent) {
        struct consent c;
        read_consent(b, st, a, &c);
        if (!in_force || !is_seen(&rows, &c))
            keep_consent(b, in_force && c.state == CONSENT_PENDING ? &pending : &rows, a, &c);
    }
    sql_end(st);
    /* A pending one never activates by itself: it shows only where nothing else stands. */
    const struct consent *p = pending.items;
    for (size_t i = 0; i < pending.n && !b->arena_spent; i++) {
        if (!is_seen(&rows, &p[i]))
            keep_consent(b, &rows, a, &p[i]);
    }
    *n = rows.n;
    return rows.items;
}

static void raise_to(int64_t *at, int64_t value)
{
    if (value > *at)
        *at = value;
}

static void read_opt_outs(struct backend *b, sqlite3_stmt *st, int64_t at_ms, struct rows *rows, struct arena *a,
                          struct profile *p)
{
    while (sql_row(b, st)) {
        int64_t lifted_at_ms = col_int(st, 9) <= at_ms ? col_int(st, 9) : 0;
        if (col_int(st, 8) > at_ms)
            continue;
        raise_to(&p->opted_out_at_ms, col_int(st, 8));
        raise_to(&p->resubscribed_at_ms, lifted_at_ms);
        if ((uint64_t)col_int(st, 10) > p->version)
            p->version = (uint64_t)col_int(st, 10);
        if (lifted_at_ms != 0)
            continue;
        struct opt_out *o = rows_add(b, rows, a, sizeof *o);
        if (o == NULL)
            break;
        *o = (struct opt_out){.scope = (enum opt_out_scope)col_int(st, 1),
                              .any_channel = col_int(st, 2) != 0,
                              .channel = (enum channel)col_int(st, 3),
                              .category = col_slice(b, st, 4, a),
                              .topic = col_slice(b, st, 5, a),
                              .sender = col_slice(b, st, 6, a),
                              .source = (enum source)col_int(st, 7),
                              .at_ms = col_int(st, 8)};
    }
    sql_end(st);
}

void opt_outs_read(struct backend *b, struct slice folded, struct person who, struct arena *a, struct profile *p)
{
    struct rows rows = {0};
    read_opt_outs(b, SQL_START(b, SQL_OPT_OUTS_OF_ADDRESS, V_TEXT(folded)), who.at_ms, &rows, a, p);
    if (who.contact != 0)
        read_opt_outs(b, SQL_START(b, SQL_OPT_OUTS_OF_CONTACT, V_INT(who.contact), V_TEXT(folded)), who.at_ms, &rows, a,
                      p);
    p->opt_outs = rows.items;
    p->n_opt_outs = rows.n;
}

const struct opt_out *opt_outs_of_person(struct backend *b, int64_t contact, struct arena *a, size_t *n)
{
    struct rows rows = {0};
    struct profile unused = {0};
    read_opt_outs(b, SQL_START(b, SQL_OPT_OUTS_OF_PERSON, V_INT(contact)), INT64_MAX, &rows, a, &unused);
    *n = rows.n;
    return rows.items;
}

static void read_contact(struct backend *b, struct person who, struct arena *a, struct profile *p)
{
    sqlite3_stmt *st = SQL_START(b, SQL_CONTACT_GET, V_INT(who.contact));
    if (!sql_row(b, st))
        return;
    p->known = KNOWN;
    p->contact_id = col_slice(b, st, 0, a);
    p->account = col_slice(b, st, 1, a);
    p->version = (uint64_t)col_int(st, 3);
    p->previous_zone_name = col_slice(b, st, 6, a);
    p->zone_changed_at_ms = col_int(st, 7);
    sql_end(st);
    p->consents = consents_read(b, who, true, a, &p->n_consents);
    p->preferences = contact_preferences(b, SQL_PREFERENCES_STANDING, who, a, &p->n_preferences);
}

enum err sqlite_profile_get(struct backend *b, struct store_profile_get *r)
{
    struct address folded;
    address_fold(&r->to, &folded);
    *r->profile = (struct profile){0};
    struct person who = {contact_of_address(b, &r->to), INT64_MAX};
    if (who.contact != 0)
        read_contact(b, who, r->arena, r->profile);
    opt_outs_read(b, slice_of(folded.text), who, r->arena, r->profile);
    return sql_done(b, OK);
}

enum err sqlite_profile_at(struct backend *b, struct store_profile_at *r)
{
    struct address folded;
    address_fold(&r->to, &folded);
    r->profile = (struct profile){0};
    struct person who = {r->contact_id.n > 0 ? contact_of_id(b, r->contact_id) : 0, r->at_ms};
    if (who.contact != 0) {
        read_contact(b, who, r->arena, &r->profile);
        /* The row knows the latest change only. */
        r->profile.previous_zone_name = (struct slice){0};
        r->profile.zone_changed_at_ms = SQL_GET(b, SQL_ZONE_CHANGED_BEFORE, 0, V_INT(who.contact), V_INT(who.at_ms));
    }
    opt_outs_read(b, slice_of(folded.text), who, r->arena, &r->profile);
    return sql_done(b, who.contact == 0 && r->contact_id.n > 0 ? ERR_NOT_FOUND : OK);
}

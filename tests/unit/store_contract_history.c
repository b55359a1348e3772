/*
 * The contract of postern/store.h for those who look back: decisions and results in
 * their order, and what was known of a recipient at an instant.
 */
#include "tests/unit/store_contract.h"

static struct store *reader; /* read only, beside the one at work */

static void open_reader(void)
{
    struct errmsg e = {{0}};
    struct store_options o = {.url = harness_url, .now_ms = NOW, .read_only = true};
    reader = store_open(&o, &e);
    ck_assert_msg(reader != NULL, "%s", e.text);
}

static struct profile profile_at(const char *address, const char *contact, int64_t at_ms)
{
    struct store_profile_at at = {
        .arena = &arena, .to = address_of(address), .contact_id = slice_of(contact), .at_ms = at_ms};
    open_reader();
    ck_assert_int_eq(store_profile_at(reader, &at), OK);
    store_close(&reader);
    return at.profile;
}

/* --- events ------------------------------------------------------------------------------ */

struct seen {
    size_t n, max;
    uint64_t ref[8];
    bool is_result[8];
    uint64_t last_row, rows;
};

static bool on_event(const struct store_event *e, void *arg)
{
    struct seen *s = arg;
    ck_assert_uint_lt(s->n, 8);
    ck_assert_uint_gt(e->body.n, 0);
    ck_assert(e->is_result || e->personal.n > 0);
    s->ref[s->n] = e->ref;
    s->is_result[s->n] = e->is_result;
    s->last_row = e->row;
    s->rows = e->rows;
    return ++s->n < s->max;
}

static uint64_t record_at(const char *to, int64_t now_ms)
{
    struct sample s;
    sample_init(&s, to, &newsletter, OUTCOME_FORWARD);
    s.record.now_ms = now_ms;
    ASK_OK(&s.record, RECORD);
    struct record_result row = {.decision = s.row.id, .result = RESULT_FORWARDED};
    struct store_result result = {.now_ms = now_ms, .results = &row, .n = 1};
    ASK_OK(&result, RESULT);
    return s.row.id;
}

START_TEST(events_come_in_order_from_an_instant_on)
{
    record_at("a@example.com", NOW - HOUR);
    opt_out("x@example.com", everything); /* not a decision, but a row */
    uint64_t second = record_at("a@example.com", NOW), third = record_at("b@example.com", NOW + 1);
    struct seen s = {.max = 8};
    open_reader();
    ck_assert_int_eq(store_history(reader, NOW, on_event, &s), OK);
    ck_assert_uint_eq(s.n, 4);
    ck_assert_uint_eq(s.ref[0], second);
    ck_assert(!s.is_result[0] && s.is_result[1] && !s.is_result[2] && s.is_result[3]);
    ck_assert_uint_eq(s.ref[3], third);
    ck_assert_uint_eq(s.last_row, s.rows);
    s = (struct seen){.max = 1};
    ck_assert_int_eq(store_history(reader, NOW, on_event, &s), OK);
    ck_assert_uint_eq(s.n, 1);
    s = (struct seen){.max = 8};
    ck_assert_int_eq(store_history(reader, NOW + HOUR, on_event, &s), OK);
    ck_assert_uint_eq(s.n, 0);
    store_close(&reader);
}
END_TEST

/* --- what was known ------------------------------------------------------------------------- */

START_TEST(an_opt_out_holds_from_when_it_was_said_until_it_was_lifted)
{
    const char *ann[] = {"ann@example.com"};
    put_contact("ann", ann, 1, 0);
    opt_out("ann@example.com", everything);
    struct store_consent_add add;
    add_consent((struct consent){.any_channel = true, .state = CONSENT_GRANTED, .at_ms = NOW}, false, &add);
    ck_assert_uint_eq(profile_at("ann@example.com", "ann", NOW - 1).n_opt_outs, 0);
    ck_assert_uint_eq(profile_at("ann@example.com", "ann", NOW).n_opt_outs, 1);
    add = (struct store_consent_add){.arena = &arena,
                                     .contact_id = SLICE("ann"),
                                     .consent = {.any_channel = true, .state = CONSENT_GRANTED, .at_ms = NOW + HOUR},
                                     .evidence = SLICE("e"),
                                     .lifts = true,
                                     .now_ms = NOW + HOUR};
    ASK_OK(&add, CONSENT_ADD);
    ck_assert_uint_eq(add.n_lifted, 1);
    struct profile before = profile_at("ann@example.com", "ann", NOW + HOUR - 1);
    ck_assert_uint_eq(before.n_opt_outs, 1);
    ck_assert_int_eq(before.resubscribed_at_ms, 0);
    struct profile after = profile_at("ann@example.com", "ann", NOW + HOUR);
    ck_assert_uint_eq(after.n_opt_outs, 0);
    ck_assert_int_eq(after.resubscribed_at_ms, NOW + HOUR);
}
END_TEST

START_TEST(the_consent_in_force_is_that_of_the_instant)
{
    const char *ann[] = {"ann@example.com"};
    put_contact("ann", ann, 1, 0);
    struct store_consent_add add;
    add_consent((struct consent){.channel = CHANNEL_EMAIL, .category = SLICE("newsletter"), .at_ms = NOW}, false, &add);
    add_consent(
        (struct consent){
            .channel = CHANNEL_EMAIL, .category = SLICE("newsletter"), .state = CONSENT_REVOKED, .at_ms = NOW + HOUR},
        false, &add);
    ck_assert_uint_eq(profile_at("ann@example.com", "ann", NOW - 1).n_consents, 0);
    struct profile p = profile_at("ann@example.com", "ann", NOW + HOUR - 1);
    ck_assert_uint_eq(p.n_consents, 1);
    ck_assert_int_eq(p.consents[0].state, CONSENT_GRANTED);
    p = profile_at("ann@example.com", "ann", NOW + HOUR);
    ck_assert_uint_eq(p.n_consents, 1);
    ck_assert_int_eq(p.consents[0].state, CONSENT_REVOKED);
}
END_TEST

static void put_zone(uint64_t version, const char *zone, int64_t stated_ms, int64_t now_ms)
{
    struct preference p = {.key = PREFERENCE_ZONE,
                           .text = slice_of(zone),
                           .authority = AUTHORITY_CONTACT,
                           .confidence = CONFIDENCE_HIGH,
                           .at_ms = stated_ms};
    struct store_contact_put put = {.arena = &arena,
                                    .id = SLICE("ann"),
                                    .expected_version = version,
                                    .now_ms = now_ms,
                                    .preferences = &p,
                                    .n_preferences = 1};
    ASK_OK(&put, CONTACT_PUT);
}

START_TEST(a_preference_is_known_from_when_it_was_recorded_not_stated)
{
    const char *ann[] = {"ann@example.com"};
    uint64_t version = put_contact("ann", ann, 1, 0);
    put_zone(version++, "Europe/Paris", NOW, NOW);
    put_zone(version, "Asia/Tokyo", NOW + 1, NOW + HOUR); /* stated long before it came to us */
    ck_assert_uint_eq(profile_at("ann@example.com", "ann", NOW - 1).n_preferences, 0);
    struct profile p = profile_at("ann@example.com", "ann", NOW + HOUR - 1);
    ck_assert_uint_eq(p.n_preferences, 1);
    ck_assert(slice_eq_cstr(p.preferences[0].text, "Europe/Paris"));
    ck_assert_int_eq(p.zone_changed_at_ms, NOW);
    p = profile_at("ann@example.com", "ann", NOW + HOUR);
    ck_assert_uint_eq(p.n_preferences, 1);
    ck_assert(slice_eq_cstr(p.preferences[0].text, "Asia/Tokyo"));
    ck_assert_int_eq(p.zone_changed_at_ms, NOW + HOUR);
}
END_TEST

START_TEST(an_address_that_nobody_had_has_its_own_opt_outs)
{
    opt_out("x@example.com", everything);
    const char *x[] = {"x@example.com"};
    put_contact("late", x, 1, 0);
    struct profile p = profile_at("x@example.com", "", NOW);
    ck_assert_int_eq(p.known, UNKNOWN);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    ck_assert_int_eq(profile_at("x@example.com", "late", NOW).known, KNOWN);
    struct store_profile_at at = {.arena = &arena, .to = address_of("x@example.com"), .contact_id = SLICE("nobody")};
    open_reader();
    ck_assert_int_eq(store_profile_at(reader, &at), ERR_NOT_FOUND);
    store_close(&reader);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_contract_history");
    suite_add_tcase(s, TESTS("events", events_come_in_order_from_an_instant_on));
    suite_add_tcase(s, TESTS("what was known", an_opt_out_holds_from_when_it_was_said_until_it_was_lifted,
                             the_consent_in_force_is_that_of_the_instant,
                             a_preference_is_known_from_when_it_was_recorded_not_stated,
                             an_address_that_nobody_had_has_its_own_opt_outs));
    return run_suite(s);
}

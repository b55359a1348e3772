/*
 * The contract of postern/store.h (see store_contract.c): contacts with their
 * preferences and consents, and opt-outs.
 */
#include "tests/unit/store_contract.h"

/* --- contacts ------------------------------------------------------------------------------- */

static enum err get_contact(const char *id, const char *address, struct contact *out)
{
    struct store_contact_get get = {.arena = &arena, .id = slice_of(id), .with_history = true, .contact = out};
    if (address != NULL)
        get.address = address_of(address);
    return ASK(&get, CONTACT_GET);
}

static void get_profile(const char *address, struct profile *out)
{
    struct store_profile_get get = {.arena = &arena, .to = address_of(address), .profile = out};
    ASK_OK(&get, PROFILE_GET);
}

START_TEST(a_contact_is_put_and_got)
{
    put_contact("ann", (const char *[]){"a@example.com", "+15550100001"}, 2, 0);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.version, 1);
    ck_assert(slice_eq_cstr(c.account, "acme"));
    ck_assert_uint_eq(c.n_addresses, 2);
    ck_assert_str_eq(c.addresses[0].address.text, "a@example.com");
    ck_assert(c.addresses[0].valid);
    ck_assert_int_eq(get_contact(NULL, "+15550100001", &c), OK);
    ck_assert(slice_eq_cstr(c.id, "ann"));
    ck_assert_int_eq(get_contact("bob", NULL, &c), ERR_NOT_FOUND);
    ck_assert_int_eq(get_contact(NULL, "b@example.com", &c), ERR_NOT_FOUND);
    ck_assert_int_eq(c.created_at_ms, NOW);
}
END_TEST

START_TEST(versions_and_addresses_conflict)
{
    put_contact("ann", (const char *[]){"a@example.com"}, 1, 0);
    put_contact("bob", (const char *[]){"b@example.com"}, 1, 0);
    struct address taken = address_of("a@example.com");
    struct store_contact_put put = {
        .arena = &arena, .id = SLICE("bob"), .now_ms = NOW, .addresses = &taken, .n_addresses = 1};
    ck_assert_int_eq(ASK(&put, CONTACT_PUT), ERR_CONFLICT); /* must not exist, but does */
    put.expected_version = 1;
    ck_assert_int_eq(ASK(&put, CONTACT_PUT), ERR_CONFLICT);
    ASSERT_HAS(put.conflict.p, "a@example.com belongs to contact \"ann\"");
    put.expected_version = 2;
    ck_assert_int_eq(ASK(&put, CONTACT_PUT), ERR_CONFLICT);
    struct contact c;
    ck_assert_int_eq(get_contact("bob", NULL, &c), OK);
    ck_assert_uint_eq(c.version, 1);
    put.addresses = NULL; /* unchanged */
    put.n_addresses = 0;
    put.expected_version = 1;
    ASK_OK(&put, CONTACT_PUT);
    ck_assert_uint_eq(put.n_touched, 1);
    ck_assert_int_eq(get_contact("bob", NULL, &c), OK);
    ck_assert_uint_eq(c.version, 2);
    ck_assert_uint_eq(c.n_addresses, 1);
    assert_chain_holds();
}
END_TEST

START_TEST(touched_names_old_and_new_addresses)
{
    put_contact("ann", (const char *[]){"a@example.com", "b@example.com"}, 2, 0);
    struct address list[] = {address_of("b@example.com"), address_of("c@example.com")};
    struct store_contact_put put = {
        .arena = &arena, .id = SLICE("ann"), .expected_version = 1, .now_ms = NOW, .addresses = list, .n_addresses = 2};
    ASK_OK(&put, CONTACT_PUT);
    ck_assert_uint_eq(put.n_touched, 3);
    ck_assert_str_eq(put.touched[2].text, "c@example.com");
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert_int_eq(p.known, UNKNOWN);
    get_profile("c@example.com", &p);
    ck_assert_int_eq(p.known, KNOWN);
}
END_TEST

START_TEST(preferences_have_versions)
{
    put_contact("ann", (const char *[]){"a@example.com"}, 1, 0);
    static const char *const hours[] = {"mon-fri 08:00-18:00", "mon-fri 09:00-17:00"};
    for (uint64_t i = 0; i < 2; i++) {
        struct preference p[] = {{.key = PREFERENCE_HOURS,
                                  .specificity = SPECIFICITY_CHANNEL,
                                  .scope = SLICE("sms"),
                                  .text = slice_of(hours[i]),
                                  .authority = AUTHORITY_AGENT,
                                  .source = SOURCE_AGENT,
                                  .system = SLICE("crm"),
                                  .confidence = CONFIDENCE_MEDIUM,
                                  .at_ms = NOW + (int64_t)i},
                                 {.key = PREFERENCE_LANGUAGE, .text = SLICE("de"), .confidence = CONFIDENCE_HIGH}};
        struct store_contact_put put = {.arena = &arena,
                                        .id = SLICE("ann"),
                                        .expected_version = 1 + i,
                                        .now_ms = NOW,
                                        .preferences = p,
                                        .n_preferences = 2 - i};
        ASK_OK(&put, CONTACT_PUT);
    }
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert_uint_eq(p.n_preferences, 2);
    const struct preference *h = &p.preferences[0];
    ck_assert_int_eq(h->key, PREFERENCE_HOURS);
    ck_assert_uint_eq(h->version, 2);
    ck_assert(slice_eq_cstr(h->text, hours[1]));
    ck_assert(slice_eq_cstr(h->scope, "sms"));
    ck_assert(slice_eq_cstr(h->system, "crm"));
    ck_assert_int_eq(h->specificity, SPECIFICITY_CHANNEL);
    ck_assert_int_eq(h->authority, AUTHORITY_AGENT);
    ck_assert_int_eq(h->confidence, CONFIDENCE_MEDIUM);
    ck_assert_int_eq(p.preferences[1].key, PREFERENCE_LANGUAGE);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.n_history, 3);
    ck_assert_uint_eq(c.n_preferences, 2);
    ck_assert(slice_eq_cstr(c.history[0].text, hours[1]));
}
END_TEST

static void put_language(const char *text, enum authority authority, const char *system, uint64_t version,
                         const char *previous_zone)
{
    struct preference p = {.key = PREFERENCE_LANGUAGE,
                           .text = slice_of(text),
                           .authority = authority,
                           .system = slice_of(system),
                           .at_ms = NOW};
    struct store_contact_put put = {.arena = &arena,
                                    .id = SLICE("ann"),
                                    .expected_version = version,
                                    .now_ms = NOW + 7,
                                    .preferences = &p,
                                    .n_preferences = 1,
                                    .previous_zone = slice_of(previous_zone)};
    ASK_OK(&put, CONTACT_PUT);
}

/* One row stands for each authority and system, whatever others said later. */
START_TEST(preferences_stand_side_by_side)
{
    put_contact("ann", (const char *[]){"a@example.com"}, 1, 0);
    put_language("de", AUTHORITY_CONTACT, "", 1, "");
    put_language("en", AUTHORITY_ACCOUNT, "crm", 2, "");
    put_language("fr", AUTHORITY_ACCOUNT, "helpdesk", 3, "");
    put_language("it", AUTHORITY_ACCOUNT, "crm", 4, "");
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert_uint_eq(p.n_preferences, 3);
    uint32_t versions = 0;
    for (size_t i = 0; i < p.n_preferences; i++) {
        versions |= 1u << p.preferences[i].version;
        ck_assert(!slice_eq_cstr(p.preferences[i].text, "en"));
    }
    ck_assert_uint_eq(versions, 1u << 1 | 1u << 3 | 1u << 4);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.n_preferences, 3);
    ck_assert_uint_eq(c.n_history, 4);
}
END_TEST

START_TEST(the_zone_before_is_kept_with_its_time)
{
    put_contact("ann", (const char *[]){"a@example.com"}, 1, 0);
    put_language("de", AUTHORITY_CONTACT, "", 1, "Europe/Berlin");
    put_language("en", AUTHORITY_CONTACT, "", 2, "");
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert(slice_eq_cstr(p.previous_zone_name, "Europe/Berlin"));
    ck_assert_int_eq(p.zone_changed_at_ms, NOW + 7);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert(slice_eq_cstr(c.previous_zone, "Europe/Berlin"));
    ck_assert_int_eq(c.zone_changed_at_ms, NOW + 7);
}
END_TEST

START_TEST(a_consent_for_the_night_stands_beside_the_day_s)
{
    put_contact("ann", (const char *[]){"+15550100001"}, 1, 0);
    struct store_consent_add add;
    struct consent c = {.channel = CHANNEL_SMS, .at_ms = NOW, .basis = SLICE("purchase")};
    add_consent(c, false, &add);
    c.night = true;
    c.basis = SLICE("form");
    add_consent(c, false, &add);
    c.state = CONSENT_REVOKED;
    add_consent(c, false, &add);
    struct profile p;
    get_profile("+15550100001", &p);
    ck_assert_uint_eq(p.n_consents, 2);
    ck_assert(p.consents[0].night);
    ck_assert_int_eq(p.consents[0].state, CONSENT_REVOKED);
    ck_assert(slice_eq_cstr(p.consents[0].basis, "form"));
    ck_assert(!p.consents[1].night);
    ck_assert_int_eq(p.consents[1].state, CONSENT_GRANTED);
    ck_assert(slice_eq_cstr(p.consents[1].basis, "purchase"));
}
END_TEST

START_TEST(the_latest_consent_is_in_force)
{
    put_contact("ann", (const char *[]){"a@example.com", "+15550100001"}, 2, 0);
    struct store_consent_add add;
    struct consent sms = {.channel = CHANNEL_SMS, .category = SLICE("newsletter"), .at_ms = NOW};
    add_consent(sms, false, &add);
    ck_assert_uint_eq(add.n_touched, 2);
    sms.state = CONSENT_REVOKED;
    add_consent(sms, false, &add);
    sms.state = CONSENT_PENDING;
    add_consent(sms, false, &add);
    struct consent any = {.any_channel = true, .state = CONSENT_PENDING, .at_ms = NOW, .expires_at_ms = NOW + HOUR};
    add_consent(any, false, &add);
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert_uint_eq(p.n_consents, 2);
    ck_assert_int_eq(p.consents[0].state, CONSENT_REVOKED); /* a pending one does not stand over it */
    ck_assert_int_eq(p.consents[0].channel, CHANNEL_SMS);
    ck_assert_int_eq(p.consents[1].state, CONSENT_PENDING);
    ck_assert(p.consents[1].any_channel);
    ck_assert_int_eq(p.consents[1].expires_at_ms, NOW + HOUR);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.n_consents, 4);
    ck_assert_int_eq(c.consents[3].state, CONSENT_GRANTED);
    ck_assert_uint_eq(c.version, 5);
    add.expected_version = 4; /* decided over what has changed since */
    ck_assert_int_eq(ASK(&add, CONSENT_ADD), ERR_CONFLICT);
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.n_consents, 4);
    add.expected_version = 5;
    ASK_OK(&add, CONSENT_ADD);
    add.expected_version = 4; /* of a reading that is out of date */
    ck_assert_int_eq(ASK(&add, CONSENT_ADD), ERR_CONFLICT);
    add.expected_version = 0;
    add.contact_id = SLICE("nobody");
    ck_assert_int_eq(ASK(&add, CONSENT_ADD), ERR_NOT_FOUND);
    assert_chain_holds();
}
END_TEST

/* --- opt-outs ---------------------------------------------------------------------------------- */

START_TEST(an_opt_out_of_an_unknown_address_folds)
{
    struct profile p;
    get_profile("ann@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 0);
    ck_assert_uint_eq(p.version, 0);
    struct store_opt_out_add add = opt_out("Ann+news@example.com", everything);
    ck_assert_uint_eq(add.contact_id.n, 0);
    ck_assert_uint_eq(add.n_touched, 1);
    get_profile("ANN@example.com", &p);
    ck_assert_int_eq(p.known, UNKNOWN);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    ck_assert_int_eq(p.opt_outs[0].scope, SCOPE_GLOBAL);
    ck_assert_int_eq(p.opted_out_at_ms, NOW);
    ck_assert_uint_gt(p.version, 0);
    struct store_opt_out_add again = opt_out("ann@example.com", everything);
    ck_assert_uint_eq(again.opt_out_id, add.opt_out_id);
    ck_assert_uint_eq(verify().rows, 1);
    /* A contact that gets the address later inherits it, for its other addresses too. */
    put_contact("ann", (const char *[]){"ann@example.com", "+15550100001"}, 2, 0);
    uint64_t version = p.version;
    get_profile("+15550100001", &p);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    ck_assert_uint_gt(p.version, version);
}
END_TEST

START_TEST(an_opt_out_binds_the_contact)
{
    put_contact("ann", (const char *[]){"a@example.com", "b@example.com", "+15550100001"}, 3, 0);
    struct store_opt_out_add add = opt_out("a@example.com", (struct opt_out){.scope = SCOPE_CHANNEL});
    ck_assert(slice_eq_cstr(add.contact_id, "ann"));
    ck_assert_uint_eq(add.n_touched, 3);
    ck_assert_str_eq(add.touched[0].text, "a@example.com");
    struct profile p;
    get_profile("b@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    ck_assert_int_eq(p.opt_outs[0].channel, CHANNEL_EMAIL);
    /* A bounce is of one address. */
    opt_out("a@example.com", (struct opt_out){.scope = SCOPE_ADDRESS});
    get_profile("b@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    get_profile("a@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 2);
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert(!c.addresses[0].valid);
    ck_assert(c.addresses[1].valid);
    ck_assert_uint_eq(c.version, 3);
}
END_TEST

START_TEST(a_contact_shows_each_opt_out_once)
{
    put_contact("ann", (const char *[]){"a@example.com", "b@example.com"}, 2, 0);
    opt_out("a@example.com", (struct opt_out){.scope = SCOPE_CHANNEL});
    opt_out("a@example.com", (struct opt_out){.scope = SCOPE_ADDRESS});
    struct contact c;
    ck_assert_int_eq(get_contact("ann", NULL, &c), OK);
    ck_assert_uint_eq(c.n_opt_outs, 2);
}
END_TEST

START_TEST(a_consent_lifts_exactly_its_scope)
{
    put_contact("ann", (const char *[]){"a@example.com", "+15550100001"}, 2, 0);
    struct opt_out category = {.scope = SCOPE_CATEGORY, .channel = CHANNEL_EMAIL, .category = SLICE("newsletter")};
    opt_out("a@example.com", category);
    opt_out("a@example.com", everything);
    struct store_consent_add add;
    struct consent narrow = {.channel = CHANNEL_EMAIL, .category = SLICE("newsletter"), .at_ms = NOW};
    add_consent(narrow, true, &add);
    ck_assert_uint_eq(add.n_lifted, 1);
    struct profile p;
    get_profile("a@example.com", &p);
    ck_assert_uint_eq(p.n_opt_outs, 1);
    ck_assert_int_eq(p.opt_outs[0].scope, SCOPE_GLOBAL);
    ck_assert_int_eq(p.resubscribed_at_ms, NOW);
    add_consent(narrow, true, &add);
    ck_assert_uint_eq(add.n_lifted, 0);
    struct consent wide = {.any_channel = true, .at_ms = NOW};
    add_consent(wide, true, &add);
    ck_assert_uint_eq(add.n_lifted, 1);
    get_profile("+15550100001", &p);
    ck_assert_uint_eq(p.n_opt_outs, 0);
    uint64_t first = opt_out("a@example.com", everything).opt_out_id; /* may be said again */
    ck_assert_uint_gt(first, 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_contract_people");
    suite_add_tcase(s, TESTS("contacts", a_contact_is_put_and_got, versions_and_addresses_conflict,
                             touched_names_old_and_new_addresses, preferences_have_versions,
                             preferences_stand_side_by_side, the_zone_before_is_kept_with_its_time,
                             a_consent_for_the_night_stands_beside_the_day_s, the_latest_consent_is_in_force));
    suite_add_tcase(s, TESTS("opt-outs", an_opt_out_of_an_unknown_address_folds, an_opt_out_binds_the_contact,
                             a_contact_shows_each_opt_out_once, a_consent_lifts_exactly_its_scope));
    return run_suite(s);
}

/*
 * The contract of postern/store.h (see store_contract.c): messages that wait, from
 * the decision to defer to their release or their end.
 */
#include "tests/unit/store_contract.h"

static uint64_t defer(const char *to, struct category *category, int64_t release_at_ms, uint64_t *decision)
{
    struct sample s;
    sample_init(&s, to, category, OUTCOME_DEFER);
    sample_defer(&s, release_at_ms);
    ASK_OK(&s.record, RECORD);
    if (decision != NULL)
        *decision = s.row.id;
    struct store_deferred_list list = {.arena = &arena, .kept_id = SLICE("SM0123"), .max = 1000};
    ASK_OK(&list, DEFERRED_LIST);
    return list.rows[list.n - 1].id;
}

static struct deferred get_deferred(uint64_t id)
{
    struct store_deferred_list list = {.arena = &arena, .id = id, .max = 1, .with_submission = true};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 1);
    return list.rows[0];
}

static struct store_deferred_claim claim_of(const char *dialect, int64_t now_ms, size_t max)
{
    struct store_deferred_claim c = {
        .arena = &arena, .dialect = slice_of(dialect), .now_ms = now_ms, .lease_until_ms = now_ms + 60000, .max = max};
    ASK_OK(&c, DEFERRED_CLAIM);
    return c;
}

static struct store_deferred_claim claim(int64_t now_ms, size_t max)
{
    return claim_of("sendgrid", now_ms, max);
}

START_TEST(a_deferred_message_is_kept_whole)
{
    uint64_t decision;
    uint64_t id = defer("a@example.com", &newsletter, NOW + HOUR, &decision);
    harness_reopen();
    struct deferred d = get_deferred(id);
    ck_assert_uint_eq(d.decision, decision);
    ck_assert_int_eq(d.kind, DEFERRED_TIMED);
    ck_assert_int_eq(d.state, DEFERRED_WAITING);
    ck_assert_str_eq(d.to.text, "a@example.com");
    ck_assert_int_eq(d.class, CLASS_MARKETING);
    ck_assert_int_eq(d.reason, REASON_QUIET_HOURS);
    ck_assert(slice_eq_cstr(d.local_rule, "fri 08:00 America/New_York"));
    ck_assert_int_eq(d.release_at_ms, NOW + HOUR);
    ck_assert_int_eq(d.expires_at_ms, 0);
    ck_assert(slice_eq_cstr(d.submission.path, "/v3/mail/send"));
    ck_assert(slice_eq(d.submission.body, (struct slice){"{\"a\":\0\"b\"}", 10}));
    ck_assert_uint_eq(d.submission.n_fields, 2);
    ck_assert(slice_eq_cstr(d.submission.fields[0].value, "application/json"));
    ck_assert(slice_eq_cstr(d.submission.fields[1].name, "X-Empty"));
    struct store_queue_depth depth = store_queue_depth(store);
    ck_assert_uint_eq(depth.n[DEFERRED_WAITING], 1);
    ck_assert_int_eq(depth.oldest_enqueued_ms, NOW);
    ASSERT_HAS(decision_json(decision), "\"status\":\"deferred\"");
    ASSERT_HAS(decision_json(decision), "\"release_at\":\"2027-01-15T09:00:00Z\"");
}
END_TEST

START_TEST(claims_take_what_is_due_in_release_order)
{
    uint64_t late = defer("a@example.com", &newsletter, NOW + 2 * HOUR, NULL);
    uint64_t low = defer("b@example.com", &newsletter, NOW, NULL);
    uint64_t high = defer("c@example.com", &invoice, NOW + 10, NULL);
    struct store_deferred_claim c = claim(NOW - 1, 10);
    ck_assert_uint_eq(c.n, 0);
    ck_assert_int_eq(c.next_due_ms, NOW);
    c = claim(NOW + HOUR, 1);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_uint_eq(c.rows[0].id, high);
    ck_assert_int_eq(c.rows[0].state, DEFERRED_LEASED);
    ck_assert_uint_eq(c.rows[0].fence, 1);
    ck_assert_uint_eq(c.rows[0].submission.body.n, 10);
    ck_assert_int_eq(c.next_due_ms, NOW + HOUR); /* one is due already */
    c = claim(NOW + HOUR, 10);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_uint_eq(c.rows[0].id, low);
    ck_assert_int_eq(c.next_due_ms, NOW + HOUR + 60000); /* when the leases run out */
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_LEASED], 2);
    c = claim(NOW + 2 * HOUR, 10); /* they ran out */
    ck_assert_uint_eq(c.n, 3);
    ck_assert_uint_eq(c.rows[0].id, high);
    ck_assert_uint_eq(c.rows[0].fence, 2);
    ck_assert_uint_eq(c.rows[1].id, late); /* deferred as early as the other, and before it */
    ck_assert_uint_eq(c.rows[2].id, low);
    harness_reopen(); /* leases of nobody */
    c = claim(NOW + 2 * HOUR, 10);
    ck_assert_uint_eq(c.n, 3);
    ck_assert_uint_ge(c.rows[0].fence, 4);
}
END_TEST

START_TEST(dialects_are_claimed_apart)
{
    struct sample s;
    defer("a@example.com", &newsletter, NOW, NULL);
    sample_init(&s, "b@example.com", &newsletter, OUTCOME_DEFER);
    sample_defer(&s, NOW + HOUR);
    s.submission.dialect = SLICE("smtp");
    ASK_OK(&s.record, RECORD);
    ck_assert_uint_eq(claim(NOW + HOUR, 5).n, 1);
    struct store_deferred_claim c = claim_of("smtp", NOW, 5);
    ck_assert_uint_eq(c.n, 0);
    ck_assert_int_eq(c.next_due_ms, NOW + HOUR);
    c = claim_of("smtp", NOW + HOUR, 5);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_str_eq(c.rows[0].to.text, "b@example.com");
}
END_TEST

START_TEST(a_spread_delays_the_claim_alone)
{
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_DEFER);
    sample_defer(&s, NOW);
    s.deferred.spread_ms = 5000;
    ASK_OK(&s.record, RECORD);
    struct store_deferred_claim c = claim(NOW, 1);
    ck_assert_uint_eq(c.n, 0);
    ck_assert_int_eq(c.next_due_ms, NOW + 5000);
    c = claim(NOW + 5000, 1);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_int_eq(c.rows[0].release_at_ms, NOW);
}
END_TEST

/* The release of a claimed row: decided again, with the outcome and what becomes of the row. */
static enum err settle(const struct deferred *d, struct sample *s, enum outcome outcome, enum deferred_state state)
{
    sample_init(s, d->to.text, &newsletter, outcome);
    s->row.parent = d->decision;
    s->record.settles = d->id;
    s->record.fence = d->fence;
    s->record.settle_state = state;
    return ASK(&s->record, RECORD);
}

START_TEST(a_release_is_forwarded)
{
    uint64_t first;
    uint64_t id = defer("a@example.com", &newsletter, NOW, &first);
    struct deferred d = claim(NOW, 1).rows[0];
    struct sample s;
    ck_assert_int_eq(settle(&d, &s, OUTCOME_FORWARD, DEFERRED_LEASED), OK);
    ck_assert_uint_eq(claim(NOW + HOUR, 1).n, 0); /* its intent holds the lease, however long */
    ck_assert_uint_eq(get_deferred(id).provider_id.n, 0);
    struct record_result x = {.decision = s.row.id, .result = RESULT_FORWARDED, .provider_id = SLICE("SM\"9")};
    struct store_result r = {
        .now_ms = NOW, .results = &x, .n = 1, .settles = id, .fence = d.fence, .settle_state = DEFERRED_RELEASED};
    ASK_OK(&r, RESULT);
    d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_RELEASED);
    ck_assert(slice_eq_cstr(d.provider_id, "SM\"9"));
    ck_assert_uint_eq(d.submission.body.n, 0); /* gone with the last message that needed it */
    ck_assert_uint_eq(d.decision, s.row.id);
    ASSERT_HAS(decision_json(s.row.id), "\"status\":\"forwarded\"");
    ck_assert_int_eq(ASK(&r, RESULT), ERR_CONFLICT);
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_LEASED], 0);
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_RELEASED], 1);
    assert_chain_holds();
}
END_TEST

START_TEST(a_release_that_ends_says_why)
{
    static const struct {
        enum result result;
        enum reason reason;
        const char *says;
    } rows[] = {{RESULT_REFUSED, REASON_OPTED_OUT, "opted_out"},
                {RESULT_NOT_SENT, REASON_EXPIRED, "expired"},
                {RESULT_UNKNOWN, REASON_NONE, "unknown"}};
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        uint64_t id = defer("a@example.com", &newsletter, NOW, NULL);
        struct deferred d = claim(NOW, 1).rows[0];
        struct sample s;
        ck_assert_int_eq(settle(&d, &s, OUTCOME_FORWARD, DEFERRED_LEASED), OK);
        struct record_result x = {.decision = s.row.id, .result = rows[i].result};
        struct store_result r = {.now_ms = NOW,
                                 .results = &x,
                                 .n = 1,
                                 .settles = id,
                                 .fence = d.fence,
                                 .settle_state = DEFERRED_ENDED,
                                 .settle_reason = rows[i].reason};
        ASK_OK(&r, RESULT);
        ck_assert(slice_eq_cstr(get_deferred(id).end_reason, rows[i].says));
    }
}
END_TEST

START_TEST(an_old_fence_is_refused)
{
    defer("a@example.com", &newsletter, NOW, NULL);
    struct deferred d = claim(NOW, 1).rows[0];
    struct deferred taken_over = claim(NOW + HOUR, 1).rows[0];
    uint64_t rows = verify().rows;
    struct sample s;
    ck_assert_int_eq(settle(&d, &s, OUTCOME_FORWARD, DEFERRED_LEASED), ERR_CONFLICT);
    ck_assert_uint_eq(verify().rows, rows);
    ck_assert_int_eq(settle(&taken_over, &s, OUTCOME_FORWARD, DEFERRED_LEASED), OK);
}
END_TEST

START_TEST(a_release_may_defer_again)
{
    uint64_t id = defer("a@example.com", &newsletter, NOW, NULL);
    struct deferred d = claim(NOW, 1).rows[0];
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_DEFER);
    sample_defer(&s, NOW + 3 * HOUR);
    s.deferred.deferrals = 2;
    s.deferred.reason = REASON_CAP_ORGANISATION;
    s.row.parent = d.decision;
    s.record.settles = id;
    s.record.fence = d.fence;
    s.record.settle_state = DEFERRED_WAITING;
    ASK_OK(&s.record, RECORD);
    d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_WAITING);
    ck_assert_int_eq(d.release_at_ms, NOW + 3 * HOUR);
    ck_assert_uint_eq(d.deferrals, 2);
    ck_assert_int_eq(d.reason, REASON_CAP_ORGANISATION);
    ck_assert_uint_eq(d.decision, s.row.id);
    ck_assert_uint_eq(d.submission.body.n, 10);
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_WAITING], 1); /* no second row */
    ck_assert_uint_eq(claim(NOW + HOUR, 1).n, 0);
}
END_TEST

START_TEST(a_release_may_end_or_try_later)
{
    uint64_t id = defer("a@example.com", &newsletter, NOW, NULL);
    struct deferred d = claim(NOW, 1).rows[0];
    struct sample s;
    ck_assert_int_eq(settle(&d, &s, OUTCOME_FORWARD, DEFERRED_LEASED), OK);
    struct record_result x = {.decision = s.row.id, .result = RESULT_DEFERRED};
    struct store_result r = {.now_ms = NOW,
                             .results = &x,
                             .n = 1,
                             .settles = id,
                             .fence = d.fence,
                             .settle_state = DEFERRED_WAITING,
                             .settle_release_at_ms = NOW + HOUR};
    ASK_OK(&r, RESULT);
    d = get_deferred(id);
    ck_assert_int_eq(d.kind, DEFERRED_RETRY);
    ck_assert_int_eq(d.release_at_ms, NOW + HOUR);
    d = claim(NOW + HOUR, 1).rows[0];
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_BLOCK);
    s.decision.reason = REASON_EXPIRED;
    s.record.settles = id;
    s.record.fence = d.fence;
    s.record.settle_state = DEFERRED_ENDED;
    ASK_OK(&s.record, RECORD);
    d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_ENDED);
    ck_assert(slice_eq_cstr(d.end_reason, "expired"));
    ASSERT_HAS(decision_json(s.row.id), "\"status\":\"expired\"");
}
END_TEST

START_TEST(a_crash_during_a_release_ends_it_as_unknown)
{
    uint64_t id = defer("+15550100001", &newsletter, NOW, NULL);
    struct deferred d = claim_of("sendgrid", NOW, 1).rows[0];
    struct sample s;
    ck_assert_int_eq(settle(&d, &s, OUTCOME_FORWARD, DEFERRED_LEASED), OK);
    harness_reopen();
    d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_ENDED);
    ck_assert(slice_eq_cstr(d.end_reason, "unknown"));
    ck_assert_uint_eq(claim_of("sendgrid", NOW + HOUR, 1).n, 0);
    ASSERT_HAS(decision_json(s.row.id), "\"status\":\"unknown\"");
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_LEASED], 0);
}
END_TEST

START_TEST(a_crash_during_a_release_lets_wait_again_what_goes_at_least_once)
{
    uint64_t id = defer("a@example.com", &newsletter, NOW, NULL);
    struct deferred d = claim(NOW, 1).rows[0];
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_FORWARD);
    s.row.at_least_once = true;
    s.record.settles = id;
    s.record.fence = d.fence;
    s.record.settle_state = DEFERRED_LEASED;
    ASK_OK(&s.record, RECORD);
    harness_reopen();
    ck_assert_int_eq(get_deferred(id).state, DEFERRED_WAITING);
    ASSERT_HAS(decision_json(s.row.id), "\"status\":\"unknown\"");
    ck_assert_uint_eq(claim(NOW, 1).rows[0].id, id);
}
END_TEST

START_TEST(a_provider_that_is_down_keeps_the_message)
{
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_FORWARD);
    ASK_OK(&s.record, RECORD);
    struct sample kept;
    sample_init(&kept, "a@example.com", &newsletter, OUTCOME_FORWARD);
    sample_defer(&kept, NOW + 1000);
    kept.deferred.kind = DEFERRED_RETRY;
    struct record_result x = {.decision = s.row.id, .result = RESULT_DEFERRED, .deferred = &kept.deferred};
    struct store_result r = {.now_ms = NOW, .results = &x, .n = 1, .submission = &kept.submission};
    ASK_OK(&r, RESULT);
    ASSERT_HAS(decision_json(s.row.id), "\"status\":\"deferred\"");
    struct store_deferred_claim c = claim(NOW + 1000, 5);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_uint_eq(c.rows[0].decision, s.row.id);
    ck_assert_int_eq(c.rows[0].kind, DEFERRED_RETRY);
}
END_TEST

static enum err change(uint64_t id, enum deferred_action action, size_t *n)
{
    struct store_deferred_change c = {
        .arena = &arena, .id = id, .action = action, .actor = SLICE("admin"), .now_ms = NOW};
    enum err status = ASK(&c, DEFERRED_CHANGE);
    *n = c.n;
    return status;
}

START_TEST(people_change_deferred_rows)
{
    uint64_t decision;
    uint64_t id = defer("a@example.com", &newsletter, NOW + HOUR, &decision);
    size_t n;
    ck_assert_int_eq(change(id, DEFERRED_DO_PAUSE, &n), OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(claim(NOW + 2 * HOUR, 5).n, 0);
    ck_assert_int_eq(change(id, DEFERRED_DO_PAUSE, &n), ERR_CONFLICT);
    ck_assert_int_eq(change(id, DEFERRED_DO_RESUME, &n), OK);
    ck_assert_int_eq(change(id, DEFERRED_DO_RELEASE, &n), OK);
    ck_assert_uint_eq(claim(NOW, 5).n, 1);
    ck_assert_int_eq(change(id, DEFERRED_DO_CANCEL, &n), ERR_CONFLICT); /* on its way */
    claim(NOW + HOUR, 0);                                               /* its lease is out */
    ck_assert_int_eq(change(id, DEFERRED_DO_CANCEL, &n), OK);
    ck_assert_int_eq(change(id, DEFERRED_DO_RELEASE, &n), ERR_CONFLICT);
    ck_assert_int_eq(change(4711, DEFERRED_DO_CANCEL, &n), ERR_NOT_FOUND);
    struct deferred d = get_deferred(id);
    ck_assert_int_eq(d.state, DEFERRED_CANCELLED);
    ck_assert(slice_eq_cstr(d.end_reason, "cancelled"));
    ck_assert_uint_eq(d.submission.body.n, 0);
    ASSERT_HAS(decision_json(decision), "\"status\":\"cancelled\"");
    assert_chain_holds();
}
END_TEST

START_TEST(a_key_changes_only_its_own_rows)
{
    uint64_t id = defer("a@example.com", &newsletter, NOW + HOUR, NULL);
    struct store_deferred_change c = {.arena = &arena,
                                      .kept_id = SLICE("SM0123"),
                                      .key = SLICE("other"),
                                      .action = DEFERRED_DO_CANCEL,
                                      .now_ms = NOW};
    ck_assert_int_eq(ASK(&c, DEFERRED_CHANGE), ERR_NOT_FOUND);
    c.key = SLICE("shop");
    ASK_OK(&c, DEFERRED_CHANGE);
    ck_assert_uint_eq(c.n, 1);
    ck_assert_uint_eq(c.rows[0].id, id);
    ck_assert_int_eq(c.rows[0].state, DEFERRED_CANCELLED);
}
END_TEST

START_TEST(the_list_filters_and_pages)
{
    uint64_t ids[3];
    ids[0] = defer("a@example.com", &newsletter, NOW + HOUR, NULL);
    ids[1] = defer("A+x@example.com", &newsletter, NOW + HOUR, NULL);
    ids[2] = defer("b@example.com", &newsletter, NOW + HOUR, NULL);
    struct store_deferred_list list = {.arena = &arena, .max = 2};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 2);
    list.after_id = list.rows[1].id;
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 1);
    ck_assert_uint_eq(list.rows[0].id, ids[2]);
    list = (struct store_deferred_list){.arena = &arena, .max = 9, .address = address_of("a@example.com")};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 1);
    list = (struct store_deferred_list){.arena = &arena, .max = 9, .states = 1u << DEFERRED_CANCELLED};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 0);
    size_t n;
    ck_assert_int_eq(change(ids[1], DEFERRED_DO_CANCEL, &n), OK);
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 1);
    ck_assert_uint_eq(list.rows[0].id, ids[1]);
}
END_TEST

START_TEST(a_newer_message_takes_the_place_of_an_older)
{
    struct sample s[3];
    for (int i = 0; i < 3; i++) {
        sample_init(&s[i], "a@example.com", &newsletter, OUTCOME_DEFER);
        sample_defer(&s[i], NOW + HOUR);
        s[i].message.collapse_key = s[i].deferred.collapse_key = i == 1 ? SLICE("other") : SLICE("cart");
        s[i].record.arena = &arena;
        ASK_OK(&s[i].record, RECORD);
        ck_assert_uint_eq(s[i].record.n_superseded, i == 2);
    }
    const struct deferred *ended = &s[2].record.superseded[0];
    ck_assert_uint_eq(ended->decision, s[0].row.id);
    ck_assert_int_eq(ended->state, DEFERRED_ENDED);
    ck_assert(slice_eq_cstr(ended->kept_id, "SM0123"));
    ck_assert_uint_eq(ended->submission.body.n, 10); /* for the callback that its sender is owed */
    ck_assert_uint_eq(get_deferred(ended->id).submission.body.n, 0);
    ASSERT_HAS(decision_json(s[0].row.id), "\"status\":\"superseded\"");
    ASSERT_HAS(decision_json(s[1].row.id), "\"status\":\"deferred\"");
    ASSERT_HAS(decision_json(s[2].row.id), "\"status\":\"deferred\"");
    ck_assert_uint_eq(verify().rows, 4); /* the change has its row, too */
    ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_WAITING], 2);
}
END_TEST

/* One body for three messages: the last one takes it along. */
START_TEST(a_shared_body_goes_with_the_last_row)
{
    struct sample s;
    sample_init(&s, "a@example.com", &newsletter, OUTCOME_DEFER);
    sample_defer(&s, NOW + HOUR);
    struct record_decision rows[3];
    for (int i = 0; i < 3; i++) {
        rows[i] = s.row;
        rows[i].id = i == 0 ? s.row.id : store_decision_id(store);
    }
    s.record.decisions = rows;
    s.record.n = 3;
    ASK_OK(&s.record, RECORD);
    struct store_deferred_list list = {.arena = &arena, .max = 9};
    ASK_OK(&list, DEFERRED_LIST);
    ck_assert_uint_eq(list.n, 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(get_deferred(list.rows[2].id).submission.body.n, 10);
        size_t n;
        ck_assert_int_eq(change(list.rows[i].id, DEFERRED_DO_CANCEL, &n), OK);
    }
    ck_assert_uint_eq(get_deferred(list.rows[2].id).submission.body.n, 0);
}
END_TEST

/* Which waiting messages an opt-out empties: semantics, section 3. */
START_TEST(an_opt_out_empties_the_queue)
{
    static struct category support = {.name = "helpdesk", .class = CLASS_SUPPORT};
    struct waiting {
        const char *to;
        struct category *category;
    };
    static const struct waiting waiting[] = {{"a@example.com", &newsletter}, {"a@example.com", &invoice},
                                             {"a@example.com", &support},    {"a@example.com", &otp},
                                             {"+15550100001", &newsletter},  {"+15550100001", &invoice},
                                             {"+15550100001", &otp},         {"z@example.com", &newsletter}};
    static const struct {
        const char *address;
        struct opt_out o;
        unsigned cancelled; /* bits of waiting[] */
    } cases[] = {
        {"a@example.com", {.scope = SCOPE_GLOBAL, .any_channel = true}, 0x35},
        {"a@example.com", {.scope = SCOPE_CHANNEL, .channel = CHANNEL_SMS}, 0x30},
        {"a@example.com", {.scope = SCOPE_CHANNEL, .channel = CHANNEL_EMAIL}, 0x07},
        {"A+tag@example.com", {.scope = SCOPE_ADDRESS, .any_channel = true}, 0x0f},
        {"+15550100001", {.scope = SCOPE_DO_NOT_CONTACT, .any_channel = true}, 0x7f},
        {"a@example.com", {.scope = SCOPE_CATEGORY, .any_channel = true, .category = {"invoice", 7}}, 0x22},
        {"a@example.com", {.scope = SCOPE_CATEGORY, .channel = CHANNEL_SMS, .category = {"invoice", 7}}, 0x20},
        {"a@example.com", {.scope = SCOPE_TOPIC, .any_channel = true, .topic = {"soccer", 6}}, 0x00},
        {"y@example.com", {.scope = SCOPE_GLOBAL, .any_channel = true}, 0x00},
        {"z@example.com", {.scope = SCOPE_GLOBAL, .any_channel = true, .sender = {"+15550109999", 12}}, 0x80},
    };
    for (size_t c = 0; c < N_ELEMENTS(cases); c++) {
        put_contact("ann", (const char *[]){"a@example.com", "+15550100001"}, 2, 0);
        uint64_t ids[N_ELEMENTS(waiting)];
        for (size_t i = 0; i < N_ELEMENTS(waiting); i++)
            ids[i] = defer(waiting[i].to, waiting[i].category, NOW + HOUR, NULL);
        struct store_opt_out_add add = opt_out(cases[c].address, cases[c].o);
        size_t want_n = 0;
        for (size_t i = 0; i < N_ELEMENTS(waiting); i++) {
            bool want = (cases[c].cancelled >> i & 1) != 0;
            want_n += want;
            struct deferred d = get_deferred(ids[i]);
            ck_assert_msg((d.state == DEFERRED_CANCELLED) == want, "case %zu, message %zu", c, i);
            if (want)
                ck_assert(slice_eq_cstr(d.end_reason, "opted_out_meanwhile"));
        }
        ck_assert_uint_eq(add.n_cancelled, want_n);
        ck_assert_uint_eq(store_queue_depth(store).n[DEFERRED_CANCELLED], want_n);
        assert_chain_holds();
        harness_teardown();
        harness_setup();
    }
}
END_TEST

START_TEST(a_revoked_consent_empties_the_queue)
{
    put_contact("ann", (const char *[]){"a@example.com"}, 1, 0);
    uint64_t news = defer("a@example.com", &newsletter, NOW + HOUR, NULL);
    uint64_t bill = defer("a@example.com", &invoice, NOW + HOUR, NULL);
    struct store_consent_add add;
    struct consent c = {.channel = CHANNEL_EMAIL, .state = CONSENT_REVOKED, .at_ms = NOW};
    add_consent(c, false, &add);
    ck_assert_uint_eq(add.n_cancelled, 1);
    ck_assert_uint_eq(add.cancelled[0].id, news);
    ck_assert_int_eq(get_deferred(bill).state, DEFERRED_WAITING);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_contract_deferred");
    suite_add_tcase(s, TESTS("deferred", a_deferred_message_is_kept_whole, claims_take_what_is_due_in_release_order,
                             dialects_are_claimed_apart, a_spread_delays_the_claim_alone, a_release_is_forwarded,
                             a_release_that_ends_says_why, an_old_fence_is_refused, a_release_may_defer_again,
                             a_release_may_end_or_try_later, a_crash_during_a_release_ends_it_as_unknown,
                             a_crash_during_a_release_lets_wait_again_what_goes_at_least_once,
                             a_provider_that_is_down_keeps_the_message, people_change_deferred_rows,
                             a_key_changes_only_its_own_rows, the_list_filters_and_pages,
                             a_newer_message_takes_the_place_of_an_older, a_shared_body_goes_with_the_last_row,
                             an_opt_out_empties_the_queue, a_revoked_consent_empties_the_queue));
    return run_suite(s);
}

/*
 * The policy engine.  Pure: structs in, structs out; it reads no clock, does no
 * I/O, allocates only from an arena that it is given (and nothing at decision time).
 *
 * A normal case: submission.c fills struct facts (message, profile, now), calls
 * policy_decide; every rule of rules.def runs and may add a violation; the level
 * table says what a violation means for this class and sender; the strongest
 * outcome wins.  Outcome forward: submission.c asks policy_caps which caps match,
 * reserves a slot in all of them at the counters, and on a refusal puts the counts
 * into the facts and decides again: rule_cap_* now speak.
 * A bad case: the counters do not answer.  facts.counts_known stays UNKNOWN with
 * counters_down set; rule_counters says per class what that means.
 */
#ifndef POSTERN_POLICY_H
#define POSTERN_POLICY_H

#include "postern/arena.h"
#include "postern/decision.h"

/* --- windows ----------------------------------------------------------------- */

#define WINDOWS_PER_DAY  4
#define WINDOW_DATES_MAX 366 /* in one set: a contact who names more days than a year has is not stating hours */

/* [start_min, end_min) local minutes; end_min > 1440 when it wraps past midnight: it belongs to the day of its start.
 */
struct window {
    uint16_t start_min;
    uint16_t end_min;
};

struct day_windows {
    struct window w[WINDOWS_PER_DAY];
    uint8_t n;
};

enum window_sense { WINDOW_ALLOWED, WINDOW_QUIET };

struct date_windows {
    int32_t days; /* local date */
    struct day_windows windows;
};

struct holiday_calendar;

/* Local wall-clock windows of a week; dates beat weekdays, holidays beat weekdays too. */
struct window_set {
    enum window_sense sense;
    struct day_windows weekday[7];    /* by enum weekday */
    const struct date_windows *dates; /* ascending */
    size_t n_dates;
    const struct holiday_calendar *holidays; /* NULL: none */
    struct day_windows
        on_holidays; /* for WINDOW_ALLOWED n == 0 means closed; for WINDOW_QUIET {0,1440} means quiet all day */
};

/*
 * Read "21:00-08:00", "mon-fri 08:00-12:00,13:00-18:00; sat 09:00-13:00", "2026-12-24 08:00-12:00",
 * "none" (no windows); ',' may part days too: "mon,wed 08:00-12:00, sat 09:00-12:00".  "holidays 10:00-12:00"
 * sets on_holidays, which is closed (quiet: all day) when the text does not.  Start equal to end is refused,
 * as are unknown days, a day given twice, overlapping windows, more than WINDOWS_PER_DAY.  Dates come from
 * the arena; a == NULL refuses them.  On an error out is in no useful state.
 */
enum err window_parse(struct slice text, enum window_sense sense, struct arena *a, struct window_set *out,
                      struct errmsg *e) NODISCARD;
bool window_set_is_empty(const struct window_set *s); /* states no window at all */

/*
 * The first instant >= at_ms that s allows in zone z, and in *until_ms the end of that
 * allowed stretch (INT64_MAX: no end within 400 days).  INT64_MAX when nothing opens within 400 days.
 * DST: quiet lasts as long as possible (semantics 6).
 */
int64_t window_next(const struct window_set *s, const struct zone *z, int64_t at_ms, int64_t *until_ms);

/* Holidays by rule.  policy/holiday.c reads and computes. */
enum holiday_kind { HOLIDAY_FIXED, HOLIDAY_NTH_WEEKDAY, HOLIDAY_WEEKDAY_FROM, HOLIDAY_EASTER, HOLIDAY_DATE };
enum holiday_shift {
    SHIFT_NONE,
    SHIFT_OBSERVED_US,   /* sat -> fri, sun -> mon */
    SHIFT_NEXT_MONDAY,   /* sat, sun -> mon */
    SHIFT_SUNDAY_MONDAY, /* sun -> mon */
};
struct holiday {
    enum holiday_kind kind;
    enum holiday_shift shift;
    int32_t year;  /* HOLIDAY_DATE only */
    int32_t month; /* fixed, nth, from, date */
    int32_t day;   /* fixed, from, date: day of month; easter: days after Easter Sunday (may be < 0) */
    int32_t nth;   /* nth weekday: 1..5, -1 = last */
    enum weekday weekday;
};
struct holiday_calendar {
    const char *name;
    const struct holiday *rules;
    size_t n;
};
bool holiday_is(const struct holiday_calendar *c, int32_t days);
/* "12-25", "12-25 observed", "1st mon 09", "last mon 05", "mon from 05-18", "easter-2", "easter+1", "2026-06-19" */
enum err holiday_parse(struct slice text, struct holiday *out, struct errmsg *e) NODISCARD;

/* --- categories, caps, the compiled policy ----------------------------------- */

enum consent_need { CONSENT_NONE, CONSENT_OPT_OUT, CONSENT_OPT_IN };

/* What a category's sends mean to caps. */
enum cap_counting { COUNTS_NOWHERE, COUNTS_IN_ANY, COUNTS_EVERYWHERE };

struct category {
    const char *name;
    uint32_t id; /* slice_id of its name: the same over reloads and nodes */
    enum message_class class;
    enum consent_need
        consent; /* e-mail and sms alike, but see rule_consent: unknown contact + marketing sms always blocks */
    bool obeys_cap;
    bool asks_consent; /* its messages ask for consent: the law may say how soon after a refusal */
    enum cap_counting counts;
    int64_t expiry_s; /* default by class; 0 = never waits */
    int64_t dedupe_s; /* content dedupe window; default 600 */
};

/*
 * What every rule of a rule pack has: whom it binds, and when.  It binds a message of those classes and channels
 * when one of the regions where the recipient may be is among its own, and while the recipient's local date is in
 * [from_days, to_days).
 */
struct law {
    const char *pack; /* "us-fl" */
    const char *name; /* "us-fl/hours": for decisions, metrics, the log */
    uint32_t classes; /* bit sets, never 0: whoever compiles a pack says which */
    uint32_t channels;
    const struct region *regions;
    size_t n_regions;  /* 0 = everywhere */
    int32_t from_days; /* INT32_MIN = since ever */
    int32_t to_days;   /* INT32_MAX = no end known */
};

enum cap_kind { CAP_CALENDAR, CAP_ROLLING };
enum cap_period { PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH };
enum cap_origin { CAP_OF_REGULATION, CAP_OF_ORGANISATION, CAP_OF_CUSTOMER };

struct cap {
    const char *name;
    enum cap_origin origin;
    enum cap_kind kind;
    enum cap_period period;          /* calendar */
    int64_t rolling_s;               /* rolling */
    int32_t limit;                   /* 0 = none may be sent; caps that are null do not exist */
    uint32_t classes;                /* bit set by enum message_class; 0 = any: counts COUNTS_IN_ANY too */
    uint32_t channels;               /* bit set; 0 = any */
    const struct category *category; /* NULL = any */
    bool per_subject;                /* counts sends of the same subject only: message_subject_id */
    bool per_category;               /* counts sends of the message's own category only */
    bool other_channels;             /* counts sends on the others of its channels: "no second channel that week" */
    const struct law *law;           /* CAP_OF_REGULATION: whom it binds; classes and channels say what it counts */
    int64_t min_gap_s;               /* 0 = none */
    bool reserves;
    enum message_class reserve_class; /* the last reserve_slots are for this class and higher ones */
    int32_t reserve_slots;
};

struct verdict {
    enum level level; /* LEVEL_NONE: the rule does not bind here */
    enum outcome outcome;
    bool shadow;
};

/* Hours that a law allows. */
struct legal_window {
    struct law law;
    bool counts_delivery; /* margin 10 min instead of 120 s */
    struct window_set set;
};

/* A stretch of time as laws write it: one of the three. */
struct law_span {
    int32_t months;        /* calendar months */
    int32_t days;          /* calendar days */
    int32_t business_days; /* Monday to Friday without the holidays */
    int32_t seconds;
};

/* The consent that a law asks for. */
struct legal_consent {
    struct law law;
    enum consent_need need;     /* CONSENT_NONE: asks for nothing of itself */
    const char *const *accepts; /* given on one of these bases only */
    size_t n_accepts;           /* 0 = any */
    struct law_span expires;    /* after it was given; zero = never */
    const char *const *basis;   /* expires so when given on one of these */
    size_t n_basis;             /* 0 = any */
    struct window_set night;    /* WINDOW_QUIET: within it a consent for the night is needed too; empty = none */
};

/* Words of a reply that mean something in law.  For who reads replies; no rule asks them. */
enum keyword_meaning { KEYWORD_STOP, KEYWORD_START, KEYWORD_HELP };
struct legal_keywords {
    struct law law;
    enum keyword_meaning means;
    const char *const *words;
    size_t n_words;
};

/* What a law says of refusals.  Ours are in force at once: the deadline is for people to know. */
struct legal_opt_out {
    struct law law;
    struct law_span within;                  /* to be honoured by then; zero = not said */
    const struct holiday_calendar *holidays; /* of its business days; NULL = none */
    struct law_span reask_after;             /* consent may be asked for again so long after; zero = not said */
    struct law_span confirmation_within;     /* one confirmation is free of all rules so long; zero = not said */
};

/*
 * What the law's hours were found to be, kept from one message to the next: an opening that was asked for at one
 * instant is the answer for each instant until it ends.  Changes no answer, only what it costs.  Zero bytes are an
 * empty one.  Of one thread, and of one policy and its zones: it goes with them.
 */
#define HOURS_MEMO_BUCKETS 512
#define HOURS_MEMO_ROWS    4
struct hours_memo {
    uint64_t uses;
    struct hours_memo_row {
        uint64_t key[2];
        uint64_t used; /* by the count of uses */
        int64_t asked_ms, from_ms, until_ms;
        const struct zone *zone;
        const struct law *law;
    } rows[HOURS_MEMO_BUCKETS][HOURS_MEMO_ROWS];
};
struct policy;
void policy_forget(const struct policy *p); /* zones changed: what was found by them is void */

struct policy {
    uint32_t version; /* first 32 bits of the digest of what was configured */
    const struct category *categories;
    size_t n_categories;
    const struct cap *caps;
    size_t n_caps;
    const struct legal_window *legal; /* of rule packs: hours, consents, refusals; their caps are among caps */
    size_t n_legal;
    const struct legal_consent *legal_consents;
    size_t n_legal_consents;
    const struct legal_opt_out *legal_opt_outs;
    size_t n_legal_opt_outs;
    const struct legal_keywords *legal_keywords;
    size_t n_legal_keywords;
    struct hours_memo *hours_memo; /* or NULL */
    struct region default_region;  /* of e-mail recipients of whom nothing is known; "" = unknown */
    struct window_set organisation_hours[CLASS_N][CHANNEL_N]; /* sense quiet or allowed; empty = none */
    const struct zone *default_zone;
    int64_t margin_s;           /* default 120 */
    int64_t delivery_margin_s;  /* default 600 */
    int64_t customer_min_gap_s; /* default 3600 */
    int64_t cooling_off_s;      /* default 86400 */
    int32_t digest_minute;      /* default 540: 09:00 */
    bool shadow;                /* the whole policy runs in shadow */
    bool carrier_enforces_stop; /* then a STOP binds otp and safety too */
    struct verdict verdicts[RULE_N][CLASS_N][SENDER_N];
    const struct preference *defaults; /* the organisation's default preferences (AUTHORITY_ORGANISATION) */
    size_t n_defaults;
};

/* Fill the defaults that semantics fixes: the level table, margins, gaps.  Zero bytes elsewhere. */
void policy_init(struct policy *p);
/* The defaults of a category of that class: consent, flags, expiry, dedupe. */
void category_init(struct category *c, enum message_class class);
/*
 * Refuse what cannot work: for a class and channel, organisation's and legal hours that
 * leave no instant of a week (in the default zone); names both.
 */
enum err policy_check(const struct policy *p, struct errmsg *e) NODISCARD;

/* --- preferences in force ------------------------------------------------------ */

/* What merge_preferences makes of a profile's stated values for one message. */
struct preferences {
    enum known has_primary;
    enum channel primary;
    enum known has_fallback;
    enum channel fallback;
    uint32_t never;          /* channels, bit set */
    struct window_set hours; /* WINDOW_ALLOWED; empty = not stated; days.never taken out */
    enum known hours_known;
    int32_t max_per[3];            /* by enum cap_period; -1 = no cap */
    enum specificity max_scope[3]; /* what that cap was stated for, and so what it counts */
    enum { DIGEST_NONE, DIGEST_DAILY, DIGEST_WEEKLY } digest;
    struct slice language, format, formality, technical_depth;
    enum { NOTIFY_ALL, NOTIFY_SUMMARY, NOTIFY_ACTION } notify;
    enum { URGENCY_NONE, URGENCY_P0, URGENCY_P1 } urgency_override;
    uint32_t flagged; /* by enum preference_key: equal confidence, different values; the restrictive one is in force */
};

/*
 * Authority, then specificity (topic > category > channel > any), then the most recent; help desk
 * beats crm on equal rank and time; equal rank, time and confidence with different values: the
 * restrictive one, flagged.  A null takes back what its own authority said before for that scope.  Values that do not
 * apply to the message's channel, category or topic are passed over.
 */
void merge_preferences(const struct preference *values, size_t n, const struct message *m, struct preferences *out);
/*
 * Of the values stated for exactly of's key and scope the one in force; a null when all are taken back, NULL when
 * none is stated.  flagged (may be NULL): another of equal claim says otherwise.
 */
const struct preference *merge_standing(const struct preference *values, size_t n, const struct preference *of,
                                        bool *flagged);

/* May this change be applied?  (semantics 3 and 4: who may lift, import only restricts, detected never over explicit.)
 */
enum change_verdict { CHANGE_APPLY, CHANGE_PENDING, CHANGE_REFUSE };
/* before: what the same authority and system said for that key and scope; for an import what a person said; or NULL. */
enum change_verdict change_preference(const struct preference *before, const struct preference *after,
                                      struct errmsg *e);
/*
 * A consent of `state` by `source` at now_ms, over what the profile holds.  Granting over a revocation or an
 * opt-out: customer after the cooling-off (inside it: pending, which never activates by itself), agent only
 * with evidence, import and sync never.  Revoking: always.
 */
struct consent_change {
    bool any_channel;
    enum channel channel;
    struct slice category;
    enum consent_state state;
    enum source source;
    bool night; /* for the night alone */
    bool has_evidence;
    bool banner_acknowledged; /* an agent has seen the opt-out banner */
};
enum change_verdict change_consent(const struct profile *p, const struct consent_change *c, int64_t now_ms,
                                   int64_t cooling_off_s, struct errmsg *e);

/* --- facts and the decision ---------------------------------------------------- */

#define CAP_CHECKS_MAX 32

/*
 * One cap made concrete for one message and instant: what a counter needs to know.
 * A counted send matches when at_ms >= since_ms, its class bit is in classes (classes == 0: any class and
 * its counting is at least COUNTS_IN_ANY; else COUNTS_EVERYWHERE), its channel bit is in channels (0: any)
 * its category is category_id (UINT32_MAX: any) and its subject subject_id (UINT32_MAX: any).
 */
struct cap_check {
    const struct cap *cap; /* of the policy, or one of facts.customer_caps */
    int64_t since_ms;      /* window start, inclusive */
    int64_t next_ms;       /* calendar: when the window ends (a slot is free then); rolling: 0 */
    int32_t limit;         /* reserve taken off */
    uint32_t classes, channels, category_id, subject_id;
    int64_t gap_ms; /* min gap to the latest send of category gap_category_id; 0 = none */
    uint32_t gap_category_id;
};

/* What the counters hold for one check. */
struct cap_count {
    int32_t count;
    int64_t
        oldest_ms; /* the oldest of the `limit` latest matching sends: a rolling slot frees at oldest_ms + rolling */
    int64_t latest_ms; /* the latest send of gap_category_id; 0 = none */
};

struct facts {
    const struct policy *policy;
    const struct message *message;
    const struct profile *profile; /* never NULL */
    int64_t now_ms;
    uint32_t deferrals;      /* how often this message was deferred before */
    enum known counts_known; /* KNOWN: checks[] and counts[] below are filled (by policy_caps and the counters) */
    bool counters_down;      /* asked and not answered */
    bool profile_stale;      /* consent data older than its lease */
    size_t n_checks;
    /* Written before they are read; see facts_clear. */
    struct cap_check checks[CAP_CHECKS_MAX];
    struct cap_count counts[CAP_CHECKS_MAX];
    struct cap customer_caps[3];    /* filled by policy_caps */
    struct preferences preferences; /* filled by policy_prepare */
};

/* Facts about nothing yet.  The arrays, most of it, are left as they are. */
static inline void facts_clear(struct facts *f)
{
    memset(f, 0, offsetof(struct facts, checks));
}

/* Merge the preferences; call once when policy, message, profile and now_ms are set.  Nothing else fills the rest. */
void policy_prepare(struct facts *f);

/* For those who ask why: the value of each key that is in force for this message (or NULL), and which are flagged. */
void policy_preferences(const struct facts *f, const struct preference *in_force[PREFERENCE_N], uint32_t *flagged);

/* One set of hours that this message has to keep; open in every candidate zone in [opens_ms, closes_ms). */
struct hours_in_force {
    const char *of;        /* "legal", "organisation", "contact" */
    const struct law *law; /* or NULL */
    const struct window_set *set;
    int64_t opens_ms;  /* at or after now; INT64_MAX: never */
    int64_t closes_ms; /* margin taken off; INT64_MAX: no end in sight */
};
/* Those that bind, the law's first; how many.  A reply's exemption and urgency are not taken into account. */
size_t policy_hours(const struct facts *f, struct hours_in_force *out, size_t max);

/* One rule of a pack that speaks to this message, wherever the message stands. */
enum law_kind { LAW_HOURS, LAW_CAP, LAW_CONSENT, LAW_OPT_OUT, LAW_KEYWORDS };
struct law_in_force {
    const struct law *law;
    enum law_kind kind;
};
/* Those that bind this message now; how many. */
size_t policy_laws(const struct facts *f, struct law_in_force *out, size_t max);

/* By when a law wants a refusal honoured, however soon we do: the last local date on which it may still be open. */
struct law_deadline {
    const struct law *law;
    int32_t days; /* local date, days since 1970-01-01 */
};
/*
 * For a refusal at at_ms by whoever the profile says: one row a law that names a deadline, the earliest first; how
 * many. channels: those refused, bit set (0 = all).
 */
size_t policy_deadlines(const struct policy *p, const struct profile *who, uint32_t channels, int64_t at_ms,
                        struct law_deadline *out, size_t max);
/* The last day of a span that begins the day after from_days (both local dates; seconds are rounded up to days). */
int32_t law_span_end(const struct law_span *s, const struct holiday_calendar *holidays, int32_t from_days);

/* What a send is about, for caps "per subject": its topic, else its category. */
uint32_t message_subject_id(const struct message *m);

/* Which caps match this message now: fills f->checks, f->n_checks (counts are the caller's to fill). */
void policy_caps(struct facts *f);

/*
 * Decide what happens to one message.
 *
 * Pure: reads only its arguments, allocates nothing, keeps nothing but answers in the policy's hours_memo.  Always
 * fills *out and cannot fail: an unknown fact is a value, and each rule says what unknown means for it.
 */
void policy_decide(const struct facts *f, struct decision *out);

/*
 * The prompt of a soft block, one ASCII line of at most 200 bytes: "Daily cap of 3 support messages
 * reached. Send anyway? Give a justification."  Returns out.
 */
#define PROMPT_MAX 201
char *policy_prompt(const struct decision *d, const struct message *m, char out[PROMPT_MAX]);

#endif

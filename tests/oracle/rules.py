"""
The rules of docs/POLICY.md, read a second time.  decide(case) says what is to be expected of one case; slow and plain,
rule after rule in the order of the page.  Nothing here is taken from the engine.

A case is the namespace that draw.py fills.  Times are milliseconds UTC.
"""
from datetime import date

from hours import ALL_WEEK, CLOSED, DAY, EPOCH, HORIZON, HOUR, MINUTE, NEVER, SECOND, Hours, Rule, law_dates, next_common, weekday

CLASSES = ("otp", "safety", "transactional", "support", "collections", "marketing")
CHANNELS = ("email", "sms", "voice", "chat", "in_app", "push", "post", "social")
AUTHORITIES = ("contact", "locked", "agent", "behaviour", "account", "organisation")
SPECIFICITIES = ("any", "channel", "category", "topic")
OUTCOMES = ("forward", "redirect", "defer", "digest", "soft_block", "hold", "block")
STRENGTH = {name: i for i, name in enumerate(OUTCOMES)}
KEYS = (
    "channel.primary channel.fallback channel.never hours days.never frequency.max_per_day frequency.max_per_week "
    "frequency.max_per_month digest language format formality technical_depth notify urgency_override"
).split()
URGENT = ("P0", "P1")
NEEDS = {"none": 0, "opt_out": 1, "opt_in": 2}

# Section 3, the table: otp, safety, transactional, support, collections, marketing; severity; family of the code.
TABLE = """
do_not_contact     BLOCK BLOCK BLOCK    BLOCK       BLOCK BLOCK       critical OPTOUT
address            BLOCK BLOCK BLOCK    BLOCK       BLOCK BLOCK       critical OPTOUT
opt_out_global     note  note  BLOCK    BLOCK       BLOCK BLOCK       critical OPTOUT
opt_out_channel    note  note  BLOCK    BLOCK       BLOCK BLOCK       critical OPTOUT
opt_out_category   note  note  BLOCK    BLOCK       BLOCK BLOCK       critical OPTOUT
opt_out_topic      note  note  BLOCK    BLOCK       BLOCK BLOCK       critical OPTOUT
consent            BLOCK BLOCK BLOCK    BLOCK       BLOCK BLOCK       high     NOCONSENT
cooling_off        note  note  note     BLOCK       BLOCK BLOCK       high     NOCONSENT
reask              BLOCK BLOCK BLOCK    BLOCK       BLOCK BLOCK       high     NOCONSENT
channel_never      note  note  BLOCK    BLOCK       BLOCK BLOCK       high     CHANNEL
channel_other      note  note  ask      ask         ask   ask         medium   CHANNEL
schedule           wait  wait  wait     wait        wait  wait        low      SCHEDULE
hours_legal        WAIT  WAIT  WAIT     WAIT        WAIT  WAIT        high     QUIET
night_consent      WAIT  WAIT  WAIT     WAIT        WAIT  WAIT        high     NOCONSENT
hours_organisation note  note  wait/ask wait/ask    WAIT  WAIT        medium   QUIET
hours_contact      note  note  wait/ask wait/ask    WAIT  WAIT        medium   QUIET
cap_regulatory     note  note  WAIT     WAIT        BLOCK BLOCK       high     FREQUENCY
cap_organisation   note  note  wait/ask wait/ask    BLOCK BLOCK       medium   FREQUENCY
cap_customer       note  note  wait/ask wait/ask    BLOCK BLOCK       medium   FREQUENCY
min_gap            note  note  wait/ask wait/ask    BLOCK BLOCK       medium   FREQUENCY
digest             -     -     -        digest/note -     digest/note low      DIGEST
notify             -     -     note     note        note  note        low      DIGEST
duplicate          note  note  note     note        note  note        low      DUPLICATE
card_number        note  note  note     note        note  note        high     CONTENT
language           note  note  note     note        note  note        low      LANGUAGE
format             note  note  note     note        note  note        low      FORMAT
formality          note  note  note     note        note  note        low      FORMAT
technical_depth    note  note  note     note        note  note        low      FORMAT
counters           note  note  note     wait        WAIT  WAIT        medium   DEGRADED
freshness          note  note  note     wait        WAIT  WAIT        high     DEGRADED
"""
CELLS = {
    "-": ("none", "forward"),
    "note": ("info", "forward"),
    "ask": ("soft", "soft_block"),
    "wait": ("soft", "defer"),
    "WAIT": ("hard", "defer"),
    "BLOCK": ("hard", "block"),
    "digest": ("soft", "digest"),
}
# What the C side calls a cell: by level and outcome; "?" is one that no table has.
CELL_NAMES = {
    ("info", "forward"): "note",
    ("soft", "redirect"): "redirect",
    ("hard", "redirect"): "redirect",
    ("soft", "defer"): "wait",
    ("hard", "defer"): "defer",
    ("soft", "digest"): "digest",
    ("soft", "soft_block"): "ask",
    ("soft", "hold"): "hold",
    ("hard", "hold"): "hold",
    ("soft", "block"): "soft-block",
    ("hard", "block"): "block",
}
RULES, VERDICTS, SEVERITY, FAMILY = [], {}, {}, {}
for row in TABLE.split("\n")[1:-1]:
    rule, *cells, severity, family = row.split()
    RULES.append(rule)
    SEVERITY[rule], FAMILY[rule] = severity, family
    for class_, cell in zip(CLASSES, cells):
        pair = cell.split("/")
        VERDICTS[rule, class_, "automated"] = CELLS[pair[0]]
        VERDICTS[rule, class_, "agent"] = CELLS[pair[-1]]
REASONS = {
    "address": "address_invalid",
    "opt_out_global": "opted_out",
    "opt_out_channel": "opted_out_channel",
    "opt_out_category": "opted_out_category",
    "opt_out_topic": "opted_out_topic",
    "schedule": "scheduled",
    "hours_legal": "legal_hours",
    "hours_organisation": "quiet_hours",
    "hours_contact": "contact_hours",
    "counters": "counters_down",
    "freshness": "stale_consent",
}
CAP_RULES = ("cap_regulatory", "cap_organisation", "cap_customer", "min_gap")
HOURS_RULES = ("hours_legal", "night_consent", "hours_organisation", "hours_contact")
TIMING = ("schedule",) + HOURS_RULES + CAP_RULES
MARGIN, DELIVERY_MARGIN = 120 * SECOND, 600 * SECOND
CONVERSATION = 15 * MINUTE
RETRY = 5 * MINUTE
COOLING_OFF = 24 * HOUR
DIGEST_AT = 9 * HOUR
GAP = 3600 * SECOND


class Violation:
    __slots__ = ("rule", "reason", "level", "outcome", "shadow", "passes", "due")

    def __init__(self, rule, reason, level, outcome, shadow, passes):
        self.rule, self.reason, self.level, self.outcome = rule, reason, level, outcome
        self.shadow, self.passes = shadow, passes
        self.due = passes  # it may go then: when it passes, or when the digest is due


# --- preferences (section 6) ---------------------------------------------------------------


def number(text):
    """A cap; None for no cap.  What cannot be read lets nothing through."""
    return int(text) if text.isdigit() else 0


def leniency(key, value):
    """Of two values of a key the one with the smaller leniency lets less through; None: neither does."""
    text = value.text
    if key.startswith("frequency."):
        return number(text) if text else NEVER
    if key == "hours":
        return value.hours.minutes() if text else NEVER
    if key == "digest":
        return {"weekly": 0, "daily": 1}.get(text, 2)
    if key == "notify":
        return {"action": 0, "summary": 1}.get(text, 2)
    if key == "urgency_override":
        return {"P1": 2, "P0": 1}.get(text, 0)
    return None


def system_rank(system):
    return {"helpdesk": 2, "crm": 0}.get(system, 1)


def in_force(case, key, values):
    """The values of a key that stand at the top (several when they tie), and whether they differ."""
    values = [v for v in values if v.applies(case)]
    if not values:
        return [], False
    claim = lambda v: (-AUTHORITIES.index(v.authority), SPECIFICITIES.index(v.scope[0]), v.at, system_rank(v.system),
                       v.confidence)
    # null takes back what the same authority said before for that scope, whatever the system; not policy.defaults
    standing = []
    for v in values:
        for n in values:
            if not n.text and n.authority == v.authority and n.scope == v.scope and n.default == v.default and claim(n) > claim(v):
                break
        else:
            standing.append(v)
    stated = [v for v in standing if v.text]
    if not stated:
        return [], False
    top = max(claim(v) for v in stated)
    ties = [v for v in standing if claim(v) == top]
    return [v for v in ties if v.text], len({v.text for v in ties}) > 1


class Wishes:
    def __init__(self, case):
        self.flagged = []
        value = {}
        by_key = {}
        for v in case.preferences:
            by_key.setdefault(v.key, []).append(v)
        for key in KEYS:
            if key not in by_key:
                continue
            ties, flagged = in_force(case, key, by_key[key])
            if flagged:
                self.flagged.append(key)
            if ties:
                value[key] = ties
        text = lambda key: value[key][0].text if key in value else ""
        self.strictest = {}
        for key in value:
            ties = value[key]
            if leniency(key, ties[0]) is not None:
                self.strictest[key] = min(ties, key=lambda v: leniency(key, v))
        strict = lambda key: self.strictest[key].text if key in self.strictest else ""
        self.primary, self.fallback = text("channel.primary"), text("channel.fallback")
        self.never = {c.strip() for v in value.get("channel.never", ()) for c in v.text.split(",")} & set(CHANNELS)
        self.digest, self.notify, self.urgency = strict("digest"), strict("notify"), strict("urgency_override")
        self.language, self.format = text("language"), text("format")
        self.formality, self.technical_depth = text("formality"), text("technical_depth")
        self.max_per = {}
        for period in ("day", "week", "month"):
            key = "frequency.max_per_" + period
            if key in self.strictest:
                self.max_per[period] = (number(strict(key)), self.strictest[key].scope[0])
        self.hours = self.strictest["hours"].hours if "hours" in self.strictest else None
        days = {d for v in value.get("days.never", ()) for d in v.days}
        if days:
            base = self.hours if self.hours is not None else EVERY_HOUR
            key = (id(base), tuple(sorted(days)))
            if key not in case.scene.cut_hours:
                case.scene.cut_hours[key] = base.without(days)
            self.hours = case.scene.cut_hours[key]


EVERY_HOUR = Hours("00:00-24:00", ALL_WEEK)


# --- regions and laws (section 8) ---------------------------------------------------------


def overlaps(a, b):
    """A country and its parts overlap; two parts only when they are the same."""
    return a == b or a.startswith(b + "-") or b.startswith(a + "-")


def regions_of(case):
    if case.regions:
        return case.regions
    if case.channel == "email" and case.default_region:
        return [case.default_region]
    return []


def speaks(case, law, regions, class_too=True):
    if class_too and case.class_ not in law.classes:
        return False
    if case.channel not in law.channels:
        return False
    return not law.regions or not regions or any(overlaps(a, b) for a in law.regions for b in regions)


def binds_now(case, law, zones):
    """As soon as it has begun in one zone, until it has ended in all."""
    if law.starts is None and law.ends is None:
        return True
    dates = [law_dates(law, z) for z in zones]
    return min(d[0] for d in dates) <= case.now < max(d[1] for d in dates)


def add_months(at, months):
    """Calendar months; six after 31 August end on the last of February."""
    day, rest = divmod(at, DAY)
    d = date.fromordinal(day + EPOCH.toordinal())
    month = d.year * 12 + d.month - 1 + months
    year, month = divmod(month, 12)
    last = (date(year + (month == 11), (month + 1) % 12 + 1, 1) - date(year, month + 1, 1)).days
    return (date(year, month + 1, min(d.day, last)) - EPOCH).days * DAY + rest


def after_span(at, span):
    n, unit = span
    return add_months(at, n) if unit == "mo" else at + n * (DAY if unit == "d" else MINUTE)


# --- the decision -------------------------------------------------------------------------


class Decision:
    def __init__(self, case):
        self.case = case
        self.zones = case.zones or [case.default_zone]
        self.regions = regions_of(case)
        self.wishes = Wishes(case)
        self.laws_now = {}
        self.violations = []
        self.hours = {}  # rule -> its hours in force, for those that bind
        self.urgent = case.priority in URGENT
        self.lifted = self.wishes.urgency == "P1" and self.urgent or (
            self.wishes.urgency == "P0" and case.priority == "P0"
        )
        self.cap_checks()
        self.consent_laws = [
            law for law in case.consent_laws if speaks(case, law, self.regions) and binds_now(case, law, self.zones)
        ]
        self.opt_outs()
        self.consent()
        self.cooling_off()
        self.reask()
        self.channel()
        self.schedule()
        self.all_hours()
        self.caps()
        self.digest()
        self.notices()
        self.degraded = False
        self.failures()
        self.conclude()

    def add(self, rule, passes=0, reason=None, force=None):
        """What the rule's cell says; passes: when it would by waiting, 0 for not by waiting."""
        case = self.case
        level, outcome = case.verdicts.get(rule) or VERDICTS[rule, case.class_, case.by]
        if level == "none":
            return None
        if force == "note" and level != "info":
            level, outcome = "info", "forward"
        elif force == "stop" and rule not in case.verdicts:
            level, outcome = "hard", "block"
        elif force == "ask" and outcome == "defer" and level == "soft":
            outcome = "soft_block"
        shadow = case.shadow_policy or rule in case.shadow_rules
        if outcome == "redirect" and not self.redirect_target():
            outcome = "block" if level == "hard" else "soft_block"
        if outcome == "defer" and passes in (0, NEVER):
            level, outcome = "hard", "block"
        due = passes
        violation = Violation(rule, reason or REASONS.get(rule, rule), level, outcome, shadow, passes if passes != NEVER else 0)
        if outcome == "digest":
            due = self.digest_time(case.now, self.wishes.digest)
            if rule not in HOURS_RULES:
                due = max(passes, due)
        violation.due = due
        self.violations.append(violation)
        return violation

    def redirect_target(self):
        for target in (self.wishes.primary, self.wishes.fallback):
            if target and target in self.case.other_channels and target not in self.wishes.never:
                if target != self.case.channel:
                    return target
        return None

    # 1 to 6
    def opt_outs(self):
        case = self.case
        if not case.opt_outs:
            return
        hit = set()
        for o in case.opt_outs:
            here = o.channel is None or o.channel == case.channel
            if o.scope in ("do_not_contact", "global"):
                hit.add(o.scope)
            elif o.scope == "address" and here:
                hit.add(o.scope)
            elif o.scope == "channel" and here:
                if not o.sender or not case.sender or o.sender.lower() == case.sender.lower():
                    hit.add(o.scope)
            elif o.scope == "category" and here and o.name == case.category:
                hit.add(o.scope)
            elif o.scope == "topic" and here and o.name and o.name == case.topic:
                hit.add(o.scope)
        if "do_not_contact" in hit:
            self.add("do_not_contact")
        if "address" in hit:
            self.add("address")
        if "global" in hit:
            note = case.class_ == "transactional" and case.channel == "email"
            self.add("opt_out_global", force="note" if note else None)
        if "channel" in hit:
            force = None
            if case.class_ in ("otp", "safety"):
                force = "stop" if case.carrier_stops and case.channel == "sms" else "note"
            self.add("opt_out_channel", force=force)
        if "category" in hit:
            self.add("opt_out_category")
        if "topic" in hit:
            self.add("opt_out_topic")

    # 7
    def covering(self, night):
        case = self.case
        return [
            c
            for c in case.consents
            if c.night == night
            and (c.channel is None or c.channel == case.channel)
            and (not c.category or c.category == case.category)
        ]

    def state_of(self, consent):
        """withdrawn 4, pending 3, expired 2, granted 1; 0: it does not count, for its basis is not accepted."""
        if consent.state == "revoked":
            return 4
        if consent.state == "pending":
            return 3
        ends = consent.expires or NEVER
        for law in self.consent_laws:
            if law.expires and (not law.basis or consent.basis.lower() in law.basis):
                ends = min(ends, after_span(consent.at, law.expires))
        if any(law.accepts and consent.basis.lower() not in law.accepts for law in self.consent_laws):
            return 0
        return 2 if ends <= self.case.now else 1

    def consent(self):
        case = self.case
        need = NEEDS[case.need]
        for law in self.consent_laws:
            need = max(need, NEEDS[law.need])
        if not case.known:
            if need == 2 or (case.class_ == "marketing" and case.channel == "sms"):
                self.add("consent", reason="no_consent")
            return
        covering = self.covering(False)
        state = max((self.state_of(c) for c in covering), default=0)
        if need == 2 and state != 1:
            reason = {4: "consent_withdrawn", 2: "consent_expired"}.get(state, "no_consent")
        elif need == 1 and state in (3, 4):
            reason = "consent_withdrawn" if state == 4 else "no_consent"
        elif need == 0 and any(c.state == "revoked" and c.category for c in covering):
            reason = "consent_withdrawn"
        else:
            return
        self.add("consent", reason=reason, force="note" if need == 0 and case.class_ in ("otp", "safety") else None)

    # 8
    def cooling_off(self):
        case = self.case
        fires = case.known and max([self.state_of(c) for c in self.covering(False)], default=0) == 3
        if case.opted_out and case.resubscribed and case.resubscribed >= case.opted_out:
            stands = any(o.at >= case.opted_out for o in case.opt_outs)
            fires = fires or (case.resubscribed - case.opted_out < COOLING_OFF and not stands)
        if fires:
            self.add("cooling_off")

    def reask(self):
        case = self.case
        if not case.asks:
            return
        refusals = [o.at for o in case.opt_outs if o.scope != "address"]
        refusals += [c.at for c in case.consents if c.state == "revoked"]
        if not refusals:
            return
        latest = max(refusals)
        for law in case.opt_out_laws:
            if law.reask and speaks(case, law, self.regions, False) and binds_now(case, law, self.zones):
                if case.now < after_span(latest, law.reask):
                    self.add("reask")
                    return

    def channel(self):
        wishes, channel = self.wishes, self.case.channel
        if channel in wishes.never:
            self.add("channel_never")
        elif wishes.primary and channel not in (wishes.primary, wishes.fallback):
            self.add("channel_other")

    def schedule(self):
        case = self.case
        if case.not_before and case.not_before > case.now:
            self.add("schedule", NEVER if case.not_before > case.now + HORIZON else case.not_before)

    # Section 8: what is open
    def all_hours(self):
        case, zones = self.case, self.zones
        self.exempt_until = 0
        if case.inbound and case.inbound <= case.now < case.inbound + CONVERSATION:
            if case.class_ != "marketing" or case.by == "agent":
                self.exempt_until = case.inbound + CONVERSATION
        legal = []
        for law in case.legal:
            if speaks(case, law, self.regions):
                margin = DELIVERY_MARGIN if law.counts_delivery else MARGIN
                legal.append(Rule(law.hours, zones, margin, law))
        nights = []
        for law in case.consent_laws:
            if law.night is not None and speaks(case, law, self.regions):
                nights.append(Rule(law.night, zones, MARGIN, law))
        if nights and self.night_is_granted():
            nights = []
        organisation = []
        if case.organisation is not None and (case.organisation.quiet or case.organisation.stated()):
            organisation = [Rule(case.organisation, zones, MARGIN)]
        contact = []
        if self.wishes.hours is not None and not self.lifted:
            contact = [Rule(self.wishes.hours, zones, MARGIN)]
        for rule, rules in zip(HOURS_RULES, (legal, nights, organisation, contact)):
            if not rules:
                continue
            self.hours[rule] = rules
            if self.exempt_until:
                continue
            opens, _, _ = next_common(rules, case.now, case.scene.openings)
            if opens > case.now:
                violation = self.add(rule, opens)
                if violation and opens == NEVER and violation.outcome not in ("forward",):
                    violation.level, violation.outcome = "hard", "block"

    def night_is_granted(self):
        states = [self.state_of(c) for c in self.covering(True)]
        return self.case.known and bool(states) and max(states) == 1

    # Section 7
    def cap_checks(self):
        case = self.case
        self.checks = []
        for cap in case.caps:
            if cap.law is not None:
                if not (speaks(case, cap.law, self.regions) and binds_now(case, cap.law, self.zones)):
                    continue
            elif not (
                case.obeys
                and (not cap.classes or case.class_ in cap.classes)
                and (not cap.channels or case.channel in cap.channels)
                and cap.of != "other"
            ):
                continue
            limit = cap.limit
            if cap.reserve and CLASSES.index(case.class_) > CLASSES.index(cap.reserve[0]):
                limit = max(0, limit - cap.reserve[1])
            channels = cap.channels
            if cap.per == "channels":
                channels = [c for c in channels if c != case.channel]
            own = cap.of == "category" or cap.per == "category"
            self.checks.append(self.check(cap, limit, channels, own, cap.per == "subject", cap.gap))
        if not case.obeys or self.lifted:
            return
        for period, (limit, scope) in self.wishes.max_per.items():
            cap = CUSTOMER_CAPS[period]
            channels = [case.channel] if scope == "channel" else []
            own = scope in ("category", "topic")
            self.checks.append(self.check(cap, limit, channels, own, False, 0 if self.urgent else GAP))

    def check(self, cap, limit, channels, own_category, own_subject, gap):
        if cap.rolling:
            since, until = self.case.now - cap.rolling + 1, 0
        else:
            since, until = self.calendar(cap.period)
        return (cap, since, until, limit, channels, own_category, own_subject, gap)

    def calendar(self, period):
        """The running day, week or month: from the earliest start to the latest end of all zones."""
        case, zones = self.case, self.zones
        if case.previous_zone is not None:
            # the running day keeps its old zone until it ends
            old = case.previous_zone
            day = old.wall(case.now) // DAY
            if old.earliest(day * DAY) <= case.zone_changed < old.latest((day + 1) * DAY):
                zones = [old]
        since, until = NEVER, 0
        for zone in zones:
            day = zone.wall(case.now) // DAY
            if period == "day":
                first, last = day, day + 1
            elif period == "week":
                first = day - weekday(day)
                last = first + 7
            else:
                d = date.fromordinal(day + EPOCH.toordinal())
                first = day - d.day + 1
                last = (date(d.year + (d.month == 12), d.month % 12 + 1, 1) - EPOCH).days
            since = min(since, zone.earliest(first * DAY))
            until = max(until, zone.latest(last * DAY))
        return since, until

    def caps(self):
        case = self.case
        if case.counters_down or not case.counts_known:
            return
        full, gap = {}, 0
        for cap, _, until, limit, _, _, _, gap_ms in self.checks:
            count, oldest, latest = case.counts.get(cap.name, (0, 0, 0))
            if count >= limit:
                if limit == 0:
                    passes = NEVER
                else:
                    passes = oldest + cap.rolling if cap.rolling else until
                rule = "cap_" + cap.origin
                full[rule] = max(full.get(rule, 0), passes)
            if gap_ms and latest and latest + gap_ms > case.now:
                gap = max(gap, latest + gap_ms)
        for rule in CAP_RULES[:3]:
            if rule in full:
                self.to_digest(self.add(rule, full[rule]))
        if gap:
            self.to_digest(self.add("min_gap", gap))

    def to_digest(self, violation):
        """Support at P3 that would wait for a cap goes into the digest."""
        case = self.case
        if violation is None or violation.outcome != "defer" or violation.level != "soft":
            return
        if case.class_ == "support" and case.priority == "P3":
            violation.outcome = "digest"
            violation.due = max(violation.passes, self.digest_time(case.now, self.wishes.digest))

    def digest_time(self, after, period):
        """The next digest after that instant: in every zone it is digest time by then."""
        at = 0
        for zone in self.zones:
            day = zone.wall(after) // DAY
            while True:
                if period != "weekly" or weekday(day) == 0:
                    due = zone.latest(day * DAY + DIGEST_AT)
                    if due > after:
                        break
                day += 1
            at = max(at, due)
        return at

    def digest(self):
        if self.wishes.digest in ("daily", "weekly") and not self.urgent:
            self.add("digest")

    def notices(self):
        case, wishes = self.case, self.wishes
        if wishes.notify in ("summary", "action") and not self.urgent:
            self.add("notify")
        if case.same_content and case.fingerprint and 0 <= case.now - case.same_content < case.dedupe:
            self.add("duplicate")
        if case.card:
            self.add("card_number")
        language, force = (case.language, None) if case.language else (case.seen_language, "note")
        if language and wishes.language:
            a, b = language.lower(), wishes.language.lower()
            if not (a == b or a.startswith(b + "-") or b.startswith(a + "-")):
                self.add("language", force=force)
        for rule in ("format", "formality", "technical_depth"):
            is_, wanted = getattr(case, rule), getattr(wishes, rule)
            if is_ and wanted and is_ != wanted:
                self.add(rule)
            elif rule == "format" and not is_ and self.has_other_length(wanted):
                self.add("format", force="note")

    def has_other_length(self, wanted):
        """By its words a mail is not what its recipient wants."""
        case = self.case
        if case.channel != "email" or not case.body_words:
            return False
        return wanted == "concise" and case.body_words > 150 or wanted == "detailed" and case.body_words < 50 and not case.cut

    # Section 10
    def failures(self):
        case = self.case
        for rule, fails in (("counters", case.counters_down), ("freshness", case.stale)):
            if fails:
                self.degraded = True
                asks = case.deferrals >= 3
                self.add(rule, case.now + RETRY, force="ask" if asks else None)

    # --- together

    def release(self, acting, digest):
        """(release, end of its window, who set it) when all that acts and all hours that bind pass together."""
        case = self.case
        at, setter = case.now, None
        for v in acting:
            due = v.due if digest or v.rule in HOURS_RULES else v.passes
            if v.due == NEVER:
                return NEVER, 0, None
            if due > at and (v.rule not in HOURS_RULES or digest and v.outcome == "digest"):
                at, setter = due, v
            elif due == at and setter is not None:
                setter = TWO
        rules = []
        for rule, of in self.hours.items():
            level, _ = case.verdicts.get(rule) or VERDICTS[rule, case.class_, case.by]
            if level in ("soft", "hard") and not self.is_shadow(rule):
                rules.append(of)
        memo = case.scene.openings
        if self.exempt_until > at:  # hours that are closed are open to a reply, until the conversation ends
            closes = NEVER
            for of in rules:
                opens, ends, _ = next_common(of, at, memo)
                closes = min(closes, ends if opens == at else self.exempt_until)
            return at, closes if closes != NEVER else 0, setter
        rules = [rule for of in rules for rule in of]
        opens, closes, by = next_common(rules, at, memo)
        if opens == NEVER:
            return NEVER, 0, None
        if by is None and at > case.now and opens == at and next_common(rules, at - 1, {})[0] == at:
            by = TWO
        if by is not None and by is not TWO:  # hours of two zones that open together
            just = [z for rule in rules for z in rule.zones if rule.next_in(z, opens - 1)[0] == opens]
            by = by if all(z is by for z in just) else TWO
        return opens, closes if closes != NEVER else 0, by if by is not None else setter

    def is_shadow(self, rule):
        return self.case.shadow_policy or rule in self.case.shadow_rules

    def decide(self):
        """(outcome, level, reason, more) of those that act."""
        case = self.case
        acting = [v for v in self.violations if not v.shadow]
        base = max(case.now, case.not_before)
        expires = min(base + case.expiry, case.valid_until or NEVER) if case.expiry or base > case.now else NEVER
        result = {"release": 0, "end": 0, "expires": 0 if expires == NEVER else expires, "setter": None, "timing": False}
        outcome, level, reason, names = "forward", "none", "none", None
        for v in acting:
            if names is None or STRENGTH[v.outcome] > STRENGTH[outcome]:
                outcome, level, reason, names = v.outcome, v.level, v.reason, v
        obstacles = [v for v in acting if v.outcome != "forward"]
        result["timing"] = outcome != "forward" and all(v.rule in TIMING for v in obstacles)
        expired = case.valid_until and case.valid_until <= case.now
        if expired and outcome != "block" and not case.shadow_policy:
            return "block", "hard", "expired", result
        binding = [v for v in obstacles if v.due]
        if outcome in ("defer", "digest"):
            release, end, setter = self.release(binding, outcome == "digest")
            began = self.digest_time(case.now, self.wishes.digest) if outcome == "digest" else case.now
            if release == NEVER or release > began + HORIZON:
                self.refuse(names)
                return "block", "hard", reason, result
            if outcome == "digest":
                base = max(release, case.not_before)
            expires = base + case.expiry
            if case.valid_until:
                expires = min(expires, case.valid_until)
            if outcome == "defer" and case.deferrals >= 5:
                self.refuse(names)
                return "block", "hard", "too_many_deferrals", result
            result["expires"] = expires
            if release > expires:
                self.refuse(names)
                return "block", "hard", "would_expire", result
            result.update(release=release, end=end, setter=setter)
        elif outcome == "soft_block" and result["timing"]:
            release, end, setter = self.release(binding, False)
            if release <= case.now + HORIZON and all(v.passes for v in obstacles):
                result.update(release=release, end=end, setter=setter)
        return outcome, level, reason, result

    def refuse(self, names):
        """What cannot wait is a block, and so is the violation that named it."""
        names.level, names.outcome = "hard", "block"

    def conclude(self):
        case = self.case
        self.outcome, self.level, self.reason, more = self.decide()
        self.would = max([self.outcome] + [v.outcome for v in self.violations], key=STRENGTH.get)
        self.release_at, self.window_end, self.expires = more["release"], more["end"], more["expires"]
        self.timing, self.setter = more["timing"], more["setter"]
        acting = [v for v in self.violations if not v.shadow]
        self.overridable = self.outcome == "soft_block" and all(v.level != "hard" for v in acting)


TWO = object()  # who set a release: hours that open just when something else ends


class CustomerCap:
    rolling, origin = 0, "customer"

    def __init__(self, period):
        self.period, self.name = period, "customer-" + period
        self.classes = ()


CUSTOMER_CAPS = {p: CustomerCap(p) for p in ("day", "week", "month")}

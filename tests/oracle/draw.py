"""
Random cases, weighted towards boundaries, and the words that say them to the C side (tests/policy/bench.h).

A scene is a few days, zones, hours and laws; its cases draw from them, so that hours are spelled out once a scene.
"""
from datetime import date
from random import Random

from hours import ALL_WEEK, CLOSED, DAY, EPOCH, HOUR, MINUTE, SECOND, WEEKDAYS, Calendar, Hours, Zone
from rules import CHANNELS, CLASSES, KEYS, after_span

ZONES = (
    "America/New_York America/Los_Angeles America/Chicago America/Denver America/Phoenix America/Anchorage "
    "Pacific/Honolulu America/Halifax America/St_Johns America/Havana America/Santiago America/Sao_Paulo "
    "America/Asuncion Europe/London Europe/Paris Europe/Berlin Europe/Dublin Africa/Casablanca Africa/Cairo "
    "Africa/Johannesburg Asia/Tokyo Asia/Seoul Asia/Kolkata Asia/Kathmandu Asia/Dubai Asia/Beirut Australia/Sydney "
    "Australia/Lord_Howe Australia/Adelaide Pacific/Auckland Pacific/Chatham Pacific/Kiritimati Pacific/Apia "
    "Pacific/Pago_Pago UTC"
).split()
REGIONS = ("US", "US-FL", "US-NY", "FR", "CA", "CA-ON", "KR", "AU-NSW", "AU", "AR-FL")
HOLIDAYS = (
    "12-25", "12-25 observed", "01-01 observed", "07-04 observed", "12-25 monday", "12-31 monday", "03-21 sunday",
    "1st mon 09", "last mon 05", "4th thu 11", "2nd sun 03", "last sun 10", "5th fri 01", "mon from 05-18",
    "tue from 12-30", "easter-2", "easter", "easter+1", "easter+39", "02-29", "2026-03-08", "2028-02-29",
)
BASES = ("explicit", "agent", "device", "postal", "area_code", "ip", "country", "default")
SENDERS = ("+15550100009", "acme", "ACME", "MG1")
TOPICS = ("shoes", "hats")
CATEGORIES = ("news", "offers", "case")
CONSENT_BASES = ("purchase", "Written", "inquiry", "express")
SYSTEMS = ("", "", "crm", "helpdesk", "erp")
STATED = tuple((date(2026, 1, 1) - EPOCH).days * DAY + n * SECOND for n in (0, 1, 2))
VALUES = {
    "channel.primary": ("email", "sms", "push", ""),
    "channel.fallback": ("email", "sms", "push", ""),
    "channel.never": ("sms", "email", "voice, email", "sms,push", ""),
    "days.never": ("sat,sun", "sun", "mon", "tue,thu", ""),
    "digest": ("none", "daily", "weekly", ""),
    "notify": ("all", "summary", "action", ""),
    "urgency_override": ("none", "P0", "P1", ""),
    "language": ("en", "de", "en-GB", "EN-us", ""),
    "format": ("concise", "detailed", ""),
    "formality": ("formal", "casual", ""),
    "technical_depth": ("basic", "expert", ""),
}
# (level, outcome) that configuration can say: section 14
VERDICTS = (
    ("none", "forward"), ("info", "forward"), ("soft", "soft_block"), ("soft", "defer"), ("soft", "hold"),
    ("soft", "digest"), ("soft", "redirect"), ("hard", "block"), ("hard", "defer"), ("hard", "hold"),
)
OVERRIDDEN = (
    "opt_out_global opt_out_channel opt_out_category consent cooling_off channel_never channel_other schedule "
    "hours_legal night_consent hours_organisation hours_contact cap_regulatory cap_organisation cap_customer min_gap "
    "digest notify duplicate card_number language format reask counters freshness"
).split()
SPANS = ((12, "mo"), (6, "mo"), (24, "mo"), (1, "mo"), (90, "d"), (60, "d"), (1, "d"), (30, "m"))
JITTERS = (
    0, 0, 0, 0, 1, -1, SECOND, -SECOND, -120 * SECOND, -120 * SECOND - 1, -120 * SECOND + 1, -600 * SECOND,
    -600 * SECOND - 1, 30 * SECOND, -90 * SECOND, -3 * MINUTE, -HOUR, HOUR,
)

stamps = {}


def stamp(at):
    """RFC 3339, UTC."""
    day, ms = divmod(at, DAY)
    text = stamps.get(day)
    if text is None:
        text = stamps[day] = date.fromordinal(day + EPOCH.toordinal()).isoformat()
    second, ms = divmod(ms, 1000)
    if ms:
        return "%sT%02d:%02d:%02d.%03dZ" % (text, second // 3600, second // 60 % 60, second % 60, ms)
    return "%sT%02d:%02d:%02dZ" % (text, second // 3600, second // 60 % 60, second % 60)


class Row:
    """A thing of a case, and the word that says it."""

    def __init__(self, word, **fields):
        self.word = word
        self.__dict__.update(fields)


class Preference(Row):
    def applies(self, case):
        kind, name = self.scope
        return (
            kind == "any"
            or (kind == "channel" and name == case.channel)
            or (kind == "category" and name == case.category)
            or (kind == "topic" and bool(name) and name == case.topic)
        )


class Case:
    """What is given; the defaults are those of bench.h."""

    zones = regions = opt_outs = consents = preferences = legal = consent_laws = opt_out_laws = caps = ()
    other_channels = shadow_rules = ()
    default_region = sender = topic = language = format = formality = technical_depth = seen_language = ""
    body_words = 0
    cut = card = False
    deferrals = opted_out = resubscribed = inbound = not_before = valid_until = same_content = zone_changed = 0
    known = fingerprint = True
    asks = carrier_stops = stale = counters_down = counts_known = shadow_policy = False
    previous_zone = organisation = None
    basis = "explicit"
    priority, by = "P2", "automated"
    dedupe = 600 * SECOND


DEFAULTS = {  # section 1: consent, obeys caps, how long it waits
    "otp": ("none", False, 0), "safety": ("none", False, 0), "transactional": ("none", False, 12 * HOUR),
    "support": ("none", True, 72 * HOUR), "collections": ("none", True, 24 * HOUR),
    "marketing": ("opt_in", True, 24 * HOUR),
}


def clock(minute):
    return "%02d:%02d" % divmod(minute, 60)


class Scene:
    CASES = 2000

    def __init__(self, seed, number):
        self.random = Random("%s/%d" % (seed, number))
        self.r = self.random.random
        self.cut_hours, self.openings = {}, {}
        pick = self.pick
        self.zones = [Zone.of(pick(ZONES)) for _ in range(4)]
        self.default_zone = Zone.of("America/New_York")
        self.zone_sets = [[z] for z in self.zones] * 3 + [self.zones[:2], self.zones[2:], self.zones[1:]]
        self.year = 2024 + int(self.r() * 7)
        self.days = [self.day() for _ in range(3)]
        self.calendar = Calendar(self.some(HOLIDAYS, 1, 3)) if self.r() < 0.5 else None
        if self.calendar is not None and self.r() < 0.7:
            near = sorted(d for d in self.calendar.days if self.date(d).year == self.year)
            if near:
                self.days[1], self.days[2] = pick(near) - pick((0, 0, 0, 1)), pick(near)
        self.contact_hours = [self.hours(False) for _ in range(4)] + [self.daily(False) for _ in range(2)]
        self.contact_hours += [CLOSED, Hours("whenever", CLOSED.week)]
        self.open = [self.hours(False, True) for _ in range(3)]
        self.quiet = [self.hours(True, True) for _ in range(3)] + [self.daily(True)]
        self.legal = [self.legal_law(i) for i in range(6)]
        self.consent_laws = [self.consent_law(i) for i in range(5)]
        self.opt_out_laws = [self.opt_out_law(i) for i in range(3)]
        self.caps = [self.cap(i) for i in range(9)]
        self.edges = self.all_edges()
        self.opt_outs = [self.opt_out() for _ in range(24)]
        self.consents = [self.consent() for _ in range(24)]
        self.turns = [c.expires for c in self.consents if c.expires]
        self.turns += [after_span(x.at, span) for x in self.consents + self.opt_outs for span in SPANS]
        self.turns = [at for at in self.turns if self.date(at // DAY).year == self.year] + self.edges[:1]
        for law in self.legal + self.consent_laws + [c.law for c in self.caps if c.law]:
            for day in (law.starts, law.ends):
                self.turns += [z.earliest(day * DAY) for z in self.zones] if day is not None else []
        self.values = [self.preference(key) for key in KEYS for _ in range(7)]
        self.hours_values = [v for v in self.values if v.key in ("hours", "days.never")]
        self.cap_values = [v for v in self.values if v.key.startswith("frequency")]

    def pick(self, of):
        return of[int(self.r() * len(of))]

    def some(self, of, low, high):
        return self.random.sample(of, low + int(self.r() * (high - low + 1)))

    # --- when

    def day(self):
        kind = self.r()
        year = self.year
        if kind < 0.45:
            zone = self.pick(self.zones)
            changes = [s for s in zone.starts[1:] if date(year, 1, 1) <= self.date(s // DAY) <= date(year, 12, 31)]
            if changes:
                return zone.wall(self.pick(changes)) // DAY - self.pick((0, 0, 0, 1))
        if kind < 0.6:
            month, day = self.pick(((12, 31), (1, 1), (2, 28), (3, 1), (4, 30), (12, 24), (7, 31)))
            return (date(year, month, day) - EPOCH).days
        if kind < 0.65:
            return (date(2028, 2, 29) - EPOCH).days
        day = (date(year, 1, 1) - EPOCH).days + int(self.r() * 365)
        return day - (day + 3) % 7 + self.pick((0, 6)) if kind < 0.75 else day

    @staticmethod
    def date(day):
        return date.fromordinal(day + EPOCH.toordinal())

    def all_edges(self):
        marks = {0, 9 * 60}
        for hours in self.contact_hours + self.open + self.quiet + [w.hours for w in self.legal]:
            for windows in hours.week[:1] + hours.week[5:] + [hours.on_holidays]:
                marks.update(m for w in windows for m in w)
        edges = []
        for zone in self.zones:
            for day in self.days:
                for mark in marks:
                    edges.extend(zone.instants(day * DAY + mark % 1440 * MINUTE))
                edges.extend(s for s in zone.starts if abs(s - day * DAY) < 2 * DAY)
        return edges

    def now(self):
        kind = self.r()
        if kind < 0.03:  # when digests are due
            return self.pick(self.zones).latest(self.pick(self.days) * DAY + 9 * HOUR)
        if kind < 0.1:
            return self.pick(self.turns) + self.pick((0, 0, 1, -1))
        if kind < 0.7:
            return self.pick(self.edges) + self.pick(JITTERS)
        return self.pick(self.days) * DAY + int(self.r() * 86400) * SECOND

    # --- hours

    def windows(self, quiet):
        """Windows of one day: (text, [(start, end)])."""
        if self.r() < 0.04:
            return "none", []
        count = 1 if self.r() < 0.65 else 2 + int(self.r() * 3)
        step = 30 if self.r() < 0.7 else 1
        first = int(self.r() * 1440 / step) * step
        length = 1439 if count == 1 or self.r() < 0.5 else 900
        marks = sorted(self.random.sample(range(first, first + length + 1, step), 2 * count))
        if self.r() < 0.1:
            marks[1] = marks[0] + self.pick((1, 2, 3, 10, 11, 12))  # about as long as a margin
            if count > 1 and marks[1] > marks[2]:
                marks = marks[:2]
        pairs = [(marks[i], marks[i + 1]) for i in range(0, len(marks), 2)]
        out = []
        for start, end in pairs:
            if start >= 1440:
                start, end = start - 1440, end - 1440
            out.append((start, end))
        out.sort()
        if any(a[1] > b[0] for a, b in zip(out, out[1:])):
            out = out[:1]
        parts = [clock(s) + "-" + (clock(e) if e <= 1440 else clock(e - 1440)) for s, e in out]
        return ",".join(parts), out

    def daily(self, quiet):
        start, end = self.pick(((480, 1260), (540, 1200), (1260, 1920), (600, 1080), (120, 150), (0, 1440), (60, 180)))
        if quiet:
            start, end = self.pick(((1260, 1920), (1320, 1800), (60, 150), (90, 150), (720, 780)))
        text = clock(start) + "-" + (clock(end) if end <= 1440 else clock(end - 1440))
        return Hours(text, [[(start, end)] for _ in range(7)], quiet)

    def hours(self, quiet, full=False):
        """full: with dates and holidays, which a contact's hours do not have."""
        week, parts = [[] for _ in range(7)], []
        if self.r() < 0.45:
            text, windows = self.windows(quiet)
            week, parts = [windows] * 7, [text]
        else:
            cuts = sorted(self.random.sample(range(7), 1 + int(self.r() * 3)))
            for first, after in zip(cuts, cuts[1:] + [cuts[0] + 7]):
                if self.r() < 0.15:
                    continue
                text, windows = self.windows(quiet)
                last = (after - 1) % 7
                if last == first:
                    days = WEEKDAYS[first]
                elif self.r() < 0.7 or after - first == 7:
                    days = WEEKDAYS[first] + "-" + WEEKDAYS[last]
                else:
                    days = ",".join(WEEKDAYS[d % 7] for d in range(first, after))
                parts.append(days + " " + text)
                for d in range(first, after):
                    week[d % 7] = windows
        if not any(week):
            return self.daily(quiet)
        dates, on_holidays = {}, None
        if full and self.r() < 0.3:
            for day in self.some(self.days, 1, 2):
                day += self.pick((0, 0, 1, -1))
                if day not in dates:
                    text, dates[day] = self.windows(quiet)
                    parts.append(self.date(day).isoformat() + " " + text)
        if full and self.r() < 0.4:
            text, on_holidays = self.windows(quiet)
            parts.append("holidays " + text)
        return Hours("; ".join(parts), week, quiet, dates, on_holidays, self.calendar if full else None)

    # --- laws

    def law(self, name, **fields):
        classes = None if self.r() < 0.4 else self.some(CLASSES, 1, 4)
        channels = None if self.r() < 0.5 else self.some(CHANNELS[:3], 1, 3)
        regions = () if self.r() < 0.4 else self.some(REGIONS, 1, 3)
        starts = ends = None
        dates = ""
        if self.r() < 0.3:
            if self.r() < 0.7:
                starts = self.pick(self.days) + self.pick((-300, 0, 0, 1, 1, 2))
            if self.r() < 0.5 or starts is None:
                ends = (self.pick(self.days) if starts is None else starts) + self.pick((0, 1, 1, 2, 9))
            dates = "@%s..%s" % (self.date(starts) if starts is not None else "", self.date(ends) if ends is not None else "")
            if starts is not None and ends is not None and ends <= starts:
                ends = None
                dates = "@%s.." % self.date(starts)
        word = "%s%s/%s/%s/%s" % (name, dates, ",".join(classes or "*"), ",".join(channels or "*"), ",".join(regions or "*"))
        return Row(word, name=name, classes=classes or ("marketing", "collections"), channels=channels or CHANNELS,
                   regions=regions, starts=starts, ends=ends, **fields)

    def legal_law(self, i):
        delivery = self.r() < 0.3
        hours = self.hours(False, True) if self.r() < 0.6 else self.daily(False)
        hours.calendar = self.calendar
        law = self.law(("delivery%d" if delivery else "l%d") % i, hours=hours, counts_delivery=delivery)
        law.word = 'legal="%s/%s"' % (law.word, hours.text)
        return law

    def span(self):
        return self.pick(SPANS)

    def consent_law(self, i):
        need = self.pick(("none", "none", "opt_out", "opt_in"))
        accepts = {b.lower() for b in self.some(CONSENT_BASES, 1, 2)} if self.r() < 0.3 else ()
        expires = self.span() if self.r() < 0.4 else None
        basis = {b.lower() for b in self.some(CONSENT_BASES, 1, 2)} if expires and self.r() < 0.6 else ()
        night = self.daily(True) if self.r() < 0.4 else None
        law = self.law("c%d" % i, need=need, accepts=accepts, expires=expires, basis=basis, night=night)
        words = ["need=" + need]
        if accepts:
            words.append("accepts=" + ",".join(sorted(accepts)))
        if expires:
            words.append("expires=%d%s" % expires)
        if basis:
            words.append("basis=" + ",".join(sorted(basis)))
        if night:
            words.append("night=" + night.text)
        law.word = 'law_consent="%s/%s"' % (law.word, " ".join(words))
        return law

    def opt_out_law(self, i):
        reask = self.span() if self.r() < 0.85 else None
        law = self.law("o%d" % i, reask=reask)
        law.word = 'law_opt_out="%s/within=10b%s"' % (law.word, " reask=%d%s" % reask if reask else "")
        return law

    def cap(self, i):
        law, classes, channels, per, of, reserve, origin = None, (), (), "", "", None, "organisation"
        words = ["name=c%d" % i]
        if i < 3:
            law, origin = self.law("f%d" % i), "regulatory"
            classes, channels = law.classes, law.channels
            words = ["law=" + law.word]
            per = self.pick(("", "subject", "category", "channels"))
            if per == "channels" and len(channels) < 2:
                per = ""
            if per:
                words.append("per=" + per)
            if self.r() < 0.3:
                classes = ()
                words.append("classes=*")
        else:
            if self.r() < 0.5:
                classes = self.some(CLASSES, 1, 4)
                words.append("classes=" + ",".join(classes))
            if self.r() < 0.4:
                channels = self.some(CHANNELS[:3], 1, 2)
                words.append("channels=" + ",".join(channels))
            if self.r() < 0.2:
                of = self.pick(("category", "other"))
                words.append("of=" + of)
            if self.r() < 0.15:
                origin = "regulatory"
                words.append("origin=regulation")
        limit = self.pick((0, 1, 1, 2, 3, 3, 5))
        words.append("limit=%d" % limit)
        rolling, period = 0, "day"
        if self.r() < 0.4:
            rolling = self.pick((3600, 86400, 604800, 90, 2592000)) * SECOND
            words.append("rolling=%d" % (rolling // SECOND))
        else:
            period = self.pick(("day", "day", "week", "month"))
            words.append("calendar=" + period)
        gap = 0
        if i >= 3 and self.r() < 0.35:
            gap = self.pick((60, 600, 3600, 86400)) * SECOND
            words.append("gap=%d" % (gap // SECOND))
        if i >= 3 and limit and self.r() < 0.3:
            reserve = (self.pick(CLASSES), 1 + int(self.r() * limit))
            words.append("reserve=%s:%d" % reserve)
        name = law.name if law else "c%d" % i
        return Row('cap="%s"' % " ".join(words), name=name, law=law, classes=classes, channels=channels, per=per, of=of,
                   origin=origin, limit=limit, rolling=rolling, period=period, gap=gap, reserve=reserve)

    # --- the person

    def moment(self):
        """About one of the scene's days, or at the edge of a law's span before one."""
        at = self.pick(self.edges) + self.pick((0, 1, -1, SECOND, -SECOND))
        kind = self.r()
        if kind < 0.3:
            return at - self.pick((1, 60, 90, 30)) * DAY
        if kind < 0.6:
            return at - self.pick((365, 366, 730, 731, 184, 181, 31, 28)) * DAY
        return at - int(self.r() * 800) * DAY

    def opt_out(self):
        scope = self.pick(("do_not_contact", "address", "global", "channel", "channel", "category", "category", "topic"))
        channel = None if self.r() < 0.4 else self.pick(CHANNELS[:3])
        if scope == "channel" and channel is None:
            channel = self.pick(CHANNELS[:2])
        name = {"category": self.pick(CATEGORIES), "topic": self.pick(TOPICS + ("",))}.get(scope, "")
        sender = self.pick(SENDERS) if scope == "channel" and self.r() < 0.6 else ""
        at = self.moment()
        word = "opt_out=%s/%s/%s/%s/%s" % (scope, channel or "*", name, sender, stamp(at))
        return Row(word, scope=scope, channel=channel, name=name, sender=sender, at=at)

    def consent(self):
        state = self.pick(("granted", "granted", "granted", "granted", "revoked", "pending"))
        channel = None if self.r() < 0.5 else self.pick(CHANNELS[:2])
        category = "" if self.r() < 0.6 else self.pick(CATEGORIES)
        expires = 0
        if self.r() < 0.25:
            expires = self.pick(self.edges) + self.pick((0, 1, -1, DAY, -DAY))
        basis = self.pick(CONSENT_BASES) if self.r() < 0.7 else ""
        at, night = self.moment(), self.r() < 0.3
        word = "consent=%s/%s/%s/%s/%s/%s%s" % (
            state, channel or "*", category or "*", stamp(expires) if expires else "", basis, stamp(at),
            "/night" if night else "")
        return Row(word, state=state, channel=channel, category=category, expires=expires, basis=basis, at=at, night=night)

    def preference(self, key):
        fields = {}
        if key == "hours":
            fields["hours"] = self.pick(self.contact_hours)
            text = fields["hours"].text if self.r() < 0.93 else ""
        elif key.startswith("frequency"):
            text = self.pick(("0", "1", "2", "3", "3", "", "many"))
        else:
            text = self.pick(VALUES[key])
        if key == "days.never":
            fields["days"] = [WEEKDAYS.index(d) for d in text.split(",")] if text else []
        kind = self.r()
        if kind < 0.5:
            scope, said = ("any", ""), ""
        elif kind < 0.7:
            scope = ("channel", self.pick(CHANNELS[:2]))
            said = scope[1]
        elif kind < 0.85:
            scope = ("category", self.pick(CATEGORIES[:2]))
            said = "category:" + scope[1]
        else:
            scope = ("topic", self.pick(TOPICS))
            said = "topic:" + scope[1]
        authority = self.pick(("contact", "contact", "contact", "locked", "agent", "behaviour", "account", "organisation"))
        system, confidence, at = self.pick(SYSTEMS), self.pick((0, 1, 2, 2, 2)), self.pick(STATED)
        default = self.r() < 0.08
        if default:
            authority, at, system, confidence = "organisation", DAY, "", 2
        word = "%s.%s@%s/%s/%s/%s/%s=%s" % (
            "default" if default else "pref", key, said, authority, system, ("low", "medium", "high")[confidence],
            stamp(at), '"%s"' % text)
        return Preference(word, key=key, text=text, scope=scope, authority=authority, system=system,
                          confidence=confidence, at=at, default=default, **fields)

    # --- a case

    def case(self):
        r, pick = self.r, self.pick
        case = Case()
        case.scene = self
        words = []
        say = words.append
        theme = int(r() * 7)  # what the case is mostly about: the rest is there now and then
        wants = lambda of, often=0.6, seldom=0.07: r() < (often if theme == of or theme == 6 and r() < 0.5 else seldom)
        OPT_OUTS, CONSENTS, HOURS, LAWS, CAPS, WISHES = range(6)

        case.now = now = self.now()
        say("now=" + stamp(now))
        case.class_ = pick(CLASSES)
        if theme in (CONSENTS, LAWS) and r() < 0.4:
            case.class_ = "marketing"
        say("class=" + case.class_)
        case.category = case.class_
        if r() < 0.6:
            case.category = pick(CATEGORIES)
            say("category=" + case.category)
        case.need, case.obeys, case.expiry = DEFAULTS[case.class_]
        if r() < (0.5 if theme == CONSENTS else 0.3) or theme != CONSENTS and case.class_ == "marketing" and r() < 0.8:
            case.need = pick(("none", "opt_out", "opt_in")) if theme == CONSENTS or r() < 0.2 else "none"
            say("need=" + case.need)
        if r() < 0.15:
            case.obeys = r() < 0.7
            say("obeys=" + ("yes" if case.obeys else "no"))
        if r() < 0.3:
            case.expiry = pick((0, 3600, 9999999, 9999999, 604800, 60)) * SECOND
            say("expiry=%d" % (case.expiry // SECOND))
        case.channel = "email" if r() < 0.5 else "sms" if r() < 0.85 else pick(CHANNELS)
        if case.channel != "email":
            say("channel=" + case.channel)
        if r() < 0.45:
            case.priority = pick(("P0", "P1", "P2", "P3", "P3"))
            say("priority=" + case.priority)
        if r() < 0.35:
            case.by = "agent"
            say("by=agent")
        if r() < 0.3:
            case.topic = pick(TOPICS)
            say("topic=" + case.topic)
        if r() < 0.75:
            case.zones = pick(self.zone_sets)
            say("zone=" + ",".join(z.name for z in case.zones))
            if r() < 0.3:
                case.basis = pick(BASES)
                say("basis=" + case.basis)
        case.default_zone = self.default_zone
        if r() < 0.15:
            case.default_zone = pick(self.zones)
            say("default_zone=" + case.default_zone.name)
        elif r() < 0.03:
            case.default_zone = Zone.of("UTC")
            say("default_zone=none")
        if r() < 0.5:
            case.regions = self.some(REGIONS, 1, 2)
            say("region=" + ",".join(case.regions))
        if r() < 0.2:
            case.default_region = pick(REGIONS)
            say("default_region=" + case.default_region)
        if r() < 0.06:
            case.known = False
            say("known=no")

        if wants(OPT_OUTS, 0.9, 0.05):
            case.opt_outs = [o for o in self.some(self.opt_outs, 1, 3) if o.at <= now]
            words += [o.word for o in case.opt_outs]
            if r() < 0.5:
                case.sender = pick(SENDERS)
                say("from=" + case.sender)
            if r() < 0.2:
                case.carrier_stops = True
                say("carrier_stops=yes")
        if wants(CONSENTS, 0.85, 0.15) and case.known:
            case.consents = [c for c in self.some(self.consents, 1, 3) if c.at <= now]
            if r() < 0.15:
                at = now + pick((0, 0, 1, -1))
                word = "consent=granted/*/*/%s/purchase/%s" % (stamp(at), stamp(at - DAY))
                case.consents.append(Row(word, state="granted", channel=None, category="", expires=at, basis="purchase",
                                         at=at - DAY, night=False))
            words += [c.word for c in case.consents]
        if wants(OPT_OUTS, 0.25, 0.03):
            case.opted_out = now - pick((1, 24, 25, 48, 2)) * HOUR
            standing = max([o.at for o in case.opt_outs], default=0)
            if standing and r() < 0.7 or standing > case.opted_out:
                case.opted_out = standing
            case.resubscribed = case.opted_out + pick((-HOUR, 0, 1, HOUR, 24 * HOUR, 24 * HOUR - 1, 24 * HOUR + 1))
            say("opted_out=%s" % stamp(case.opted_out))
            say("resubscribed=%s" % stamp(case.resubscribed))
        if wants(CONSENTS, 0.3, 0.03) or wants(OPT_OUTS, 0.3, 0.0):
            case.asks = True
            say("asks=yes")
            case.opt_out_laws = self.some(self.opt_out_laws, 1, 2)
            words += [law.word for law in case.opt_out_laws]
        if wants(CONSENTS, 0.6) or wants(LAWS, 0.4):
            case.consent_laws = self.some(self.consent_laws, 1, 3)
            words += [law.word for law in case.consent_laws]

        legal = wants(LAWS, 0.8, 0.1) or wants(HOURS, 0.3, 0.0)
        organisation = wants(HOURS, 0.5)
        if self.calendar is not None and (legal or organisation):
            say('holidays="%s"' % self.calendar.text)
        if legal:
            case.legal = self.some(self.legal, 1, 3)
            words += [law.word for law in case.legal]
        if organisation:
            quiet = r() < 0.6
            case.organisation = pick(self.quiet if quiet else self.open)
            if self.calendar is not None and case.organisation.calendar is None:
                case.organisation.calendar = self.calendar
            say('%s="%s"' % ("quiet" if quiet else "open", case.organisation.text))

        preferences = []
        if wants(HOURS, 0.7, 0.12):
            preferences += self.some(self.hours_values, 1, 2)
        if wants(CAPS, 0.5):
            preferences += self.some(self.cap_values, 1, 3)
        if wants(WISHES, 0.9, 0.25):
            if r() < 0.3:
                key = pick(KEYS)
                preferences += self.some([v for v in self.values if v.key == key], 2, 5)
            preferences += self.some(self.values, 1, 4)
        if preferences:
            # of one key and scope each authority and system has one value
            case.preferences = list({(v.key, v.scope, v.authority, v.system, v.default): v for v in preferences}.values())
            words += [v.word for v in case.preferences]

        if wants(CAPS, 0.9):
            case.caps = self.some(self.caps, 1, 4)
            words += [c.word for c in case.caps]
        if r() < 0.08:
            case.previous_zone = pick(self.zones)
            case.zone_changed = now - pick((0, HOUR, 5 * HOUR, 12 * HOUR, DAY, 30 * HOUR))
            say("previous_zone=" + case.previous_zone.name)
            say("zone_changed=" + stamp(case.zone_changed))
        if (case.caps or preferences) and r() < 0.85:
            self.count(case, words)
        if wants(HOURS, 0.2):
            case.not_before = now + pick((-HOUR, 0, 1, MINUTE, HOUR, 20 * HOUR, 5 * DAY, 400 * DAY, 400 * DAY + 1, 500 * DAY))
            say("not_before=" + stamp(case.not_before))
        if r() < 0.08:
            case.valid_until = now + pick((-SECOND, -1, 0, 1, HOUR, 8 * HOUR, 24 * HOUR, 300 * HOUR))
            say("valid_until=" + stamp(case.valid_until))
        if wants(HOURS, 0.25):
            case.inbound = now - pick((0, MINUTE, 5 * MINUTE, 15 * MINUTE, 15 * MINUTE - 1, 15 * MINUTE + 1))
            say("inbound=" + stamp(case.inbound))
        if r() < 0.2:
            case.deferrals = int(r() * 7)
            say("deferrals=%d" % case.deferrals)
        if r() < 0.05:
            case.stale = True
            say("stale=yes")
        if r() < 0.06 and not case.counts_known:
            case.counters_down = True
            say("counters=down")
        self.forms(case, words)
        self.overrides(case, words)
        case.words = words
        return case

    def count(self, case, words):
        pick = self.pick
        case.counts_known, case.counts = True, {}
        names = [(c.name, c.limit, c.rolling, c.gap) for c in case.caps]
        for v in case.preferences:
            if v.key.startswith("frequency"):
                limit = int(v.text) if v.text.isdigit() else 0
                names.append(("customer-" + v.key[18:], limit, 0, HOUR))
        if not names:
            names = [("none", 0, 0, 0)]
        for name, limit, rolling, gap in dict.fromkeys(names):
            if name in case.counts:
                continue
            count = max(0, limit + pick((-2, -1, -1, 0, 0, 1)))
            oldest = latest = 0
            if count:
                span = rolling or HOUR
                oldest = case.now - pick((span - 1, span - SECOND, span // 2, 1, 0))
                latest = case.now - pick((gap, gap - 1, gap + 1, gap // 2, 1, DAY))
            case.counts[name] = (count, oldest, latest)
            text = "count.%s=%d" % (name, count)
            if oldest:
                text += "/%s/%s" % (stamp(oldest), stamp(latest))
            words.append(text)

    def forms(self, case, words):
        r, pick = self.r, self.pick
        if r() < 0.25:
            case.language = pick(("en", "de", "en-GB", "en-US", "eng"))
            words.append("is_language=" + case.language)
        if r() < 0.2:
            case.format = pick(("concise", "detailed"))
            words.append("is_format=" + case.format)
        if r() < 0.2:
            case.body_words = pick((0, 1, 49, 50, 51, 149, 150, 151, 4000))
            words.append("words=%d" % case.body_words)
            if r() < 0.2:
                case.cut = True
                words.append("cut=yes")
        if r() < 0.1:
            case.seen_language = pick(("en", "de", "pt"))
            words.append("seen_language=" + case.seen_language)
        if r() < 0.05:
            case.card = True
            words.append("card=yes")
        if r() < 0.1:
            case.formality = pick(("formal", "casual"))
            words.append("is_formality=" + case.formality)
        if r() < 0.1:
            case.technical_depth = pick(("basic", "expert"))
            words.append("is_depth=" + case.technical_depth)
        if r() < 0.1:
            if r() < 0.2:
                case.dedupe = pick((0, 60, 3600)) * SECOND
                words.append("dedupe=%d" % (case.dedupe // SECOND))
            if r() < 0.1:
                case.fingerprint = False
                words.append("fingerprint=0")
            case.same_content = case.now - pick((1, case.dedupe, max(0, case.dedupe - 1), case.dedupe + 1, 30 * SECOND))
            words.append("same_content=" + stamp(case.same_content))

    def overrides(self, case, words):
        r, pick = self.r, self.pick
        case.verdicts = {}
        if r() < 0.15:
            for rule in self.some(OVERRIDDEN, 1, 2):
                verdict = pick(VERDICTS)
                if rule == "schedule" and verdict[1] == "digest":
                    continue  # a schedule is no matter of a digest
                case.verdicts[rule] = verdict
                words.append("verdict=%s/%s/%s" % ((rule,) + case.verdicts[rule]))
            if any(v[1] == "redirect" for v in case.verdicts.values()) or r() < 0.2:
                case.other_channels = self.some(("email", "sms", "push", "voice"), 1, 3)
                wanted = [v for v in self.values if v.key.startswith("channel") and v not in case.preferences]
                for v in self.some(wanted, 1, 4):
                    if all((v.key, v.scope, v.authority) != (w.key, w.scope, w.authority) for w in case.preferences):
                        case.preferences = [*case.preferences, v]
                        words.append(v.word)
                words.append("other=" + ",".join(case.other_channels))
        if r() < 0.15:
            if r() < 0.3:
                case.shadow_policy = True
                words.append("shadow=policy")
            else:
                case.shadow_rules = self.some(OVERRIDDEN, 1, 3)
                words += ["shadow=" + rule for rule in case.shadow_rules]

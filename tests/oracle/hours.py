"""
Time as docs/POLICY.md, section 8, tells it: zones, windows, holidays, and when they are next open.

Nothing here is taken from the engine: zones are Python's own zoneinfo, and a set of hours is
spelled out day by day and looked through.  Instants are milliseconds UTC; a wall clock is
milliseconds as if it were UTC.
"""
from bisect import bisect_right
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NEVER = 1 << 62
HORIZON = 400 * DAY
EPOCH = date(1970, 1, 1)
FIRST_DAY, LAST_DAY = (date(2021, 1, 1) - EPOCH).days, (date(2035, 1, 1) - EPOCH).days

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def weekday(day):
    return (day + 3) % 7  # 1970-01-01 was a Thursday


class Zone:
    """The clock of one IANA zone from 2021 to 2035 as segments of one offset each."""

    known = {}

    def __init__(self, name):
        self.name = name
        info = ZoneInfo(name)

        def offset(second):
            return int(datetime.fromtimestamp(second, timezone.utc).astimezone(info).utcoffset().total_seconds())

        second = FIRST_DAY * 86400
        self.starts, self.offsets = [-NEVER], [offset(second) * SECOND]
        while second < LAST_DAY * 86400:
            after = second + 5 * 86400  # no zone changes twice in five days
            if offset(after) * SECOND != self.offsets[-1]:
                low, high = second, after
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if offset(middle) * SECOND == self.offsets[-1] else (low, middle)
                self.starts.append(high * SECOND)
                self.offsets.append(offset(high) * SECOND)
            second = after

    @classmethod
    def of(cls, name):
        if name not in cls.known:
            cls.known[name] = cls(name)
        return cls.known[name]

    def wall(self, at):
        return at + self.offsets[bisect_right(self.starts, at) - 1]

    def instants(self, wall):
        """Every instant at which the wall clock shows that; when none, the one at which it jumps over it."""
        first = bisect_right(self.starts, wall - 30 * HOUR) - 1
        last = bisect_right(self.starts, wall + 30 * HOUR) - 1
        if first == last:
            return (wall - self.offsets[first],)
        found = []
        for i in range(first, last + 1):
            at = wall - self.offsets[i]
            if self.starts[i] <= at and (i + 1 == len(self.starts) or at < self.starts[i + 1]):
                found.append(at)
        if found:
            return found
        for i in range(first + 1, last + 1):
            if wall - self.offsets[i] < self.starts[i] and wall - self.offsets[i - 1] >= self.starts[i]:
                return (self.starts[i],)
        raise AssertionError((self.name, wall))

    def plain(self, wall):
        """Walls (from, to) around it with one offset and no change within 30 hours; an empty stretch near a change."""
        i = bisect_right(self.starts, wall - 30 * HOUR) - 1
        to = self.starts[i + 1] - 30 * HOUR if i + 1 < len(self.starts) else NEVER
        return self.starts[i] + 30 * HOUR, to, self.offsets[i]

    def earliest(self, wall):
        return min(self.instants(wall))

    def latest(self, wall):
        return max(self.instants(wall))


# --- holidays ---------------------------------------------------------------------------


def easter(year):
    """The anonymous Gregorian computus (Nature, 20 April 1876)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = b // 4, b % 4
    f = (b + 8) // 25
    g = (b - f + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = c // 4, c % 4
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def fixed(year, month_day):
    try:
        return date(year, int(month_day[:2]), int(month_day[3:]))
    except ValueError:
        return None  # 29 February


MOVES = {  # weekday it falls on -> days to the day on which it is kept as well
    "": {},
    "observed": {5: -1, 6: 1},
    "monday": {5: 2, 6: 1},
    "sunday": {6: 1},
}


def holidays_of(rule, year):
    """The days of a rule that belongs to that year; kept days may lie in the next or the one before."""
    words = rule.split()
    if words[0].startswith("easter"):
        return [easter(year) + timedelta(int(words[0][6:] or 0))]
    if len(words[0]) == 10:
        day = date.fromisoformat(words[0])
        return [day] if day.year == year else []
    if len(words) == 3 and words[1] == "from":
        day = fixed(year, words[2])
        return [] if day is None else [day + timedelta((WEEKDAYS.index(words[0]) - day.weekday()) % 7)]
    if len(words) == 3:
        wanted, month = WEEKDAYS.index(words[1]), int(words[2])
        days = [date(year, month, d) for d in range(1, 32) if fixed(year, "%02d-%02d" % (month, d))]
        days = [d for d in days if d.weekday() == wanted]
        nth = -1 if words[0] == "last" else int(words[0][0]) - 1
        return days[nth : nth + 1 or None]
    day = fixed(year, words[0])
    if day is None:
        return []
    moves = MOVES[words[1] if len(words) > 1 else ""]
    kept = [day + timedelta(moves[day.weekday()])] if day.weekday() in moves else []
    return [day] + kept


class Calendar:
    def __init__(self, rules):
        self.text = "; ".join(rules)
        self.days = {
            (d - EPOCH).days for rule in rules for year in range(2020, 2036) for d in holidays_of(rule, year)
        }


# --- hours ------------------------------------------------------------------------------


class Hours:
    """
    Windows of a week as lists of (start, end) minutes; end > 1440 runs over midnight.  dates beat holidays beat
    weekdays.  quiet: the windows are when not to send.
    """

    def __init__(self, text, week, quiet=False, dates=None, on_holidays=None, calendar=None):
        self.text = text
        self.week = week
        self.quiet = quiet
        self.dates = dates or {}
        if on_holidays is None:
            on_holidays = [(0, 1440)] if quiet else []
        self.on_holidays = on_holidays
        self.calendar = calendar
        self.cut_days = ()  # days.never: nothing of these, from whatever day
        self.memo = {}

    def stated(self):
        return any(self.week) or bool(self.dates) or (self.calendar is not None and bool(self.on_holidays))

    def minutes(self):
        return sum(end - start for windows in self.week for start, end in windows)

    def without(self, days):
        """The same, and closed on those weekdays: also what reaches into them from the evening before."""
        week = []
        for day in range(7):
            windows = [] if day in days else self.week[day]
            if (day + 1) % 7 in days:
                windows = [(start, min(end, 1440)) for start, end in windows]
            week.append(windows)
        return Hours(self.text, week)

    def windows_on(self, day):
        usual = self.week[weekday(day)]
        if day in self.dates:
            windows = self.dates[day]
        elif self.calendar is not None and day in self.calendar.days:
            windows = self.on_holidays
        else:
            return usual
        if self.quiet and windows == [(0, 1440)]:  # the night after a quiet day stays as quiet as every night
            return windows + [(1440, end) for start, end in usual if end > 1440]
        return windows

    def spell_out(self, zone, first, last):
        """
        Open stretches from local day first to last, joined where they touch.  One that has no end by then ends NEVER;
        one that was open before begins at -NEVER.
        """
        walls = []  # joined on the wall clock
        for day in range(first, last + 1):
            for start, end in sorted(self.windows_on(day)):
                start, end = day * DAY + start * MINUTE, day * DAY + end * MINUTE
                if walls and start <= walls[-1][1]:
                    walls[-1][1] = max(walls[-1][1], end)
                else:
                    walls.append([start, end])
        # a closing is the earlier reading of the clock, an opening the later one: quiet lasts as long as possible
        before, after = (zone.earliest, zone.latest) if self.quiet else (zone.latest, zone.earliest)
        spans = []
        low = high = offset = 0  # walls in [low, high) are far from any change of the clock: the usual case
        for start, end in walls:
            if low <= start and end < high:
                start, end = start - offset, end - offset
            else:
                low, high, offset = zone.plain(start)
                start, end = before(start), after(end)
                if start >= end:
                    continue
            if spans and start <= spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], end)
            else:
                spans.append([start, end])
        limit = zone.earliest((last + 1) * DAY)
        if not self.quiet:
            if spans and spans[-1][1] >= limit:
                spans[-1][1] = NEVER
            return spans
        openings, opens = [], -NEVER
        for start, end in spans:
            if opens < start:
                openings.append([opens, start])
            opens = end
        if opens < limit:
            openings.append([opens, NEVER])
        return openings

    def next(self, zone, at, far=None):
        """
        (opens, closes) of the first stretch that is open at or after at; (NEVER, NEVER) for none in 400 days.  far: the
        instant at which a long search began, which then looks in one long list.
        """
        if far is None:
            block = at // (8 * DAY)
            key = (zone, block)
            found = self.memo.get(key)
            if found is None:
                found = self.spell_out(zone, block * 8 - 4, block * 8 + 22)
                found = self.memo[key] = ([s[0] for s in found], found)
            starts, spans = found
            i = bisect_right(starts, at) - 1
            if i < 0 or spans[i][1] <= at:
                i += 1
            if i < len(spans) and spans[i][1] != NEVER and spans[i][0] < (block * 8 + 16) * DAY:
                return max(at, spans[i][0]), spans[i][1]
            far = at
        for days in (470, 1000):
            block = far // (64 * DAY)
            key = (zone, block, days)
            found = self.memo.get(key)
            if found is None:
                found = self.spell_out(zone, block * 64 - 4, block * 64 + days)
                found = self.memo[key] = ([s[0] for s in found], found)
            starts, spans = found
            i = bisect_right(starts, at) - 1
            if i < 0 or spans[i][1] <= at:
                i += 1
            if at + HORIZON < (block * 64 + days) * DAY or i < len(spans) and spans[i][1] != NEVER:
                break
        if i == len(spans) or spans[i][0] > at + HORIZON:
            return NEVER, NEVER
        closes = spans[i][1]
        return max(at, spans[i][0]), closes if closes <= at + HORIZON else NEVER


CLOSED = Hours("none", [[] for _ in range(7)])
ALL_WEEK = [[(0, 1440)] for _ in range(7)]


def law_dates(law, zone):
    """From when until when it holds by that clock."""
    if law.starts is None and law.ends is None:
        return ALWAYS
    starts = -NEVER if law.starts is None else zone.earliest(law.starts * DAY)
    return starts, NEVER if law.ends is None else zone.latest(law.ends * DAY)


ALWAYS = (-NEVER, NEVER)


class Rule:
    """One set of hours that a message has to keep in each zone: with a margin, and perhaps only between two dates."""

    def __init__(self, hours, zones, margin, law=None):
        self.hours, self.zones, self.margin = hours, zones, margin
        self.dates = {zone: law_dates(law, zone) if law else ALWAYS for zone in zones}
        self.key = (id(hours), margin, law and law.name, tuple([id(z) for z in zones]))

    def next_in(self, zone, at, far=None):
        """(opens, closes) in one zone, margin taken off."""
        starts, ends = self.dates[zone]
        if at >= ends:
            return at, NEVER
        if at < starts:
            opens, closes = self.next_in(zone, starts, far)
            return at, closes if opens == starts else starts
        asked = at
        while True:
            opens, closes = self.hours.next(zone, at, far)
            if opens >= ends:
                return ends, NEVER
            if opens > asked + HORIZON:  # also windows no longer than the margin, over and over
                return NEVER, NEVER
            if closes == NEVER or closes - self.margin > opens:
                break
            at, far = closes, asked if far is None else far
        if closes != NEVER:
            closes -= self.margin
        return opens, closes if closes < ends else NEVER


class Undecided(Exception):
    """Hours that meet after so many openings that the engine may have given them up: section 8."""


def next_common(rules, at, memo):
    """
    The first instant at or after at at which all are open in all their zones, until when, and the zone whose clock sets
    it, if one does; (NEVER, NEVER, None).  memo: what was found before for the same hours.
    """
    key = tuple([rule.key for rule in rules])
    known = memo.get(key)
    start = at
    if known is not None:
        asked, opens, closes, zone = known
        if asked <= at:
            if opens == NEVER:
                start = max(at, asked + HORIZON)  # nothing until then
            elif closes != NEVER:
                if at <= opens:
                    return known_again(at, opens, closes, zone)
                if at < closes:
                    return at, closes, None
    opens, closes, zone = search(rules, start, at + HORIZON)
    memo[key] = (at, opens, closes, zone)
    return opens, closes, zone


def known_again(at, opens, closes, zone):
    return (opens, closes, zone if at < opens else None) if opens <= at + HORIZON else (NEVER, NEVER, None)


def search(rules, at, limit):
    asked, opens, setter, moves, far = at, at, None, 0, None
    while True:
        closes, moved = NEVER, False
        for rule in rules:
            for zone in rule.zones:
                start, end = rule.next_in(zone, opens, far)
                if start > limit:
                    return NEVER, NEVER, None
                if start > opens:
                    opens, setter, moved = start, zone, True
                closes = min(closes, end)
        if not moved:
            if moves > 150:
                raise Undecided
            return opens, closes, setter
        moves += 1
        if moves > 4:
            far = asked

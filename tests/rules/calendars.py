#!/usr/bin/python3
"""Hold holidays.txt against Debian's python3-holidays (0.10.1, of 2020).

The table is what the daemon finds in rules/holidays; a unit test sees to that.  Every difference stands below with its
reason; one that is not there, or a reason without a difference, fails.
"""
import collections
import datetime
import pathlib
import re
import sys

import holidays

TABLE = pathlib.Path(__file__).with_name("holidays.txt")

CALENDARS = {
    "us-federal": lambda years: holidays.US(years=years),
    "us-al": lambda years: holidays.US(state="AL", years=years),
    "us-la": lambda years: holidays.US(state="LA", years=years),
    "us-ms": lambda years: holidays.US(state="MS", years=years),
    "us-pa": lambda years: holidays.US(state="PA", years=years),
    "us-ri": lambda years: holidays.US(state="RI", years=years),
    "us-ut": lambda years: holidays.US(state="UT", years=years),
    "fr": lambda years: holidays.France(years=years),
    "au": lambda years: holidays.Australia(years=years),
    "za": lambda years: holidays.SouthAfrica(years=years),
    "co": lambda years: holidays.Colombia(years=years),
    "ca": lambda years: holidays.Canada(prov="ON", years=years),
}

JUNETEENTH = ("-06-(19|18)", "a holiday since 2021 (Pub. L. 117-17): younger than the package")

# Days that only one of the two has: a pattern of "2024-06-19 Name", and why.
OURS = {
    "us-federal": [JUNETEENTH],
    "us-al": [JUNETEENTH, ("-0[23]-", "Mardi Gras is kept in two counties: closed in all of them")],
    "us-la": [JUNETEENTH,
              ("-06-(1[5-9]|2[01])", "Juneteenth as the state keeps it, on the third Saturday"),
              ("-01-08|-06-03|-08-30|-11-01", "days of R.S. 1:55 that the package leaves out"),
              ("-11-0[2-8]", "election days; the package has those of even years"),
              ("-11-2[3-9]", "Acadian Day")],
    "us-ms": [("-04-(29|30)", "the last Monday of April (Miss. Code 3-3-7), not the fourth")],
    "us-pa": [JUNETEENTH, ("-0[34]-", "Good Friday is a legal holiday (44 Pa. Stat. 11)"), ("-06-14", "Flag Day")],
    "us-ri": [JUNETEENTH],
    "us-ut": [JUNETEENTH, ("-06-(1[5-7]|2[01])", "Juneteenth on the Monday that the state keeps")],
    "co": [("-07-20|-12-08|-01-01", "a fixed day on a weekend is a holiday still; the package leaves it out")],
    "ca": [("-0[34]-", "Easter Monday (Interpretation Act s. 35); the package has Ontario's days"),
           ("-09-30", "Truth and Reconciliation, since 2021"), ("-11-11", "Remembrance Day is none of Ontario's")],
}
THEIRS = {
    "us-la": [("Inauguration Day", "kept in Baton Rouge, every fourth year; a Saturday in 2029")],
    "us-ms": [("Confederate Memorial Day", "see above"), ("Columbus Day", "not among the days of Miss. Code 3-3-7")],
    "ca": [("Family Day|Civic Holiday|Boxing Day", "Ontario's, not the whole country's"),
           ("Observed", "a day kept instead is not a holiday of the Interpretation Act, but for Canada Day on a Sunday")],
}


def read_table():
    table = collections.defaultdict(set)
    for line in TABLE.read_text(encoding="ascii").splitlines():
        if line.startswith("#"):
            continue
        name, rest = line.split(" ", 1)
        year, days = rest.split(":")
        table[name] |= {datetime.date.fromisoformat(f"{year}-{day}") for day in days.split()}
    return table


def check(name, days, reasons, whose):
    """What is not explained, and what explains nothing."""
    used = set()
    for day in days:
        fits = [pattern for pattern, _ in reasons if re.search(pattern, day)]
        used.update(fits[:1])
        if not fits:
            yield f"{name}: only {whose} has {day}: which is right, and why?"
    for pattern, reason in reasons:
        if pattern not in used:
            yield f"{name}: no day that only {whose} has fits \"{pattern}\" ({reason})"


def main():
    table = read_table()
    complaints = [f"{name}: no calendar to compare with" for name in sorted(set(table) - set(CALENDARS))]
    for name in sorted(set(table) & set(CALENDARS)):
        years = range(min(table[name]).year, max(table[name]).year + 1)
        theirs = {day: what for day, what in CALENDARS[name](list(years)).items() if day.year in years}
        complaints += check(name, [str(d) for d in sorted(table[name] - set(theirs))], OURS.get(name, []), "ours")
        complaints += check(name, [f"{d} {theirs[d]}" for d in sorted(set(theirs) - table[name])], THEIRS.get(name, []), "theirs")
    print("\n".join(complaints) or f"{len(table)} calendars, {sum(map(len, table.values()))} holidays: as in the package, or for a reason")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

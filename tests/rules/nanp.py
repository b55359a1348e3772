#!/usr/bin/python3
"""Compare rules/nanp.csv with the number data of Debian's python3-phonenumbers.

Zones are compared by their clocks, not by their names: Detroit is New York for this purpose.  Every difference stands
below with its reason; one that is not there, or that has gone, fails.  nanp.csv is ours: the package is only asked.
"""
import csv
import datetime
import pathlib
import sys
import zoneinfo

from phonenumbers.geodata import GEOCODE_DATA
from phonenumbers.tzdata import TIMEZONE_DATA

TABLE = pathlib.Path(__file__).resolve().parents[2] / "rules/nanp.csv"

# Newer than the package's data (2022), or without any: not geographic, or split by prefix only.
NOT_IN_PACKAGE = {
    "announced or in service since 2022": "227 235 257 274 324 327 329 350 353 354 357 363 369 382 428 436 457 465 471 472 483 "
    "557 621 624 645 679 683 686 728 729 730 738 748 821 835 837 861 879 924 942 975 983",
    "toll-free, personal, premium, government: of no place": "500 521 522 523 524 525 526 527 528 529 532 533 544 566 577 588 "
    "600 622 700 710 800 833 844 855 866 877 888 900",
}

# Zones: why ours are not the package's.
ZONES = {
    "the package names Denver, whose summer time only the Navajo Nation keeps, and that has 928": "480 520 602",
    "Ohio is all Eastern; listed as spanning in newer data, and one zone more sends less": "220",
    "an overlay covers what the code it relieves covers, also where no number there is issued yet": "236 367 448 458 581 672 778 930 364",
    "Lloydminster, on the Alberta border, keeps Alberta's time": "306 474 639",
    "Atikokan and its neighbours stay on standard time": "807",
    "Blanc-Sablon and the lower north shore are on Atlantic standard time": "418",
    "Yukon stays on one time all year since 2020; the package says Vancouver": "867",
    "Peace River stays on Mountain standard time": "250",
    "Labrador is on Atlantic time, with summer time; the package also has Puerto Rico's": "709",
    "Toronto, of which the package says Winnipeg; Orlando, of which it says Chicago": "437 689",
    "no part of Alaska keeps Hawaii's clock all year: Adak has summer time": "907",
}

# Regions: the package names cities where it has a single one.
CITIES = {"Chicago, IL": "US-IL", "Los Angeles, CA": "US-CA", "Montreal, QC": "CA-QC", "New York, NY": "US-NY",
          "Philadelphia": "US-PA", "San Antonio, TX": "US-TX"}
PLACES = {
    "Alabama": "US-AL", "Alaska": "US-AK", "Arizona": "US-AZ", "Arkansas": "US-AR", "California": "US-CA", "Colorado": "US-CO",
    "Connecticut": "US-CT", "Delaware": "US-DE", "Washington D.C.": "US-DC", "Florida": "US-FL", "Georgia": "US-GA",
    "Hawaii": "US-HI", "Idaho": "US-ID", "Illinois": "US-IL", "Indiana": "US-IN", "Iowa": "US-IA", "Kansas": "US-KS",
    "Kentucky": "US-KY", "Louisiana": "US-LA", "Maine": "US-ME", "Maryland": "US-MD", "Massachusetts": "US-MA",
    "Michigan": "US-MI", "Minnesota": "US-MN", "Mississippi": "US-MS", "Missouri": "US-MO", "Montana": "US-MT",
    "Nebraska": "US-NE", "Nevada": "US-NV", "New Hampshire": "US-NH", "New Jersey": "US-NJ", "New Mexico": "US-NM",
    "New York": "US-NY", "North Carolina": "US-NC", "North Dakota": "US-ND", "Ohio": "US-OH", "Oklahoma": "US-OK",
    "Oregon": "US-OR", "Pennsylvania": "US-PA", "Rhode Island": "US-RI", "South Carolina": "US-SC", "South Dakota": "US-SD",
    "Tennessee": "US-TN", "Texas": "US-TX", "Utah": "US-UT", "Vermont": "US-VT", "Virginia": "US-VA",
    "Washington State": "US-WA", "West Virginia": "US-WV", "Wisconsin": "US-WI", "Wyoming": "US-WY",
    "Alberta": "CA-AB", "British Columbia": "CA-BC", "Manitoba": "CA-MB", "New Brunswick": "CA-NB",
    "Newfoundland and Labrador": "CA-NL", "Northwest Territories/Nunavut/Yukon": "CA-NT CA-NU CA-YT",
    "Nova Scotia/Prince Edward Island": "CA-NS CA-PE", "Ontario": "CA-ON", "Quebec": "CA-QC", "Saskatchewan": "CA-SK",
}

# A year before British Columbia gave up changing its clocks, so that the tz data of any year since compare alike.
INSTANTS = [datetime.datetime(2024, month, 15, tzinfo=datetime.timezone.utc) for month in range(1, 13)]


def clock(zone):
    return tuple(instant.astimezone(zoneinfo.ZoneInfo(zone)).utcoffset() for instant in INSTANTS)


def codes(words):
    return set(words.split())


def package_zones():
    zones = {}
    for prefix, names in TIMEZONE_DATA.items():
        if prefix[0] == "1" and len(prefix) >= 4:
            zones.setdefault(prefix[1:4], set()).update(names)
    return zones


def compare(table):
    theirs = package_zones()
    names = {prefix[1:]: place.get("en") for prefix, place in GEOCODE_DATA.items() if prefix[0] == "1" and len(prefix) == 4}
    absent = {code for code in table if code not in theirs and code not in names}
    different = {code for code, (_, zones) in table.items()
                 if code in theirs and {clock(z) for z in zones} != {clock(z) for z in theirs[code]}}
    wrong_region = {code: (regions, names[code]) for code, (regions, _) in table.items()
                    if names.get(code) and {**PLACES, **CITIES}.get(names[code]) != regions}
    return theirs, names, absent, different, wrong_region


def main():
    table = {}
    with open(TABLE, encoding="ascii") as lines:
        for row in csv.reader(line for line in lines if not line.startswith(("#", "code,"))):
            code, regions, zones, as_of = row
            datetime.date.fromisoformat(as_of)
            if code in table:
                sys.exit(f"{code} is there twice")
            table[code] = (regions, [] if zones == "anywhere" else zones.split())
    theirs, names, absent, different, wrong_region = compare(table)
    complaints = [f"{code}: the package knows it, rules/nanp.csv does not" for code in sorted((set(theirs) | set(names)) - set(table))]
    listed = set().union(*map(codes, NOT_IN_PACKAGE.values()))
    complaints += [f"{code}: not in the package, and not listed as such" for code in sorted(absent - listed)]
    complaints += [f"{code}: listed as not in the package, but it is" for code in sorted(listed - absent)]
    reasons = set().union(*map(codes, ZONES.values()))
    for code in sorted(different - reasons):
        complaints.append(f"{code}: ours {table[code][1]}, the package's {sorted(theirs[code])}: give the reason")
    complaints += [f"{code}: agrees with the package, but a reason is given for a difference" for code in sorted(reasons - different)]
    complaints += [f"{code}: ours {ours}, the package's {place}" for code, (ours, place) in sorted(wrong_region.items())]
    print("\n".join(complaints) or f"{len(table)} area codes; {len(table) - len(absent) - len(different)} as in the package, "
          f"{len(different)} differ for a reason, {len(absent)} are not in it")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

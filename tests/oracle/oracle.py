#!/usr/bin/python3
"""
Random cases of policy, each decided here from docs/POLICY.md alone, and compared with what the engine says.

  oracle.py --check build/dev/tests/unit_policy_rules [--cases 1000000] [--seed 2026-11-22] [--jobs 2]
  oracle.py --scene 17 --seed 2026-11-22        print the cases of one scene, as the C side reads them

A seed makes the same cases on every machine and with any number of jobs.  The name of a case is SCENE.NUMBER.
Exits 1 when there was a difference, and says the seed.
"""
import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from datetime import date

from draw import Scene, stamp
from hours import DAY, Undecided, Zone, weekday
from rules import CELL_NAMES, CHANNELS, CLASSES, DIGEST_AT, FAMILY, OUTCOMES, REASONS, RULES, SEVERITY, TWO, Decision, Violation

CHANNEL_BIT = {name: 1 << i for i, name in enumerate(CHANNELS)}
CLASS_BIT = {name: 1 << i for i, name in enumerate(CLASSES)}
RULE_ORDER = {name: i for i, name in enumerate(RULES)}
FAMILY_OF_REASON = {REASONS.get(rule, rule): FAMILY[rule] for rule in RULES}
FAMILY_OF_REASON.update(
    no_consent="NOCONSENT", consent_expired="NOCONSENT", consent_withdrawn="NOCONSENT", would_expire="EXPIRY",
    expired="EXPIRY", too_many_deferrals="DEADLETTER", none="NONE",
)  # fmt: skip
WORDS = {"defer": "DEFER", "digest": "DIGEST", "hold": "HOLD", "block": "HARD", "redirect": "INFO"}


def when(at):
    return stamp(at) if at else "none"


def yes(flag):
    return "yes" if flag else "no"


def code_of(d):
    word = WORDS.get(d.outcome)
    if d.outcome == "forward":
        if d.reason == "none":
            return "PST-NONE"
        word = "INFO"
    elif d.outcome == "soft_block":
        word = "SOFT" if d.overridable else "HARD"
    return "PST-%s-%s" % (word, FAMILY_OF_REASON[d.reason])


def local_rule(d):
    """A time on a wall where one set it, else an instant shown to people of the first zone."""
    if not d.release_at:
        return ""
    setter, at = d.setter, d.release_at
    zone, wall = d.zones[0], None
    if isinstance(setter, Zone):
        zone, wall = setter, setter.wall(at)
    elif d.outcome == "digest" and isinstance(setter, Violation) and at == d.digest_time(d.case.now, d.wishes.digest):
        for z in d.zones:
            day, time = divmod(z.wall(at), DAY)
            if wall is None and time == DIGEST_AT and (d.wishes.digest != "weekly" or weekday(day) == 0):
                zone, wall = z, z.wall(at)
    if wall is None:
        return "%s %s" % (stamp(at - at % 1000), zone.name)  # for people: whole seconds
    text = stamp(wall)[:-1]
    return "%s %s" % (text[:-3] if text.endswith(":00") and len(text) == 19 else text, zone.name)


def expected(case):
    d = Decision(case)
    d.violations.sort(key=lambda v: RULE_ORDER[v.rule])
    words = [d.outcome, "level=" + d.level, "reason=" + d.reason]
    say = words.append
    say("rules=" + (",".join([v.rule for v in d.violations]) or "none"))
    say("shadows=" + (",".join([v.rule for v in d.violations if v.shadow]) or "none"))
    say("would=" + d.would)
    say("code=" + code_of(d))
    for v in d.violations:
        say("%s=%s" % (v.rule, CELL_NAMES.get((v.level, v.outcome), "?")))
        if v.passes or v.outcome != "forward":
            say("passes.%s=%s" % (v.rule, when(v.passes)))
    if d.violations:
        say("severity=" + SEVERITY[d.violations[0].rule])
    say("release=" + when(d.release_at))
    say("window_end=" + when(d.window_end))
    say("expires=" + when(d.expires))
    say("overridable=" + yes(d.overridable))
    say("timing=" + yes(d.timing))
    say("degraded=" + yes(d.degraded))
    zones = d.zones[0].name + (" and %d more" % (len(d.zones) - 1) if len(d.zones) > 1 else "")
    say('zones="%s (%s)"' % (zones, case.basis if case.zones else "default"))
    if d.setter is not TWO:
        say('local="%s"' % local_rule(d))
    if case.preferences:
        say("flagged=" + (",".join(d.wishes.flagged) or "none"))
    say("checks=%d" % len(d.checks))
    for cap, since, until, limit, channels, own_category, own_subject, gap in d.checks:
        say("check.%s=%d,%d,%d,%d,%d,%s,%s,%d" % (
            cap.name, since, until, limit, sum([CLASS_BIT[c] for c in cap.classes]),
            sum([CHANNEL_BIT[c] for c in channels]), "own" if own_category else "any",
            "own" if own_subject else "any", gap // 1000))  # fmt: skip
    return " ".join(words)


def lines(seed, scene_number, cases):
    scene = Scene(seed, scene_number)
    out = []
    while len(out) < cases:
        case = scene.case()
        try:
            out.append("%d.%d | %s | %s\n" % (scene_number, len(out), " ".join(case.words), expected(case)))
        except Undecided:
            continue
    return out


def job(args, first, log):
    """Every jobs-th scene, to a C side of its own."""
    gc.disable()
    check = subprocess.Popen([args.check, "-"], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)
    scenes = -(-args.cases // Scene.CASES)
    for number in range(first, scenes, args.jobs):
        cases = min(Scene.CASES, args.cases - number * Scene.CASES)
        check.stdin.write("".join(lines(args.seed, number, cases)))
        if number // args.jobs % 50 == 49:
            gc.collect()
    check.stdin.close()
    return check.wait()


def run(args):
    began = time.monotonic()
    logs = [tempfile.TemporaryFile("w+") for _ in range(args.jobs)]
    children = []
    for first in range(args.jobs):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = job(args, first, logs[first])
            finally:
                os._exit(status)
        children.append(child)
    failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    for log in logs:
        log.seek(0)
        for line in log:
            print(line, end="")
    print("seed %s, %d cases, %.0f s%s" % (args.seed, args.cases, time.monotonic() - began, ", DIFFERENCES" if any(failed) else ""))
    return 1 if any(failed) else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", help="the program unit_policy_rules")
    parser.add_argument("--cases", type=int, default=1000000)
    parser.add_argument("--seed", default=date.today().isoformat())
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--scene", type=int, help="print the cases of this scene instead")
    args = parser.parse_args()
    if args.scene is not None:
        sys.stdout.writelines(lines(args.seed, args.scene, Scene.CASES))
        return 0
    if not args.check:
        parser.error("--check: the program unit_policy_rules is needed")
    return run(args)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""What the tests ran of posternd: report.py BUILD_DIR, after the tests of a build with --coverage.

Prints lines and branches of each file and room, and fails when
  - the rooms of the daemon in all are under LINES_PERCENT of their lines,
  - a branch in policy/ or in a parser was never taken and is not listed in tests/coverage/exceptions,
  - an entry of that list is covered after all, or no longer exists.

Counted is what a test can decide.  Not counted as gaps, by rule:
  - what is inside a line that never ran: the branch that would lead there is the gap (and a function never called);
  - the way out of ensure(), and branches within macros of others: RULE_MACROS;
  - the branch past the last case of a switch without default: such a switch is over an enum of ours and lists each
    value (-Wswitch-enum), so nothing goes there.  One untaken branch is forgiven on such a line, and one more where
    a case is the enum's count (SCOPE_N), which is no value.
"""
import collections
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXCEPTIONS = ROOT / 'tests/coverage/exceptions'
ROOMS = ('base', 'policy', 'connectors', 'store', 'gateway')
LINES_PERCENT = 90
# Each branch of these is taken or listed: all of policy/, and whatever reads bytes of others.
EXACT = """
policy/*.c
base/address.c base/civil.c base/json.c base/zone*.c
connectors/claims.c connectors/edit.c connectors/form.c connectors/json_scan*.c connectors/json_text.c connectors/post.c connectors/wire.c
connectors/plivo_callback.c connectors/plivo_dst.c connectors/plivo_parse.c connectors/sendgrid_envelope.c connectors/sendgrid_parse.c connectors/twilio_callback.c connectors/twilio_parse.c
gateway/conf_document.c gateway/conf_value.c
gateway/http_body.c gateway/http_grammar.c gateway/http_proto.c gateway/upstream_parse.c
connectors/mime*.c connectors/body_look.c connectors/sendgrid_content.c base/card_number.c base/markup.c
connectors/mailbox.c connectors/mailgun_*.c connectors/multipart.c
connectors/mail_*.c connectors/smtp*.c gateway/smtp_proto*.c gateway/smtp_client_*.c
""".split()
RULE_MACROS = re.compile(r'\b(ensure|IN6_IS_ADDR_\w+)\(')
KINDS = ('closed', 'memory', 'compiler')


class Source:
    """Lines and branches of one file, summed over the programs and inline copies that gcov saw."""

    def __init__(self, path):
        self.path = path
        self.lines = {}  # number -> times run
        self.branches = {}  # number -> [times taken]
        self.function = {}  # number -> name
        self.functions = {}  # name -> [first line, times called]
        self.text = [''] + (ROOT / path).read_text().splitlines()

    def add(self, seen):
        for f in seen['functions']:
            self.functions.setdefault(f['name'], [f['start_line'], 0])[1] += f['execution_count']
        here = collections.defaultdict(list)
        for line in seen['lines']:
            n = line['line_number']
            self.lines[n] = self.lines.get(n, 0) + line['count']
            self.function.setdefault(n, line.get('function_name', ''))
            here[n] += [b['count'] for b in line['branches']]
        for n, taken in here.items():
            old = self.branches.get(n, [])
            if taken:
                self.branches[n] = [a + b for a, b in zip(old, taken)] if len(old) == len(taken) else taken

    def statement(self, number):
        """The line where the statement begins that this line continues."""
        while number > 1 and not re.search(r'([;{}:]|\*/)\s*(/\*.*\*/)?\s*$', self.text[number - 1]) and self.text[number - 1].strip():
            number -= 1
        return self.text[number].strip()

    def impossible_cases(self, number):
        """Of the switch on this line: how many branches lead from no value of its enum."""
        indent = self.text[number][: len(self.text[number]) - len(self.text[number].lstrip())]
        n = 1
        for text in self.text[number + 1:]:
            if text.startswith(indent + '}'):
                break
            if text.startswith(indent + 'default:'):
                return 0
            n += bool(re.match(re.escape(indent) + r'case [A-Z_]+_N:', text))
        return n

    def gaps(self):
        """(function, text of the line, number) of each branch that a test could take and none did."""
        for name, (start, calls) in self.functions.items():
            if calls == 0 and not name.startswith('__'):  # those are inlines of the C library
                yield name, '(never called)', start
        for n, taken in sorted(self.branches.items()):
            missed = taken.count(0)
            text = self.text[n].strip()
            if missed == 0 or self.lines[n] == 0 or RULE_MACROS.search(text) or RULE_MACROS.search(self.statement(n)):
                continue
            if text.startswith('switch (') and missed <= self.impossible_cases(n):
                continue
            yield self.function[n], text, n


def measure(build):
    """Path -> Source, of the daemon's rooms."""
    sources = {}
    counted = [p for p in build.rglob('*.gcno') if not str(p.relative_to(build)).startswith('tests')]
    if not counted:
        sys.exit(f'report.py: no .gcno under {build}: was it built with the preset "coverage"?')
    out = subprocess.run(['gcov', '--branch-probabilities', '--branch-counts', '--json-format', '--stdout', *map(str, counted)],
                         check=True, capture_output=True, text=True, cwd=build).stdout
    for document in filter(None, out.splitlines()):
        answer = json.loads(document)
        for seen in answer['files']:
            path = pathlib.Path(answer['current_working_directory'], seen['file']).resolve()
            if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in ROOMS:
                continue
            name = str(path.relative_to(ROOT))
            sources.setdefault(name, Source(name)).add(seen)
    return sources


def share(part, whole):
    return f'{part:6d}/{whole:6d} {100 * part / whole if whole else 100:6.1f} %'


def table(sources):
    """Print it; returns (lines run, lines) in all."""
    rooms = collections.defaultdict(lambda: [0, 0, 0, 0])
    rows = []
    for name, source in sorted(sources.items()):
        branches = [taken for line in source.branches.values() for taken in line]
        row = [sum(map(bool, source.lines.values())), len(source.lines), sum(map(bool, branches)), len(branches)]
        rows.append((name, row))
        for key in (name.split('/')[0], 'all'):
            rooms[key] = [a + b for a, b in zip(rooms[key], row)]
    for name, row in rows + sorted(rooms.items(), key=lambda kv: (*ROOMS, 'all').index(kv[0])):
        print(f'{name:36s} lines {share(*row[:2])}   branches {share(*row[2:])}')
    return rooms['all'][:2]


def read_exceptions():
    """(file, function, text) -> kind; errors are printed and counted."""
    listed, wrong = {}, 0
    for number, line in enumerate(EXCEPTIONS.read_text().splitlines(), 1):
        if not line.strip() or line.startswith('#'):
            continue
        parts = line.split(' ## ')
        kind = parts[2].split(':')[0].strip() if len(parts) == 3 else ''
        if kind not in KINDS or parts[0].count(':') != 1:
            print(f'exceptions:{number}: want "file:function ## text of the line ## kind: reason", kind one of {", ".join(KINDS)}')
            wrong += 1
            continue
        key = (*parts[0].split(':'), parts[1].strip())
        if key in listed:
            print(f'exceptions:{number}: listed twice: {line}')
            wrong += 1
        listed[key] = kind
    return listed, wrong


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    sources = measure(build)
    run, lines = table(sources)
    listed, wrong = read_exceptions()
    exact = {str(p.relative_to(ROOT)) for pattern in EXACT for p in ROOT.glob(pattern)}
    found = {}
    for name in sorted(exact & sources.keys()):
        for function, text, number in sources[name].gaps():
            found.setdefault((name, function, text), number)
    for key, number in found.items():
        if key not in listed:
            print(f'not taken: {key[0]}:{key[1]} ## {key[2]} ##   (line {number})')
            wrong += 1
    for key in sorted(listed.keys() - found.keys()):
        print(f'listed, but covered or gone: {key[0]}:{key[1]} ## {key[2]}')
        wrong += 1
    for name in sorted(exact - sources.keys()):
        print(f'never built with coverage: {name}')
        wrong += 1
    kinds = collections.Counter(listed.values())
    print(f'exceptions: {len(listed)} (' + ', '.join(f'{kind} {kinds[kind]}' for kind in KINDS) + ')')
    if 100 * run < LINES_PERCENT * lines:
        print(f'lines of the daemon: {100 * run / lines:.1f} %, want {LINES_PERCENT} %')
        wrong += 1
    print(f'{len(exact)} files to be covered in full, {wrong} faults')
    sys.exit(wrong > 0)


if __name__ == '__main__':
    main()

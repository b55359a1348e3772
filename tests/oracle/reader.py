#!/usr/bin/python3
"""
Whom does it name?  Odd, broken and hostile mails and calls go through Postern's readers (unit_connectors_second_reader,
which sends to nobody whose address holds "blocked" or "666"); what would leave is read here by Python's email, json and
urllib and by readers that are sloppier than those, and must name exactly who was sent to, by every one of them.

  tests/oracle/reader.py build/dev/tests/unit_connectors_second_reader CASES     READER_SEED repeats a run; default: the date

Exits 1 at the first difference, and prints the request, what left, and who read what.
"""
import email
import email.errors
import email.header
import json
import os
import re
import struct
import subprocess
import sys
from datetime import date
from email.utils import getaddresses
from inspect import signature
from random import Random
from urllib.parse import parse_qsl, quote, quote_plus

SMTP, MAILGUN, PLIVO = range(3)
PEOPLE = ("a@x.test", "b@x.test", "C.c@X.test", "d+tag@y.test", "blocked1@x.test", "blocked2@y.test", "Blocked3@X.test".lower())
NASTY = [bytes([b]) for b in b'\r\n\0"\\<>,;:()[]{} \t=&%+@.\x0b\x0c\x1c\x7f\x85\xa0'] + [
    b"\r\n", b"\r\n ", b"\n\n", b"\r\n\r\n", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\\u0022", b"\\u000a", b"%22", b"%0d%0a", b"&to=blocked1%40x.test",
    b"=?utf-8?q?=22?=", b"\r\nX-SMTPAPI: {\"to\":[\"blocked1@x.test\"]}", b"\r\n.\r\n", b"/*", b"\xc0\xaf", b"\xff"]
# Since the repair of CVE-2023-27043 a list with an empty place is none at all, unless it is asked for so.
LENIENT = {"strict": False} if "strict" in signature(getaddresses).parameters else {}
ADDING = ("bcc", "bypass_list_management", "bypass_unsubscribe_management", "bypass_spam_management", "bypass_bounce_management")
LOOKALIKES = {"t": "\uff54", "o": "\u043e", "-": "\u2010"}


class Difference(Exception):
    pass


def demand(true, what):
    if not true:
        raise Difference(what)


# --- making requests ------------------------------------------------------------------------

class Dice(Random):
    """How odd a request is, is drawn once: else hardly one would have a single oddity and be taken."""
    wild = 1.0

    def odd(self, chance):
        return self.random() < chance * self.wild


def mailbox(r, address):
    """An address as it may stand in a list, now and then with somebody else hidden in it."""
    other = r.choice(PEOPLE)
    return r.choice((
        "{a}", "{a}", "{a}", "<{a}>", "Ann <{a}>", '"Ann, B." <{a}>', '"{o}" <{a}>', "{o} <{a}>", "{a} ({o})", "({o}) {a}", "{a},{o}", "{a};{o}", "{a} {o}",
        "<{a}> <{o}>", "<{a}>{o}", "grp: {a}, {o};", '"{a}"', '"q\\"{o}" <{a}>', '"\\\\" <{a}>', "=?utf-8?q?Ann?= <{a}>", "=?utf-8?b?QW5u?= <{a}>",
        "Ann\t<{a}>", "<{o}:{a}>", "<@y.test,@z.test:{a}>", "{a}\x00{o}", "{a}\n{o}", ", ,{a},,", '"unclosed <{a}>', "Ann <{a}", "{a}>", "\u202e{a}", "{a}.",
    )).format(a=address, o=other)


def json_text(r, s):
    def one(c):
        if r.odd(0.06):
            return "".join(f"\\u{unit:04x}" for unit in struct.unpack(f">{len(c.encode('utf-16-be', 'surrogatepass')) // 2}H", c.encode("utf-16-be", "surrogatepass")))
        return json.dumps(c, ensure_ascii=False)[1:-1]
    return '"' + "".join(one(c) for c in s) + '"'


def json_value(r, value):
    blank = r.choice(("", "", "", " ", "\t", "  "))
    if isinstance(value, dict):
        value = list(value.items())
        if r.odd(0.08) and value:
            value.insert(r.randrange(len(value) + 1), r.choice(value))
        return "{" + ("," + blank).join(blank + json_text(r, k) + blank + ":" + json_value(r, v) for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ("," + blank).join(json_value(r, one) + blank for one in value) + "]"
    return json_text(r, value) if isinstance(value, str) else json.dumps(value)


def key_name(r, name):
    if not r.odd(0.1):
        return name
    return r.choice((name.upper(), name.title(), name + " ", " " + name, name + "\u0000", "".join(LOOKALIKES.get(c, c) for c in name), name + "[]", name + "[0]"))


def smtpapi(r):
    to = [mailbox(r, r.choice(PEOPLE)) if r.odd(0.2) else r.choice(PEOPLE) for _ in range(r.randint(1, 5))]
    n = len(to) if not r.odd(0.1) else len(to) + 1
    whole = {}
    if r.random() < 0.85:
        whole[key_name(r, "to")] = to if not r.odd(0.05) else r.choice((to[0], [to], {"0": to[0]}, None))
    if r.random() < 0.5:
        whole[key_name(r, "sub")] = {name: [f"v{i}" for i in range(n)] for name in ("-a-", "to")}
    if r.random() < 0.3:
        whole["unique_args"] = {"to": [r.choice(PEOPLE)], "x": "y"}
    if r.random() < 0.2:
        whole["filters"] = {r.choice(ADDING + ("footer", "BCC")): {"settings": {"enable": r.choice((0, 1, "1", "0", True)), "email": "blocked1@x.test"}}}
    if r.random() < 0.2:
        whole["send_at"] = r.choice((1, 1795341600 + 3600))
    items = list(whole.items())
    r.shuffle(items)
    return json_value(r, dict(items))


def folded(r, value):
    out = ""
    for c in value:
        out += c
        if c in ", " and r.random() < 0.15:
            out += "\r\n" + r.choice((" ", "\t", "  "))
    return out


def field_name(r, name):
    if not r.odd(0.15):
        return r.choice((name, name, name.lower(), name.upper()))
    return r.choice((name + " ", name + "\t", " " + name, name.replace("-", "_"), name + "\0", "=?utf-8?q?" + name + "?=", name.replace("-", "\u2010"), name + ":", "\ufeff" + name))


def header(r, lists):
    lines = ["From: shop@x.test", "To: " + mailbox(r, r.choice(PEOPLE)), "Subject: s"]
    for _ in range(lists):
        value = folded(r, smtpapi(r))
        if r.odd(0.08):
            value = email.header.Header(value.replace("\r\n", ""), "utf-8", maxlinelen=200).encode(linesep="\r\n")
        lines.append(field_name(r, "X-SMTPAPI") + ":" + r.choice((" ", "", "\t", "\r\n ")) + value)
    for _ in range(r.choice((0, 0, 1, 2))):
        name, value = r.choice((("X-Postern-Topic", "t"), ("Idempotency-Key", "k"), ("X-Postern-Priority", "P1"), ("X-Postern-Override", "ovr_x"), ("X-Postern-Language", "en"), ("X-Postern-", "z")))
        lines.append(field_name(r, name) + ":" + r.choice((" ", "\r\n ", "")) + value)
    r.shuffle(lines)
    return lines


def mutated(r, body):
    for _ in range(r.choice((0, 0, 0, 1, 1, 2, 3)) if r.odd(1) else 0):
        at = r.randrange(len(body) + 1)
        what = r.random()
        body = body[:at] + (r.choice(NASTY) if what < 0.7 else b"") + body[at + (1 if what > 0.4 else 0):]
    return body


def smtp_request(r):
    rcpts = [r.choice(PEOPLE) for _ in range(r.randint(1, 4))]
    fields = [("MAIL", "FROM:<shop@x.test>")] + [("RCPT", f"TO:<{one}>") for one in rcpts] + [("CLIENT", "c.test")]
    nested = "\r\n".join(("--b", "Content-Type: message/rfc822", "", "X-SMTPAPI: {\"to\":[\"blocked1@x.test\"]}", "X-Postern-Topic: t", "", "x", "--b--", ""))
    body = "\r\n".join(header(r, r.choice((0, 1, 1, 1, 1, 2)))) + r.choice(("\r\n\r\nHello\r\n", "\r\n\r\n" + nested) if not r.odd(0.6) else ("", "\r\n", "\r\n \r\nX-SMTPAPI: {\"to\":[\"blocked1@x.test\"]}\r\n\r\n"))
    return "SMTP", "", fields, mutated(r, body.encode("utf-8", "surrogatepass"))


def people_list(r):
    return r.choice((",", ", ", ",\t")).join(mailbox(r, r.choice(PEOPLE)) if r.odd(0.15) else r.choice(PEOPLE) for _ in range(r.randint(1, 4)))


def parameters(r, mime):
    pairs = [(r.choice(("to", "to", "to", "cc", "bcc")), people_list(r)) for _ in range(r.randint(1, 4))] + [("from", "shop@x.test"), ("subject", "s")]
    if r.random() < 0.5:
        pairs.append(("recipient-variables", json_value(r, {one: {"i": 1} for one in r.sample(PEOPLE, 3)})))
    if r.random() < 0.3:
        pairs.append((r.choice(("o:deliverytime-optimize-period", "o:time-zone-localize")), "24h"))
    if r.random() < 0.4:
        pairs.append((r.choice(("h:X-Postern-Topic", "h:x-postern-topic", "v:postern_topic", "h:Idempotency-Key", "h:X-Mailgun-Tag", "h:To", "H:X-Postern-Topic", "h:X-Postern-Topic ")), "t"))
    if mime:
        lines = ["From: shop@x.test", "To: " + people_list(r), r.choice(("X-Mailgun-Tag: t", "X-Postern-Topic: t", "x-postern-topic:\r\n t", "X-Mailgun-Time-Zone-Localize: 02:00", "X-A: b"))]
        if r.random() < 0.4:
            lines.append("X-Mailgun-Recipient-Variables: " + folded(r, json_value(r, {one: {"i": 1} for one in r.sample(PEOPLE, 3)})))
        r.shuffle(lines)
        pairs.append(("message", r.choice(("\r\n", "\r\n", "\n")).join(lines + ["", "Hello"])))
    else:
        pairs.append(("text", "Hello\r\nto=blocked1@x.test"))
    r.shuffle(pairs)
    return [(key_name(r, name) if r.odd(0.15) else name, value) for name, value in pairs]


def part(r, name, value):
    file = name == "message" or r.odd(0.02)
    disposition = f'form-data; name="{name}"' + ('; filename="m"' if file else "")
    if r.odd(0.08):
        disposition = r.choice(('form-data; name={n}', 'form-data; name="{n}"; name="to"', "form-data; name*=utf-8''{n}", 'form-data; name="x"; name*=utf-8\'\'{n}', 'form-data; filename="f"; name="{n}"; filename="g"',
                                'attachment; name="{n}"', 'form-data; NAME="{n}"', 'form-data; name="{n}";', 'form-data; name = "{n}"', 'form-data; name="\\{n}"', 'form-data; name="=?utf-8?q?{n}?="')).format(n=name)
    more = "" if not r.odd(0.6) else r.choice(("Content-Type: text/plain; charset=utf-8\r\n", "Content-Type: text/plain; charset=utf-7\r\n", "Content-Transfer-Encoding: base64\r\n", "Content-Disposition: form-data; name=\"cc\"\r\n", "X: y\r\n"))
    return f"--bound\r\nContent-Disposition: {disposition}\r\n{more}\r\n{value}\r\n"


def mailgun_request(r):
    mime = r.random() < 0.3
    pairs = parameters(r, mime)
    if mime or r.random() < 0.4:
        body = "".join(part(r, *one) for one in pairs) + r.choice(("--bound--\r\n", "--bound--\r\n", "--bound--", "--bound--\r\nepilogue"))
        kind = r.choice(("multipart/form-data; boundary=bound", 'multipart/form-data; boundary="bound"', "multipart/form-data; boundary=bound; charset=utf-8"))
    else:
        quoting = r.choice((quote, quote_plus, lambda s, **_: quote_plus(s, safe="@,<>\"")))
        body = "&".join(quoting(n, safe="") + "=" + quoting(v, safe="") for n, v in pairs)
        kind = "application/x-www-form-urlencoded"
    return "POST", "/v3/x.test/messages" + (".mime" if mime else ""), [("Content-Type", kind)], mutated(r, body.encode("utf-8", "surrogatepass"))


def number(r):
    digits = r.choice(("15550100001", "15550100002", "15550100003", "15550100666", "15550200666"))
    if not r.odd(0.3):
        return digits
    return r.choice(("+{d}", " {d}", "{d} ", "1-{r}", "+1 ({a}) {b}", "00{d}", "{d}x", "{d},15550100666", "{d};15550100666", "{d}\t", "\uff11{r}", "{d}\u0660", "{d}\u200b", "tel:{d}", "whatsapp:{d}", "{d}/666", "0{d}", "")).format(
        d=digits, r=digits[1:], a=digits[1:4], b=digits[4:])


def plivo_request(r):
    whole = {"src": "12125550199", "text": "Hi <15550100666"}
    dst = r.choice(("<", "<<", " < ", ",", "<\n") if r.odd(0.5) else ("<",)).join(number(r) for _ in range(r.randint(1, 6)))
    whole[key_name(r, "dst")] = dst if not r.odd(0.05) else r.choice(([dst], int("15550100001"), None))
    if r.random() < 0.2:
        whole["url"] = "https://x.test/dst"
    items = list(whole.items())
    r.shuffle(items)
    return "POST", "/v1/Account/MA1/Message/", [("Content-Type", "application/json")], mutated(r, json_value(r, dict(items)).encode("utf-8", "surrogatepass"))


# --- reading what left ------------------------------------------------------------------------

def people(texts):
    return {address.lower() for _, address in getaddresses(list(texts), **LENIENT) if address}


def no_twins(pairs):
    names = [name.lower() for name, _ in pairs]
    demand(len(set(names)) == len(names) or not {"to", "dst", "filters", "sub"} & set(names), f"a key twice: {names}")
    return dict(pairs)


def sloppy_header(content):
    """Lines ended by anything, names with blanks around them, up to the first line that looks empty."""
    fields = []
    for line in re.split(r"\r\n|\n|\r", content.decode("latin-1")):
        if not line.strip():
            break
        if line[0] in " \t" and fields:
            fields[-1][1] += " " + line.strip()
        else:
            name, _, value = line.partition(":")
            fields.append([name.strip(), value.strip()])
    return fields


def strict_header(content):
    return [[name, re.sub(r"\r?\n(?=[ \t])", "", str(value))] for name, value in email.message_from_bytes(content).raw_items()]


def is_ours(name):
    name = name.strip().lower()
    return name.startswith("x-postern-") or name == "idempotency-key"


def readings(value):
    """The value as it stands, unless it is nothing but encoded words, and with those undone."""
    try:
        decoded = "".join(s.decode(c or "ascii", "replace") if isinstance(s, bytes) else s for s, c in email.header.decode_header(value))
    except (LookupError, UnicodeError, email.errors.HeaderParseError):
        decoded = value
    return {decoded} | ({value} if not value.startswith("=?") else set())


def check_api(text, sent, envelope):
    whole = json.loads(text, object_pairs_hook=no_twins)
    for name, one in whole.get("filters", {}).items():
        on = str(one.get("settings", {}).get("enable", 0)) not in ("0", "False")
        demand(not (on and name.lower() in ADDING), f"the filter {name} is on")
    if "to" not in whole:
        return envelope
    demand(all(len(row) == len(whole["to"]) for row in whole.get("sub", {}).values()), "rows of another length")
    demand(envelope <= sent, f"the carrier {envelope} is none of {sent}")
    return people(whole["to"])


def read_smtp(request, answer):
    sent, envelope, body = answer.sent, answer.envelope, answer.body
    for read in (sloppy_header, strict_header):
        fields = read(body)
        demand(not [name for name, _ in fields if is_ours(name)], "a field of ours left")
        apis = [value.strip() for name, value in fields if name.strip().lower() == "x-smtpapi"]
        demand(len(apis) < 2, "two X-SMTPAPI left")
        for value in readings(apis[0]) if apis else ():
            named = check_api(value, sent, envelope)
            demand(named == sent, f"{read.__name__} reads {named}")
        demand(apis or envelope == sent, f"{read.__name__} finds no X-SMTPAPI")


def parts_by_email(kind, body):
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    return [(str(p.get_param("name", header="content-disposition")), p.get_payload(decode=True).decode("utf-8", "replace")) for p in message.get_payload()]


def parts_by_hand(kind, body):
    found = []
    for one in re.split(rb"\r?\n?--bound(?:--)?[ \t]*(?:\r?\n|$)", body):
        head, _, value = re.sub(rb"\r\n?|\n", b"\n", one).partition(b"\n\n")
        name = re.search(rb'name\*?="?(?:[\w-]*\'\')?([^";\n]*)', head, re.I)
        if name:
            found.append((name.group(1).decode("utf-8", "replace"), value.decode("utf-8", "replace")))
    return found


def read_mailgun(request, answer):
    sent, body = answer.sent, answer.body
    kind = dict(request[2])["Content-Type"]
    readers = (parts_by_email, parts_by_hand) if kind.startswith("multipart") else (lambda _, b: parse_qsl(b.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=2000),)
    for read in readers:
        pairs = [(name.strip().lower(), value) for name, value in read(kind, body)]
        named = people(value.replace("\r", "").replace("\n", " ") for name, value in pairs if re.sub(r"\[.*", "", name) in ("to", "cc", "bcc"))
        demand(named == sent, f"{getattr(read, '__name__', 'form')} reads {named}")
        for name, value in pairs:
            demand(not (name[:2] in ("h:", "v:") and (is_ours(name[2:]) or name.startswith("v:postern_"))), f"{name} left")
            demand(name not in ("o:deliverytime-optimize-period", "o:time-zone-localize"), f"{name} left")
            if name == "recipient-variables":
                check_variables(value, answer)
            if name == "message":
                for field, text in sloppy_header(value.encode()):
                    demand(not is_ours(field), f"{field} left in the mail")
                    if field.lower() == "x-mailgun-recipient-variables":
                        check_variables(text, answer)


def check_variables(text, answer):
    keys = {key.strip(" \t").lower() for key in json.loads(text, object_pairs_hook=no_twins)}
    demand(not keys & answer.held, f"variables of {keys} left")


def read_plivo(request, answer):
    sent, body = answer.sent, answer.body
    whole = json.loads(body, object_pairs_hook=no_twins)
    named = {"+" + re.sub(r"\D", "", one, flags=re.ASCII) for one in whole["dst"].split("<") if one.strip()}
    demand(named == sent, f"dst reads {named}")
    demand(not re.search(r"[^\d<+/.() -]", whole["dst"], flags=re.ASCII), f"dst holds more than numbers: {whole['dst']!r}")


# --- the C side ---------------------------------------------------------------------------------

def text(value):
    value = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    return struct.pack("<I", len(value)) + value


def frame(dialect, request):
    method, path, fields, body = request
    return text(struct.pack("<I", dialect) + text(method) + text(path) + struct.pack("<I", len(fields)) + b"".join(text(n) + text(v) for n, v in fields) + text(body))


class Answer:
    def __init__(self, stream):
        self.rest = stream.read(struct.unpack("<I", stream.read(4))[0])
        self.empty = not self.rest
        if self.empty:
            return
        messages = [(self.number(), self.text().decode()) for _ in range(self.number())]
        self.sent, self.held = ({address.lower() for send, address in messages if bool(send) == want} for want in (True, False))
        self.envelope = {self.text().decode().lower() for _ in range(self.number())}
        self.body = self.text()

    def number(self):
        value, self.rest = struct.unpack("<I", self.rest[:4])[0], self.rest[4:]
        return value

    def text(self):
        n = self.number()
        value, self.rest = self.rest[:n], self.rest[n:]
        return value


def main():
    program, cases = sys.argv[1], int(sys.argv[2])
    seed = os.environ.get("READER_SEED", str(date.today()))
    r = Dice(seed)
    make, read = (smtp_request, mailgun_request, plivo_request), (read_smtp, read_mailgun, read_plivo)
    taken = [0, 0, 0]
    child = subprocess.Popen([program, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for case in range(cases):
        dialect, r.wild = case % 3, r.choice((0.05, 0.3, 1))
        request = make[dialect](r)
        child.stdin.write(frame(dialect, request))
        child.stdin.flush()
        answer = Answer(child.stdout)
        if answer.empty:
            continue
        taken[dialect] += 1
        try:
            read[dialect](request, answer)
        except Exception as why:
            print(f"READER_SEED={seed} case {case}: {why!r}\nrequest: {request}\nsent to: {sorted(answer.sent)}, by the envelope {sorted(answer.envelope)}\nleft: {answer.body}")
            sys.exit(1)
    child.stdin.close()
    print(f"{cases} requests, READER_SEED={seed}; left of mails, calls to Mailgun, calls to Plivo: {taken}")
    sys.exit(child.wait() or min(taken) < cases // 100)


main()

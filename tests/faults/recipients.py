#!/usr/bin/env python3
"""Read forwarded bodies as Python's own parsers do, and compare the recipients with those that Postern decided about.

Lines of JSON on stdin: {"dialect", "body" in base64, "evaluated": [...]}; prints each difference, and how many were read.
"""
import base64
import json
import sys
import urllib.parse


def whole(pairs):
    """An object with every value of a name: a parser that takes the first and one that takes the last must agree."""
    out = {}
    for name, value in pairs:
        out.setdefault(name, []).append(value)
    return out


def canonical(email):
    """As the audit has it: the domain as IDNA's A-labels in lower case."""
    local, _, domain = email.rpartition("@")
    return local + "@" + domain.encode("idna").decode().lower()


def mail(body):
    found = []
    for outer in json.loads(body, object_pairs_hook=whole).get("personalizations", []):
        for one in outer:
            for kind in ("to", "cc", "bcc"):
                for people in one.get(kind, []):
                    found += [canonical(email) for person in people or [] for email in person.get("email", [])]
    return found


def sms(body):
    return urllib.parse.parse_qs(body.decode("utf-8"), keep_blank_values=True, separator="&").get("To", [])


read = 0
for line in sys.stdin:
    row = json.loads(line)
    body = base64.b64decode(row["body"])
    try:
        seen = (mail if row["dialect"] == "sendgrid" else sms)(body)
    except Exception as error:  # what one parser cannot read must not have been forwarded
        seen = [repr(error)]
    read += 1
    if sorted(map(str, seen)) != sorted(row["evaluated"]):
        print(json.dumps({"seen": seen, "evaluated": row["evaluated"], "body": body.decode("utf-8", "replace")}))
print(f"read {read}")

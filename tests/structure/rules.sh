#!/usr/bin/env bash
# The data of rules/ against what others know of the same: area codes and holidays, every difference with its reason;
# and the documentation names every pack.
set -euo pipefail
cd "$(dirname "$0")/../.."
/usr/bin/python3 tests/rules/nanp.py
/usr/bin/python3 tests/rules/calendars.py
for pack in rules/*.yaml; do
    name=$(basename "$pack" .yaml)
    grep -qE "^\| .*\`$name\`.* \| .* \|" docs/POLICY.md || { echo "docs/POLICY.md: the table of packs lacks $name"; exit 1; }
done

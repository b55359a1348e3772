#!/usr/bin/env bash
# The data of rules/ against what others know of the same: area codes and holidays, every difference with its reason.
set -euo pipefail
cd "$(dirname "$0")/../.."
/usr/bin/python3 tests/rules/nanp.py
/usr/bin/python3 tests/rules/calendars.py

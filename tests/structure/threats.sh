#!/usr/bin/env bash
# docs/THREAT-MODEL.md names the test that holds each threat off: the file is there, and the test in it.
set -u
bad=0
n=0
while IFS= read -r entry; do
    n=$((n + 1))
    file=${entry%%: *}
    name=${entry#*: }
    [ -f "tests/$file" ] || { echo "docs/THREAT-MODEL.md: there is no tests/$file"; bad=1; continue; }
    [ "$name" = "$entry" ] || tr '’' "'" <"tests/$file" | sed "s/\\\\'/'/g" | grep -qF -- "$name" || { echo "docs/THREAT-MODEL.md: tests/$file has no test \"$name\""; bad=1; }
done < <(grep -oE '`(unit|e2e|fuzz|crash|faults)/[^`]+`' docs/THREAT-MODEL.md | tr -d '`')
[ "$n" -ge 40 ] || { echo "only $n tests were found in docs/THREAT-MODEL.md: has its form changed?"; bad=1; }
exit $bad

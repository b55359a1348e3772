#!/usr/bin/env bash
# The map of docs/ARCHITECTURE.md (section 2) names every file of the rooms, and nothing that is not there.
set -uf
bad=0
map=$(sed -n '/^## 2\./,/^## 3\./p' docs/ARCHITECTURE.md | grep '^|' | cut -d'|' -f2)
patterns=()
for word in $(grep -oE '`[^`]+`' <<<"$map" | tr -d '`'); do
    [[ $word == */* ]] && folder=${word%/*} || word=$folder/$word
    [[ $word == */ ]] && word+='*'
    patterns+=("$word")
done
files=$(git ls-files base policy connectors store gateway ctl include rules)
for file in $(grep -E '\.(c|h|lua|def|sql)$' <<<"$files"); do
    for pattern in "${patterns[@]}"; do
        # shellcheck disable=SC2053 # a pattern
        [[ $file == $pattern || ${file%.h}.c == $pattern ]] && continue 2
    done
    echo "$file has no row in the map of docs/ARCHITECTURE.md"
    bad=1
done
for pattern in "${patterns[@]}"; do
    # shellcheck disable=SC2053
    while read -r file; do [[ $file == $pattern ]] && continue 2; done <<<"$files
$(git ls-files tests)"
    echo "docs/ARCHITECTURE.md: nothing in the tree matches $pattern"
    bad=1
done
exit $bad

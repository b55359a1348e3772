#!/usr/bin/env bash
# Every relative link of a document leads to a file, and to a heading of it.
set -u
bad=0
anchors() { sed -nE '/^```/,/^```/d; s/^#+ (.*)$/\1/p' "$1" | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'; }
for doc in $(git ls-files '*.md'); do
    while IFS= read -r link; do
        file=${link%%#*}
        target=$(dirname "$doc")/$file
        [ -n "$file" ] || target=$doc
        [ -e "$target" ] || { echo "$doc: $link leads nowhere"; bad=1; continue; }
        case $link in *.md#* | \#*) anchors "$target" | grep -qxF -- "${link#*#}" || { echo "$doc: $link: no such heading"; bad=1; } ;; esac
    done < <(grep -oE '\]\([^) ]+\)' "$doc" | sed -E 's/^\]\(//; s/\)$//' | grep -vE '^(https?|mailto):')
done
exit $bad

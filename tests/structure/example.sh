#!/usr/bin/env bash
# The exercise of CONTRIBUTING.md: docs/examples/acme.patch adds a whole provider.  It applies to this tree and touches what
# the page promises, nothing else.  POSTERN_EXAMPLE=build: the patched tree is built, its cases run, its room stays pure.
set -u
patch=docs/examples/acme.patch
bad=0
git apply --check "$patch" || { echo "$patch does not apply: CONTRIBUTING.md says how to write it again"; bad=1; }
declare -A seen=()
while read -r added removed file; do
    case "$file" in
    connectors/acme*.c) seen[connector]=1 ;;
    connectors/registry.c) seen[row]=1; [ "$added" -eq 1 ] || { echo "$file: $added lines for one row"; bad=1; } ;;
    tests/connectors/acme/*.case) seen[cases]=1 ;;
    tests/fuzz/acme.c) seen[fuzz]=1 ;;
    docs/CONNECTORS.md) seen[section]=1 ;;
    *) echo "$patch touches $file, which a new provider should not have to"; bad=1 ;;
    esac
    [ "$removed" -eq 0 ] || { echo "$patch takes lines out of $file"; bad=1; }
    grep -qE "^    $file +\\| $added\$" CONTRIBUTING.md || { echo "CONTRIBUTING.md does not show $file | $added"; bad=1; }
done < <(git apply --numstat "$patch")
for part in connector row cases fuzz section; do
    [ -n "${seen[$part]:-}" ] || { echo "$patch has no $part"; bad=1; }
done
if [ "${POSTERN_EXAMPLE:-}" = build ] && [ "$bad" -eq 0 ]; then
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    git ls-files -z | tar -c --null -T - | tar -x -C "$tree" && (
        cd "$tree" && git init -q && git apply "$OLDPWD/$patch" && git add -A &&
            cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Debug -DPOSTERN_TESTS=ON >build.log 2>&1 &&
            ninja -C build unit_connectors_cases >>build.log 2>&1 || { tail -30 build.log; exit 1; }
        build/tests/unit_connectors_cases && bash tests/structure/purity.sh build && bash tests/structure/style.sh &&
            clang-format --dry-run -Werror connectors/acme*.c tests/fuzz/acme.c
    ) || bad=1
fi
exit $bad

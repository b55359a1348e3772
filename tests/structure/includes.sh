#!/usr/bin/env bash
# Knowledge points one way: who may include whom, and which library is known where.
set -u
[ -n "$(git ls-files '*.c')" ] || { echo "git lists no sources: run this in a clone"; exit 1; }
bad=0
forbid() { # ROOM-GLOB PATTERN WHY
    local hits
    hits=$(git ls-files "$1" | xargs grep -nE "$2" /dev/null)
    [ -z "$hits" ] || { printf '%s:\n%s\n' "$3" "$hits"; bad=1; }
}
for room in base policy connectors store; do
    forbid "$room/*" '#include "(gateway/|(loop|conf|upstream|http_listen|submission|profiles|counters|metrics|gateway)\.h)' "$room knows the gateway"
done
for room in base policy connectors; do
    forbid "$room/*" '#include ("postern/store\.h"|"store/)' "$room knows the store"
done
forbid 'policy/*' '#include "(postern/connector\.h|connectors/)' "policy knows a dialect"
forbid 'connectors/*' '#include "policy/' "a dialect knows the inside of policy"
forbid 'store/*' '#include "(policy|connectors)/' "the store knows the inside of a pure room"
forbid 'include/*' '#include <(event2|curl|hiredis|jansson|sqlite3|glib|openssl|yaml|cyaml|uthash|zlib)' "a contract knows a library"
only() { # LIBRARY-PATTERN FILES-REGEX
    local hits
    hits=$(git ls-files '*.c' '*.h' ':!tests' | grep -vE "$2" | xargs grep -nE "#include <$1" /dev/null)
    [ -z "$hits" ] || { printf '<%s> is known outside its place:\n%s\n' "$1" "$hits"; bad=1; }
}
only 'glib' '^base/zone_compiled\.c$'
only 'libexttextcat' '^base/language\.c$'
only 'gmime' '^connectors/mime\.c$'
only 'sqlite3' '^store/sqlite'
only 'curl/' '^(gateway/upstream_links?\.[ch]|ctl/)'
only 'event2/' '^gateway/(loop|http_|redis_)'
only 'hiredis/' '^gateway/redis_wire\.c$'
only 'cyaml|yaml\.h' '^gateway/conf'
exit $bad

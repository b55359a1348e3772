#!/usr/bin/env bash
# House style that a machine can see: banned functions, sizes of files, comments.
set -u
[ -n "$(git ls-files '*.c')" ] || { echo "git lists no sources: run this in a clone"; exit 1; }
bad=0
sources() { git ls-files '*.c' '*.h' ':!tests'; }
hits=$(sources | grep -v '^base/clock\.c$' | xargs grep -nE '(^|[^_[:alnum:]>.])(strcpy|strcat|sprintf|strtok|atoi|atol|sscanf|gets|localtime|gmtime|mktime|rand|alloca|getaddrinfo|system|popen|time|gettimeofday)\(' /dev/null | grep -vE '^[^:]+:[0-9]+: \*')
[ -z "$hits" ] || { printf 'banned functions:\n%s\n' "$hits"; bad=1; }
hits=$(sources | xargs grep -nE '(TODO|FIXME|XXX)' /dev/null)
[ -z "$hits" ] || { printf 'unfinished work:\n%s\n' "$hits"; bad=1; }
hits=$(sources | xargs grep -nE '^[[:space:]]*//' /dev/null)
[ -z "$hits" ] || { printf 'comments are /* */:\n%s\n' "$hits"; bad=1; }
for f in $(git ls-files '*.c' '*.h'); do
    n=$(wc -l <"$f")
    [ "$n" -le 800 ] || { echo "$f has $n lines: more than 800"; bad=1; }
done
for f in $(git ls-files '*.c' ':!tests'); do
    head -1 "$f" | grep -q '^/\*' || { echo "$f does not say at its head what it is for"; bad=1; }
done
exit $bad

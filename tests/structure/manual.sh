#!/usr/bin/env bash
# The manual pages: well formed, and complete: each key of the configuration's schema, each command and option of
# posternctl, each option of posternd has its place.
set -u
bad=0
plain() { sed $'s/.\b//g'; } # without overstrikes
lint=$(mandoc -T lint -W warning docs/*.[158]) || { printf 'mandoc:\n%s\n' "$lint"; bad=1; }

names() { # TABLE_MACRO HEADER: the words of an X(ID, "word") table
    sed -n "/define $1(X)/,/[^\\\\]\$/p" "$2" | grep -oE '"[a-z_.]+"' | tr -d '"'
}
keys() {
    grep -oE '(TEXT|NUMBER|WORD|SET|MAP|MAP_PTR|LIST|LIST_SOME|CYAML_FIELD_[A-Z_]+)\("[a-z_.]+"' gateway/conf_schema.c | sed 's/.*("//; s/"//'
    names CHANNELS include/postern/message.h
    names CLASSES include/postern/message.h
    names PREFERENCE_KEYS include/postern/profile.h
}
n=$(keys | sort -u | wc -l)
[ "$n" -ge 80 ] || { echo "only $n keys were found in conf_schema.c: has its form changed?"; bad=1; }
page=$(mandoc -T ascii docs/postern.yaml.5 | plain)
for key in $(keys | sort -u); do
    grep -qE "(^|[^a-z_.])${key//./\\.}([^a-z_]|\$)" <<<"$page" || { echo "docs/postern.yaml.5 does not name the key $key"; bad=1; }
done

page=$(mandoc -T ascii docs/posternctl.1 | plain)
for word in $(sed -nE 's/^ *\.name = "([^"]+)".*/\1/p' ctl/ctl_*.c | tr ' ' '\n' | sort -u); do
    grep -qw -- "$word" <<<"$page" || { echo "docs/posternctl.1 does not name the command $word"; bad=1; }
done
for option in $(grep -ohE '\{"[a-z-]+", ("[A-Z][^"]*"|NULL),' ctl/ctl_*.c | sed 's/{"//; s/".*//' | sort -u); do
    grep -qe "--$option" <<<"$page" || { echo "docs/posternctl.1 does not name --$option"; bad=1; }
done
page=$(mandoc -T ascii docs/posternd.8 | plain)
for option in $(grep -oE '\{"[a-z-]+", (no|required)_argument' gateway/main.c | sed 's/{"//; s/".*//'); do
    grep -qe "--$option" <<<"$page" || { echo "docs/posternd.8 does not name --$option"; bad=1; }
done
exit $bad

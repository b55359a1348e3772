#!/usr/bin/env bash
# The pure rooms need nothing from the outside that could wait, allocate, look at the clock or speak:
# the undefined symbols of policy and connectors are these, or functions of base.
set -u
allowed='^(_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__assert_fail|mem(cpy|set|cmp|move|chr|rchr|mem)|str(len|cmp|ncmp|chr|rchr|nlen|casecmp|ncasecmp|spn|cspn|str)|snprintf|vsnprintf|__(v?snprintf|memcpy|memset|memmove)_chk|qsort|bsearch|__ctype_(b|tolower|toupper)_loc)$'
# Of base, these: no clock, no heap, no file, no log.  (hash_siphash draws its key once a process: against crafted keys.)
base='^(slice_|buf_|arena_(alloc|bytes|calloc|strndup|slice|join|printf|mark|rewind)$|text_add$|u64_text$|address_|hash_(hex|unhex|base64|unbase64|hmac_sha1|hmac_sha256|sha256|siphash|equal)|errmsg_set$|ensure_failed$|date_|zone_(offset_s|to_local|to_utc_ms)$|rfc3339_|rfc2822_|http_date_parse$|retry_after_parse$|(channel|class|priority|sender_kind|opt_out_scope|source|preference_key|zone_basis|outcome|level|severity|reason|rule)_(name|parse|family|sentence)$|region_(parse|format|overlaps)$|local_rule_format$|decision_code$|card_number_(find|possible)$|markup_next$)'
# Of connectors/mime.c: what decodes bytes in memory that it is given.  (iconv_open may load a table: of a fixed list.)
decoders='^(g_mime_encoding_(init_decode|outlen|step)|iconv(_open|_close)?|__errno_location)$'
build=${1:-build/dev}
bad=0
for room in policy connectors; do
    lib=$build/lib$room.a
    [ -f "$lib" ] || { echo "$lib is missing"; exit 1; }
    own=$(nm --defined-only "$lib" | awk 'NF == 3 {print $3}' | sort -u)
    # A dialect may call the policy's one function for the words of a prompt: nothing of policy's rules.
    for symbol in $(nm --undefined-only "$lib" | awk '$1 == "U" {print $2}' | sort -u); do
        grep -qxF "$symbol" <<<"$own" && continue
        [[ $symbol =~ $allowed || $symbol =~ $base ]] && continue
        [ "$room" = connectors ] && [[ $symbol =~ $decoders ]] && continue
        echo "$room needs $symbol from outside"
        bad=1
    done
done
exit $bad

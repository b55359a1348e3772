# Sourced.  `command | progress LOG`: all output into LOG; on a terminal the latest line is shown, in place.
progress() {
    local line
    if [ -t 1 ]; then
        while IFS= read -r line; do
            printf '%s\n' "$line" >>"$1"
            printf '\r\033[K  %.110s' "$line"
        done
        printf '\r\033[K'
    else
        cat >>"$1"
    fi
}

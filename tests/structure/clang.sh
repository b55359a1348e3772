#!/usr/bin/env bash
# Each file that gcc compiles, tests included, is without a warning by clang at the same flags.  Nothing is built: the fuzz
# targets and the sanitized programs are, by gcc and clang, elsewhere.
set -u
build=${1:-build/dev}
[ -f "$build/compile_commands.json" ] || { echo "$build/compile_commands.json is missing: configure that build first"; exit 1; }
python3 - "$build/compile_commands.json" <<'PY' | xargs -0 -P"$(nproc)" -n1 sh -c || exit 1
import json, shlex, sys
for entry in json.load(open(sys.argv[1])):
    words = shlex.split(entry['command'])[1:]
    out = words.index('-o')
    del words[out:out + 2]
    words = ['clang', '-fsyntax-only'] + words
    print('cd ' + shlex.quote(entry['directory']) + ' && ' + shlex.join(words), end='\0')
PY

#!/usr/bin/env bash
# The main job: a library that scribbles over its program's data, without us and with us; then scan, map and run on real
# programs, the machine's Python with ssl, sqlite3 and ctypes, and openssl.
#
#   scripts/demo.sh IA2EXIT     IA2EXIT: the command line to show
#
# What it makes lies in build/demo. Ends with a non-zero status at the first step that fails.
set -euo pipefail
ia2exit=$(realpath -s "${1:?usage: scripts/demo.sh IA2EXIT}")
cd "$(dirname "$0")/.."
out=build/demo
mkdir -p "$out"

heading() {
    printf '\n\033[1m== %s\033[0m\n' "$*"
}

# Prints a command as one would type it, then runs it.
step() {
    local word shown=()
    for word in ia2exit "${@:2}"; do
        [[ $word =~ ^[A-Za-z0-9_./@+=:-]+$ ]] || word="'$word'"
        shown+=("$word")
    done
    printf '\033[2m$ %s\033[0m\n' "${shown[*]}"
    "$@"
}

# The same, of a program that a signal is to end: it must, or the demo has shown nothing.
step_ended_by() {
    local status=0
    step "${@:2}" || status=$?
    ((status == 128 + $1)) || {
        printf 'demo: exit status %s, expected %s\n' "$status" "$((128 + $1))" >&2
        exit 1
    }
}

heading "a library's exit handler resets a counter, which is its program's: without us nobody notices"
make --no-print-directory -s -C examples/scribble OUT="$PWD/$out/scribble"
printf '\033[2m$ %s\033[0m\n' "$out/scribble/ledger"
"$out/scribble/ledger"

heading "with us: culprit, victim and both symbols"
step_ended_by 11 "$ia2exit" run -p examples/scribble/policy.toml -- "$out/scribble/ledger"

heading "the same, only that handler abandoned"
step "$ia2exit" run -p examples/scribble/policy.toml --mode contain -- "$out/scribble/ledger"

# The interpreter itself: python3 may be a shim or a link. Its extension modules are loaded by dlopen, so they are named.
mapfile -t python < <(python3 - <<'END'
import importlib, os, sys

print(os.path.realpath(sys.executable))
for name in ("_ssl", "_sqlite3", "_ctypes"):
    path = getattr(importlib.import_module(name), "__file__", None)
    if path:  # else it is built into the interpreter
        print(os.path.realpath(path))
END
)
openssl=$(command -v openssl)
program='import ssl, sqlite3, ctypes; print(ssl.OPENSSL_VERSION, "- SQLite", sqlite3.sqlite_version)'

heading "scan: the destructors of Python, its extension modules and every object they need"
step "$ia2exit" scan "${python[@]}"

heading "map: which destructor belongs to which compartment"
step "$ia2exit" map -p examples/python.toml "${python[@]}" -o "$out/python.json"
"$ia2exit" map -p examples/python.toml "${python[@]}" --binary -o "$out/python.map" >/dev/null

heading "run: what ran when Python ended, each destructor with only its owner's memory open"
step "$ia2exit" run --map "$out/python.map" --trace "$out/python.jsonl" -- "${python[0]}" -c "$program"

heading "the same with openssl"
step "$ia2exit" scan "$openssl"
step "$ia2exit" map -p examples/openssl.toml "$openssl" -o "$out/openssl.json"
step "$ia2exit" run -p examples/openssl.toml --trace "$out/openssl.jsonl" -- "$openssl" version

heading "demo: done; maps and events are in $out"

#!/usr/bin/env bash
# The C tests and the test bed under AddressSanitizer, then the same, and the tests of the runtime in Python, under
# UndefinedBehaviorSanitizer. cmake/sanitizers.cmake says which code is watched by what.
#
#   scripts/run_with_asan.sh [address] [undefined]      both unless one is named
#
# Builds in build-asan and build-ubsan of the checkout; works from any folder. Everything runs, whatever fails before it;
# what cannot run is named with its reason; the last lines say what failed. Exit status 1 if anything did, 2 for a wrong
# argument.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
export DL_DEBUG_ROUNDS=1000 # of compartment_fini, which takes several times as long here
source=$PWD jobs=$(nproc) python=python3 failed=()
[ -x .venv/bin/python ] && python=$source/.venv/bin/python

# check NAME COMMAND…: runs it, and remembers the name if it fails.
check() {
    printf '\n== %s\n' "$1"
    "${@:2}" && return
    failed+=("$1")
    return 1
}

# ctest, with nothing but what failed on the terminal; a run without tests is a failure.
tests() {
    ctest --test-dir "$build" --output-on-failure --no-tests=error --timeout 300 -j "$jobs" "$@" |
        grep -Ev '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed )'
}

# left_out REASON TEST…: says so, and leaves a pattern of these in left_out_pattern.
left_out() {
    printf '\n== left out, because %s: %s\n' "$1" "${*:2}"
    left_out_pattern=$(IFS='|' && echo "^(${*:2})\$")
}

build_all() {
    quietly cmake -G Ninja -B "$build" -S . -DIA2_SANITIZER="$1" && ninja -C "$build" --quiet -j "$jobs"
}

# quietly COMMAND…: what it prints is shown only if it fails.
quietly() {
    local said
    said=$("$@" 2>&1) && return
    printf '%s\n' "$said"
    return 1
}

address() {
    build=$source/build-asan
    # The signals of a faulty destructor must reach whom they would reach without us: libasan's handler is not in the
    # way. libasan calls dlopen in the program's place, so the program's RUNPATH does not count: hence LD_LIBRARY_PATH.
    local options=handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0:handle_sigfpe=0:use_sigaltstack=0
    export LD_LIBRARY_PATH=$build/tests/dl_debug_test
    export ASAN_OPTIONS=$options:detect_leaks=1
    check "address: build" build_all address || return
    check "address: unit tests" tests -R '^unit_'
    # Ends of a process in which glibc itself leaves memory behind are among the scenarios.
    export ASAN_OPTIONS=$options:detect_leaks=0
    left_out "libasan registers in the name of others, and before the runtime is ready (under undefined all of them run)" \
        dl_debug_compartment_fini_ten_thousand_times dl_debug_compartment_fini_uses_slots_and_records_again \
        dl_debug_counters_add_up dl_debug_exit_phase2 dl_debug_transitions_of_mixed_handlers \
        dl_debug_transitions_of_crossed_registrations dl_debug_transitions_cover_every_kind_and_case
    check "address: test bed" tests -E "^unit_|$left_out_pattern"
    check "address: dl_debug_test as it stands" quietly ninja -C "$build" dl_debug_test
    unset LD_LIBRARY_PATH ASAN_OPTIONS
}

undefined() {
    build=$source/build-ubsan
    export UBSAN_OPTIONS=print_stacktrace=1
    check "undefined: build" build_all undefined || return
    check "undefined: unit tests and test bed" tests
    check "undefined: dl_debug_test as it stands" quietly ninja -C "$build" dl_debug_test
    check "undefined: the runtime in Python's tests" env PYTHONPATH=src IA2EXIT_LIBDIR="$build" \
        "$python" -m pytest -q -n "$jobs" tests/dl_debug_test tests/unit/test_runtime_*.py
    unset UBSAN_OPTIONS
}

for name in "$@"; do
    case $name in
    address | undefined) ;;
    *)
        echo "ia2exit: scripts/run_with_asan.sh: unknown sanitizer \"$name\": expected address, undefined or nothing" >&2
        exit 2
        ;;
    esac
done
for name in "${@:-address undefined}"; do
    # shellcheck disable=SC2086
    for each in $name; do "$each"; done
done
if [ ${#failed[@]} -gt 0 ]; then
    printf '\nsanitizers: failed: %s\n' "$(IFS=, && echo "${failed[*]}" | sed 's/,/, /g')" >&2
    exit 1
fi
printf '\nsanitizers: all good\n'

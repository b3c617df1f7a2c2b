#!/usr/bin/env bash
# Certifies for a built program that what ld.so will load, with its destructors and notes, is what its exit map says.
#
#   scripts/check_two_keys_ldd.sh --target T [--map MAP] […]      --help says more
#
# All that it says comes from `ia2exit check --only ldd` (docs/exit-handling.md, "Checking a map").
group=ldd
about='Certifies that what ld.so will load for T, with its destructors and notes, is what its exit map says.'
# shellcheck source=scripts/two_keys.sh
. "$(dirname "${BASH_SOURCE[0]}")/two_keys.sh"

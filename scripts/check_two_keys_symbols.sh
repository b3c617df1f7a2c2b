#!/usr/bin/env bash
# Certifies for a built program that no data crosses compartments, and no definition is taken from another one, unless
# that was allowed.
#
#   scripts/check_two_keys_symbols.sh --target T [--map MAP] […]      --help says more
#
# All that it says comes from `ia2exit check --only symbols` (docs/exit-handling.md, "Checking a map").
group=symbols
about='Certifies that the symbols that cross compartments when ld.so binds T agree with its exit map.'
# shellcheck source=scripts/two_keys.sh
. "$(dirname "${BASH_SOURCE[0]}")/two_keys.sh"

#!/usr/bin/env bash
# Sets up what building, testing and the demo need: system packages, then the virtual environment .venv.
#
#   scripts/setup.sh [--no-tests]      --no-tests: leave out what only the tests need
#
# Idempotent; when all is there it changes nothing, needs no network and takes a fraction of a second.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    echo "ia2exit: $*" >&2
    exit 2
}

# The packages of the lists given that dpkg does not know as installed, on one line.
missing_packages() {
    local wanted
    wanted=$(sed -e 's/#.*//' "$@" | xargs -n1 | sort -u)
    comm -23 <(echo "$wanted") \
        <(xargs -r dpkg-query -W -f='${db:Status-Status} ${Package}\n' <<<"$wanted" 2>/dev/null |
            sed -n 's/^installed //p' | sort -u) | xargs
}

# apt-get install, with fresh package lists only when the present ones do not do.
install_packages() {
    local as_root=() apt
    if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
    apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
    echo "installing Debian packages: $*"
    "${apt[@]}" install --no-install-recommends "$@" >/dev/null 2>&1 && return
    "${apt[@]}" update >/dev/null
    "${apt[@]}" install --no-install-recommends "$@" >/dev/null
}

can_install() {
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || { [ -t 0 ] && command -v sudo >/dev/null; }
}

system_packages() {
    local lists=(scripts/apt-packages.txt) missing
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        # Not Debian: the tools themselves are the test.
        for tool in gcc g++ cmake ninja pkg-config readelf openssl; do
            command -v "$tool" >/dev/null ||
                die "$tool: not found: install what the Debian packages $(sed -e 's/#.*//' "${lists[0]}" | xargs) hold"
        done
        return 0
    fi
    missing=$(missing_packages "${lists[@]}")
    if [ -n "$missing" ]; then
        can_install || die "missing Debian packages: as root, run: apt-get install $missing"
        # shellcheck disable=SC2086
        install_packages $missing
    fi
    [ "$1" = tests ] || return 0
    lists=(tests/apt-packages.txt)
    if [ -f tests/real/apt-packages.txt ]; then lists+=(tests/real/apt-packages.txt); fi
    missing=$(missing_packages "${lists[@]}")
    [ -n "$missing" ] || return 0
    if can_install; then
        # shellcheck disable=SC2086
        install_packages $missing
    else
        echo "ia2exit: tests that need these will be skipped: as root, run: apt-get install $missing" >&2
    fi
}

# A Python of version 3.11 or later that can make virtual environments; `python3` may be a shim, so each is asked.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "python3: expected Python 3.11 or later with the module venv; install one and set PYTHON to its path"
}

# The environment is remade when its Python is gone, and brought up to date when pyproject.toml changed.
virtual_environment() {
    local python pip stamp
    stamp="$PWD $(sha256sum <pyproject.toml)"
    [ "$(cat .venv/.ready 2>/dev/null)" = "$stamp" ] && .venv/bin/python -c '' 2>/dev/null && return
    if ! .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$(find_python)
        rm -rf .venv
        "$python" -m venv .venv
    fi
    echo "installing Python packages into .venv"
    pip=(.venv/bin/python -m pip install -q --disable-pip-version-check)
    # The backend first: without build isolation a second run needs no network.
    "${pip[@]}" "$(sed -n 's/^requires = \["\(scikit-build-core[^"]*\)"\]$/\1/p' pyproject.toml)"
    "${pip[@]}" --no-build-isolation -e '.[dev]'
    echo "$stamp" >.venv/.ready
}

# The kernel of the guest in which tests find protection keys: into a cache of the user's, once.
guest_kernel() {
    local as_root=()
    .venv/bin/python -c 'from ia2exit.vm.kernel import cached; cached()' 2>/dev/null && return
    echo "fetching a kernel for the guest (ia2exit vm --setup)"
    .venv/bin/ia2exit vm --setup >/dev/null && return
    if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
    "${as_root[@]}" apt-get -q update >/dev/null 2>&1 || true # lists that are too old name packages that are gone
    .venv/bin/ia2exit vm --setup >/dev/null ||
        echo "ia2exit: tests that need a guest will be skipped: run ia2exit vm --setup to see why" >&2
}

case "${1:-}" in
"") tests=tests ;;
--no-tests) tests=no-tests ;;
*) die "scripts/setup.sh: unknown argument \"$1\": expected --no-tests or nothing" ;;
esac
system_packages "$tests"
virtual_environment
if [ "$tests" = tests ]; then guest_kernel; fi

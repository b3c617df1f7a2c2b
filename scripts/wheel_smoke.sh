#!/usr/bin/env bash
# Builds the wheel, installs it in a fresh virtual environment elsewhere and uses it from another folder.
#
#   scripts/wheel_smoke.sh PYTHON     PYTHON: one that has the package `build` and the build backend
set -euo pipefail
python=$(realpath -s "${1:?usage: scripts/wheel_smoke.sh PYTHON}")
root=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What is tested is the wheel alone: nothing of the checkout may answer for it.
unset PYTHONPATH IA2EXIT_LIBDIR LD_PRELOAD

echo "== wheel: build"
"$python" -m build --wheel --no-isolation --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 || {
    tail -40 "$work/build.log" >&2
    exit 1
}
wheel=("$work"/dist/*.whl)
basename "${wheel[0]}"
"$python" -m zipfile -l "${wheel[0]}" >"$work/contents"
for part in ia2exit/lib/libia2.so ia2exit/lib/libia2_audit.so ia2exit/include/ia2_exit.h ia2exit/include/ia2_exit_note.h ia2exit/py.typed \
    ia2exit/data/shared-objects.txt ia2exit/schemas/scan.schema.json ia2exit/schemas/map.schema.json \
    ia2exit/schemas/policy.schema.json ia2exit/schemas/events.schema.json; do
    grep -qF "$part " "$work/contents" || {
        echo "ia2exit: ${wheel[0]##*/}: lacks $part" >&2
        exit 1
    }
done

echo "== wheel: install in a fresh environment"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "${wheel[0]}"

echo "== wheel: use"
cd "$work"
"$work/venv/bin/ia2exit" --version
timeout 60 "$work/venv/bin/ia2exit" scan /bin/true
timeout 60 "$work/venv/bin/ia2exit" run -- /bin/true
timeout 60 "$work/venv/bin/ia2exit" run --audit -- /bin/true
status=0
timeout 60 "$work/venv/bin/ia2exit" run -- /bin/false || status=$?
[ "$status" = 1 ] || {
    echo "ia2exit: run -- /bin/false from the wheel: exit status $status, expected 1" >&2
    exit 1
}
if command -v gdb >/dev/null; then
    timeout 120 "$work/venv/bin/ia2exit" gdb -nx -batch -ex break-destructor -ex run -ex 'info compartments' -- /bin/true >"$work/gdb" 2>&1 || true
    grep -q '^ 0  shared ' "$work/gdb" || {
        echo "ia2exit: gdb -- /bin/true from the wheel: info compartments shows nothing:" >&2
        tail -5 "$work/gdb" >&2
        exit 1
    }
fi
echo "== wheel: good"

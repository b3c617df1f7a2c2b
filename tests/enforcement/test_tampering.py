"""What the runtime goes by in memory is changed behind its back, in a whole process: it ends there, and says why.

The units are in tests/unit (``records_sealed.c``, ``map_image.c``): each bit. Here it is that the process looks at all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ia2exit.events import Fault

from .watching import (
    CONTAIN,
    CONTROL,
    ENFORCE,
    LIMIT,
    OBSERVE,
    OURS,
    ROOT,
    RUNTIME,
    SIGSEGV,
    Outcome,
    Way,
    build,
    check_unnoticed,
    kept,
    run,
    watch,
)

STATUS = 7
CLOSED = [*OBSERVE, *ENFORCE, *CONTAIN]
CHANGED = b"main: changed\n"
REGISTERED = b"main: what was registered runs\n"
INTRUDER = b"main: what nobody registered runs\n"

with_and_without_a_trace = pytest.mark.parametrize("traced", [True, False], ids=["traced", "untraced"])
every_who = pytest.mark.parametrize("who", ["main", "destructor"])


@pytest.fixture(scope="module")
def program() -> Path:
    return build(kept("tampering"), "tampering.c")


# ---- records ----


def bend(program: Path, who: str, way: Way, trace: Path, traced: bool) -> Outcome:
    """Run it, with a trace or without: destructors are called on another path then."""
    command: list[str | Path] = [program, "record", who]
    return watch(command, way, trace) if traced else run(command, LD_PRELOAD=str(RUNTIME), **way.environment)


@pytest.mark.parametrize("way", [CONTROL, *CLOSED], ids=str)
def test_what_was_registered_runs(program: Path, tmp_path: Path, way: Way) -> None:
    """The control: a record that nobody bends."""
    outcome = check_unnoticed([program, "record", "nobody"], way, tmp_path / "trace")
    assert outcome.status == STATUS
    assert REGISTERED in outcome.stdout


@every_who
def test_where_nothing_is_closed_nobody_looks(program: Path, tmp_path: Path, who: str) -> None:
    """The control: the place that is changed is the one that the runtime goes by."""
    outcome = watch([program, "record", who], CONTROL, tmp_path / "trace")
    assert outcome.status == STATUS
    assert CHANGED + INTRUDER in outcome.stdout
    assert REGISTERED not in outcome.stdout


@every_who
@with_and_without_a_trace
@pytest.mark.parametrize("way", [way for way in CLOSED if way.backend == "mprotect"], ids=str)
def test_a_changed_record_does_not_run(program: Path, tmp_path: Path, way: Way, traced: bool, who: str) -> None:
    outcome = bend(program, who, way, tmp_path / "trace", traced)
    assert outcome.status == -signal.SIGABRT
    assert CHANGED in outcome.stdout
    assert INTRUDER not in outcome.stdout
    assert REGISTERED not in outcome.stdout
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(OURS)
    assert b"an exit record was changed after its registration" in line
    assert not traced or "record was changed" in outcome.one(Fault).what


@pytest.mark.enforces
@every_who
@with_and_without_a_trace
@pytest.mark.parametrize("way", [way for way in CLOSED if way.backend == "pku"], ids=str)
def test_a_record_with_a_key_stays(program: Path, tmp_path: Path, way: Way, traced: bool, who: str) -> None:
    """In every mode: it is the runtime's, not another compartment's."""
    outcome = bend(program, who, way, tmp_path / "trace", traced)
    assert outcome.status == SIGSEGV
    assert CHANGED not in outcome.stdout
    assert INTRUDER not in outcome.stdout


# ---- the map ----


def test_a_changed_map_ends_the_process_when_the_exit_begins(program: Path, tmp_path: Path) -> None:
    """Only where no file may grow can it be changed at all: its memory is the process's own then, no sealed file's."""
    policy, made = tmp_path / "policy.toml", tmp_path / "map"
    policy.write_text('version = 1\n[compartments.program]\nobjects = ["@main"]\n')
    command: list[str | Path] = [sys.executable, "-m", "ia2exit", "map", "-q", "-p", policy, "--binary", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([*command, "-o", made], env=environment, timeout=LIMIT, check=True)
    script = 'ulimit -S -f "$1"; export LD_PRELOAD="$2"; exec "$0" map'

    sealed = run(["/bin/sh", "-c", script, program, "unlimited", RUNTIME], IA2_EXIT_MAP=str(made))
    assert sealed.status == 95, "nobody writes to a sealed file"
    outcome = run(["/bin/sh", "-c", script, program, "0", RUNTIME], IA2_EXIT_MAP=str(made))
    if outcome.status == 95:
        pytest.skip("this kernel lets nobody write to memory that is read-only (proc_mem.force_override)")
    assert outcome.status == -signal.SIGABRT
    assert b"runs" not in outcome.stdout
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(OURS)
    assert b"the exit map in memory was changed" in line

"""The variables that choose: modes and backends that are refused, the two ways to open everything, and the counters."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from ia2exit.events import CompartmentCounts, Counters, End, Enter, Leave, Start, Violation
from ia2exit.pkru import opens_everything

from .watching import (
    CLOSING,
    CONTAIN,
    CONTROL,
    ENFORCE,
    LIMIT,
    OBSERVE,
    OURS,
    ROOT,
    RUNTIME,
    SIGSEGV,
    WITH_SHARED_PAGES,
    Outcome,
    Way,
    build,
    kept,
    library,
    run,
    watch,
)

STATUS = 7
OUTCOMES = ("success", "fallback", "violation", "contained", "unenforced", "bypassed")

every_closing_way = pytest.mark.parametrize("way", [*OBSERVE, *ENFORCE, *CONTAIN], ids=str)


@pytest.fixture(scope="module")
def program() -> Path:
    """The program of test_secrets.py: ``secrets ACTION TARGET``."""
    folder = kept("switches")
    libraries = [library(folder, "culprit.c"), library(folder, "victim.c", WITH_SHARED_PAGES)]
    return build(folder, "secrets.c", *libraries)


def damage(program: Path, target: str = "page") -> list[str | Path]:
    """A library's destructor writes to main's data."""
    return [program, "writes", target]


def without_addresses(outcome: Outcome) -> bytes:
    """The output less its first line, which differs from run to run."""
    return outcome.stdout.split(b"\n", 1)[1]


def preloaded(program: Path, trace: Path, **environment: str) -> Outcome:
    """Run under the runtime with exactly these variables."""
    trace.unlink(missing_ok=True)
    done = run(damage(program), LD_PRELOAD=str(RUNTIME), IA2_TRACE_EXIT=str(trace), **environment)
    lines = trace.read_bytes().splitlines() if trace.exists() else []
    return Outcome(done.status, done.stdout, done.stderr, lines)


@pytest.fixture(scope="module")
def exit_map(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A binary map of the program."""
    folder = tmp_path_factory.mktemp("map")
    policy, made = folder / "policy.toml", folder / "map"
    policy.write_text('version = 1\n[compartments.culprit]\nobjects = ["libculprit.so"]\n')
    command: list[str | Path] = [sys.executable, "-m", "ia2exit", "map", "-q", "-p", policy, "--binary", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([*command, "-o", made], env=environment, timeout=LIMIT, check=True)
    return made


# ---- what is chosen ----


def test_without_a_map_it_is_observed(program: Path, tmp_path: Path) -> None:
    outcome = preloaded(program, tmp_path / "trace")
    start = outcome.one(Start)
    assert (start.mode, outcome.status) == ("observe", STATUS)
    assert start.backend in CLOSING
    assert len(outcome.violations) == 1


def test_with_a_map_it_is_enforced(program: Path, exit_map: Path, tmp_path: Path) -> None:
    outcome = preloaded(program, tmp_path / "trace", IA2_EXIT_MAP=str(exit_map))
    assert outcome.one(Start).mode == "enforce"
    assert outcome.status == SIGSEGV
    (event,) = outcome.violations
    assert event.destructor is not None
    assert event.destructor.owner_name == "culprit"


def test_auto_says_why_it_is_not_pku(program: Path, tmp_path: Path) -> None:
    start = preloaded(program, tmp_path / "trace", IA2_EXIT_BACKEND="auto").one(Start)
    assert start.backend == CLOSING[-1]
    assert (start.backend_why is None) == (start.backend == "pku")
    if start.backend_why is not None:
        assert "key" in start.backend_why


def test_observing_for_nobody_is_quiet(program: Path) -> None:
    """No trace, no counters: there is nothing to close anything for."""
    outcome = run(damage(program), LD_PRELOAD=str(RUNTIME))
    assert (outcome.status, outcome.stderr) == (STATUS, b"")
    assert b"main page: changed\n" in outcome.stdout


def test_enforcing_for_nobody_enforces(program: Path) -> None:
    outcome = run(damage(program), LD_PRELOAD=str(RUNTIME), IA2_EXIT_MODE="enforce")
    assert outcome.status == SIGSEGV
    assert outcome.stdout.endswith(b"main: before\n")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(OURS)


def test_enforcing_with_nothing_to_close_with_is_refused(program: Path) -> None:
    """Before the program does anything."""
    for mode in ("enforce", "contain"):
        outcome = run(damage(program), LD_PRELOAD=str(RUNTIME), IA2_EXIT_MODE=mode, IA2_EXIT_BACKEND="none")
        assert (outcome.status, outcome.stdout) == (2, b"")
        (line,) = outcome.stderr.splitlines()
        assert line.startswith(OURS)
        assert b"IA2_EXIT_BACKEND" in line
        assert b"none" in line


def test_keys_that_are_asked_for_are_used_or_refused(program: Path) -> None:
    outcome = run(damage(program), LD_PRELOAD=str(RUNTIME), IA2_EXIT_MODE="enforce", IA2_EXIT_BACKEND="pku")
    if "pku" in CLOSING:
        assert outcome.status == SIGSEGV
        return
    assert (outcome.status, outcome.stdout) == (2, b"")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(OURS)
    assert b"pku" in line


@pytest.mark.parametrize(
    ("variable", "value"), [("IA2_EXIT_MODE", "strict"), ("IA2_EXIT_BACKEND", "segments"), ("IA2_EXIT_MODE", "ENFORCE")]
)
def test_a_value_that_is_none_is_told(program: Path, variable: str, value: str) -> None:
    """Whoever asks for protection and misspells it must not run without it unawares."""
    outcome = run(damage(program), LD_PRELOAD=str(RUNTIME), **{variable: value})
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(OURS)
    assert variable.encode() in line
    assert value.encode() in line


@pytest.mark.enforces
@pytest.mark.parametrize("limit", ["-f 0", "-n 8", "-s 64"])
@pytest.mark.parametrize("way", [*ENFORCE, *CONTAIN], ids=str)
def test_a_limit_that_a_program_can_live_with_is_one_that_closing_can(program: Path, way: Way, limit: str) -> None:
    script = f'ulimit {limit}; export LD_PRELOAD="$1"; exec "$0" writes page'
    outcome = run(["/bin/sh", "-c", script, program, RUNTIME], **way.environment)
    assert outcome.status == (SIGSEGV if way.mode == "enforce" else STATUS)
    assert b"main: before\n" in outcome.stdout
    assert b"main page: changed\n" not in outcome.stdout
    assert b"violation" in outcome.stderr


# ---- everything open ----


@pytest.mark.enforces
@pytest.mark.parametrize("way", [*ENFORCE, *CONTAIN], ids=str)
def test_allow_all_opens_everything_and_says_so(program: Path, tmp_path: Path, way: Way) -> None:
    stopped = watch(damage(program), way, tmp_path / "stopped")
    assert len(stopped.violations) == 1
    assert b"main page: changed\n" not in stopped.stdout
    assert stopped.of(Start)[0].allow_all is False
    outcome = watch(damage(program), way, tmp_path / "trace", IA2_EXIT_ALLOW_ALL="1")
    without = run(damage(program))
    assert outcome.violations == []
    assert outcome.status == without.status == STATUS
    assert without_addresses(outcome) == without_addresses(without)
    assert b"main page: changed\n" in outcome.stdout
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(OURS)
    assert b"IA2_EXIT_ALLOW_ALL" in line
    assert outcome.of(Start)[0].allow_all is True
    virtual = way.backend != "pku"
    assert all(opens_everything(event.pkru_wanted or 0, virtual=virtual) for event in outcome.of(Enter))


@pytest.mark.enforces
@pytest.mark.parametrize("way", [*ENFORCE, *CONTAIN], ids=str)
def test_the_legacy_path_opens_everything_and_records_nothing(program: Path, tmp_path: Path, way: Way) -> None:
    trace = tmp_path / "trace"
    stopped = watch(damage(program), way, trace)
    assert len(stopped.violations) == 1
    outcome = preloaded(program, trace, **way.environment, IA2_EXIT_FORCE_LEGACY="1")
    without = run(damage(program))
    assert outcome.status == without.status == STATUS
    assert without_addresses(outcome) == without_addresses(without)
    assert b"main page: changed\n" in outcome.stdout
    assert [event.backend for event in outcome.of(Start)] == ["legacy"]
    assert not [event for event in outcome.events if isinstance(event, Enter | Leave | Violation)]


@pytest.mark.parametrize("variable", ["IA2_EXIT_ALLOW_ALL", "IA2_EXIT_FORCE_LEGACY"])
@pytest.mark.parametrize("value", ["0", ""])
def test_only_1_opens_everything(program: Path, tmp_path: Path, variable: str, value: str) -> None:
    outcome = watch(damage(program), ENFORCE[0], tmp_path / "trace", **{variable: value})
    assert outcome.status == SIGSEGV


# ---- counters ----


def check_counters(outcome: Outcome, of: Counters, each: list[CompartmentCounts]) -> None:
    """Disjoint, adding up, for each compartment and in total."""
    assert of.ran == sum(getattr(of, name) for name in OUTCOMES) == len(outcome.of(Enter))
    for name in ("ran", *OUTCOMES):
        assert getattr(of, name) == sum(getattr(one, name) for one in each), name
    assert len({one.id for one in each}) == len(each)
    for one in each:
        assert one.ran == sum(getattr(one, name) for name in OUTCOMES) > 0
        mine = [event.seq for event in outcome.of(Enter) if event.owner == one.id]
        assert one.ran == len(mine)
        assert {event.owner_name for event in outcome.of(Enter) if event.owner == one.id} == {one.name}
        for name in OUTCOMES[:-1]:
            left = [event for event in outcome.of(Leave) if event.outcome == name and event.seq in mine]
            ended = name == "violation" and [
                event
                for event in outcome.violations
                if event.action == "ended" and event.destructor and event.destructor.seq in mine
            ]
            assert getattr(one, name) == len(left) + (1 if ended else 0), name
    assert of.lost == of.out_of_order == of.bystander == 0


@pytest.mark.parametrize("target", ["page", "data"])
@pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
def test_counters_add_up(program: Path, tmp_path: Path, target: str, way: Way) -> None:
    outcome = watch(damage(program, target), way, tmp_path / "trace")
    check_counters(outcome, outcome.counters, outcome.of(CompartmentCounts))
    kinds = [type(event) for event in outcome.events]
    last = kinds[kinds.index(CompartmentCounts) :]
    assert last == [CompartmentCounts] * (len(last) - 2) + [Counters, End]


@pytest.mark.parametrize("way", OBSERVE, ids=str)
def test_switches_are_counted_by_what_they_cost(program: Path, tmp_path: Path, way: Way) -> None:
    """``mprotect``: two calls at most for a change of owner and for an object; ``pku``: none for a change of owner.

    And four WRPKRU a destructor besides the gate of each registration.
    """
    outcome = watch(damage(program), way, tmp_path / "trace")
    counters = outcome.counters
    owners = [event.owner for event in outcome.of(Enter)]
    changes = 1 + sum(1 for one, other in pairwise(owners) if one != other)
    objects = sum(1 for line in outcome.lines if b'"event":"object"' in line)
    assert counters.switches > 0
    if way.backend == "mprotect":
        assert 0 < counters.mprotect <= 2 * changes + 2 * objects
        assert counters.wrpkru == 0
    else:
        assert 0 < counters.mprotect <= 2 * objects
        assert 0 < counters.wrpkru <= 4 * counters.ran + 2 * counters.registered


def test_nothing_is_switched_where_nothing_is_closed(program: Path, tmp_path: Path) -> None:
    counters = watch(damage(program), CONTROL, tmp_path / "trace").counters
    assert (counters.switches, counters.wrpkru, counters.mprotect) == (0, 0, 0)


@every_closing_way
def test_counters_alone(program: Path, tmp_path: Path, way: Way) -> None:
    """``IA2_DIAG_EXIT``: the same numbers as beside a trace, and nothing else."""
    path = tmp_path / "counters"
    done = run(damage(program), LD_PRELOAD=str(RUNTIME), IA2_DIAG_EXIT=str(path), **way.environment)
    alone = Outcome(done.status, done.stdout, done.stderr, path.read_bytes().splitlines())
    traced = watch(damage(program), way, tmp_path / "trace")
    assert {type(event) for event in alone.events} == {CompartmentCounts, Counters}
    assert [type(event) for event in alone.events][-1] is Counters
    for name in ("registered", "ran", *OUTCOMES, "unknown", "foreign", "vague", "switches", "mprotect"):
        assert getattr(alone.counters, name) == getattr(traced.counters, name), name
    # Some lines of a trace are written through a gate of their own.
    assert (way.backend == "pku") == (0 < alone.counters.wrpkru <= traced.counters.wrpkru)
    numbers = [(one.name, *(getattr(one, name) for name in OUTCOMES)) for one in alone.of(CompartmentCounts)]
    assert numbers == [(one.name, *(getattr(one, name) for name in OUTCOMES)) for one in traced.of(CompartmentCounts)]


@every_closing_way
def test_counters_on_standard_error(program: Path, way: Way) -> None:
    done = run(damage(program), LD_PRELOAD=str(RUNTIME), IA2_DIAG_EXIT="1", **way.environment)
    lines = [line for line in done.stderr.splitlines() if line.startswith(b"{")]
    assert Outcome(0, b"", b"", lines).counters.ran > 0

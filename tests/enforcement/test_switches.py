"""The variables that choose: modes and backends that are refused, the two ways to open everything, and the counters."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from ia2exit.events import CompartmentCounts, Counters, End, Enter, Leave, Object, Start, Violation
from ia2exit.pkru import opens_everything

from .counting import OUTCOMES, TALLIES, check_counters
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


@pytest.mark.parametrize("target", ["page", "data"])
@pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
def test_counters_add_up(program: Path, tmp_path: Path, target: str, way: Way) -> None:
    outcome = watch(damage(program, target), way, tmp_path / "trace")
    check_counters(outcome)
    assert outcome.counters.bystander == 0
    kinds = [type(event) for event in outcome.events]
    last = kinds[kinds.index(CompartmentCounts) :]
    assert last == [CompartmentCounts] * (len(last) - 2) + [Counters, End]


@pytest.mark.parametrize("way", OBSERVE, ids=str)
def test_switches_are_counted_by_what_they_cost(program: Path, tmp_path: Path, way: Way) -> None:
    """``mprotect``: two calls at most for a change of owner and for an object; ``pku``: none for a change of owner.

    And two WRPKRU for the call of a destructor, the others for no compartment: gates, ours of signal handlers.
    """
    outcome = watch(damage(program), way, tmp_path / "trace")
    counters = outcome.counters
    each = {one.id: one for one in outcome.of(CompartmentCounts)}
    owners = [event.owner for event in outcome.of(Enter)]
    turns = [owners[0], *(other for one, other in pairwise(owners) if one != other)]
    objects = len(outcome.of(Object))
    (victim,) = {event.victim for event in outcome.violations}
    switches = {one.id: one.switches for one in each.values() if one.switches}
    if way.backend == "mprotect":
        assert switches == {owner: turns.count(owner) for owner in turns}
        assert counters.mprotect <= 2 * len(turns) + 2 * objects
        assert counters.wrpkru == 0
        for owner in each.keys() - {victim}:
            # Each piece: closed at the begin, opened for each turn and closed after it. Nobody opens it at the end.
            assert each[owner].mprotect > 0
            assert each[owner].mprotect % (2 * turns.count(owner) + (owner != turns[-1])) == 0, owner
        assert each[victim].mprotect > 2 * turns.count(victim) + (victim != turns[-1]), "the touched page besides"
    else:
        assert switches == {owner: owners.count(owner) for owner in turns}
        assert {id: one.wrpkru for id, one in each.items() if id} == {owner: 2 * owners.count(owner) for owner in turns}
        assert each[None].wrpkru > 0
        assert all(one.mprotect > 0 and one.mprotect % 2 == 0 for id, one in each.items() if id), "tagged and untagged"
        assert counters.mprotect <= 2 * objects


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
    rows = [(one, other) for one in alone.of(CompartmentCounts) for other in traced.of(CompartmentCounts)]
    for one, other in ((one, other) for one, other in rows if one.id == other.id):
        for name in (*OUTCOMES, *TALLIES):
            assert getattr(one, name) == getattr(other, name) or (name, one.id) == ("wrpkru", None)


@every_closing_way
def test_counters_on_standard_error(program: Path, way: Way) -> None:
    done = run(damage(program), LD_PRELOAD=str(RUNTIME), IA2_DIAG_EXIT="1", **way.environment)
    lines = [line for line in done.stderr.splitlines() if line.startswith(b"{")]
    assert Outcome(0, b"", b"", lines).counters.ran > 0

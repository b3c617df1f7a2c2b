"""Other threads: page protections are the whole process's, so ``mprotect`` closes nothing while another is alive."""

from __future__ import annotations

from pathlib import Path

import pytest

from ia2exit.events import CompartmentCounts, Enter, Leave

from .watching import (
    CONTAIN,
    CONTROL,
    ENFORCE,
    OBSERVE,
    SIGSEGV,
    Outcome,
    Way,
    build,
    check_unnoticed,
    kept,
    library,
    run,
    symbol_at,
    watch,
)

STATUS = 7
#: Another thread is alive when the exit phase begins, and to its end.
ALIVE = ["waiting", "spinning", "exit-elsewhere"]
#: None is, or a destructor makes it so.
QUIET = [
    "joined",
    "joined-by-destructor",
    "started-by-destructor",
    "started-by-library",
    "left-by-library",
    "last-thread",
]
#: The end of the last thread is exit(0).
STATUSES = {"last-thread": 0}

every_way = pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
every_closing_way = pytest.mark.parametrize("way", [*OBSERVE, *ENFORCE, *CONTAIN], ids=str)
MPROTECT = [Way(mode, "mprotect") for mode in ("observe", "enforce", "contain")]
every_mprotect_way = pytest.mark.parametrize("way", MPROTECT, ids=str)


@pytest.fixture(scope="module")
def program() -> Path:
    folder = kept("threads")
    return build(folder, "threads.c", library(folder, "intruder.c"))


def at_exit(outcome: Outcome) -> list[Enter]:
    return [event for event in outcome.of(Enter) if event.moment == "exit"]


def check_all_unenforced(outcome: Outcome) -> None:
    entered = at_exit(outcome)
    assert entered
    assert {event.unenforced for event in entered} == {"threads"}
    numbers = {event.seq for event in entered}
    assert {event.outcome for event in outcome.of(Leave) if event.seq in numbers} == {"unenforced"}
    counters = outcome.counters
    assert counters.unenforced == counters.ran == len(outcome.of(Enter))
    assert counters.mprotect == 0
    by_compartment = outcome.of(CompartmentCounts)
    assert sum(one.unenforced for one in by_compartment) == counters.unenforced


@pytest.mark.parametrize("scenario", [*ALIVE, *QUIET])
@every_way
def test_threads_are_not_disturbed(program: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    """Whatever they touch, and whenever they begin and end: no violation, the same output, the same status."""
    outcome = check_unnoticed([program, scenario], way, tmp_path / "trace")
    assert outcome.status == STATUSES.get(scenario, STATUS)


@pytest.mark.parametrize("scenario", ALIVE)
@every_mprotect_way
def test_beside_a_living_thread_nothing_is_closed(program: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    """Said of each destructor, and counted; what is an intrusion elsewhere is not noticed here."""
    outcome = check_unnoticed([program, scenario, "intrude"], way, tmp_path / "trace")
    assert b"main secret: changed\n" in outcome.stdout
    check_all_unenforced(outcome)


@pytest.mark.enforces
@pytest.mark.parametrize("scenario", ["joined", "joined-by-destructor"])
@every_closing_way
def test_after_the_last_other_thread_all_is_enforced(program: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    outcome = watch([program, scenario, "intrude"], way, tmp_path / "trace")
    (event,) = outcome.violations
    assert event.destructor is not None
    assert symbol_at(event.destructor.function) == "intruder_write"
    assert event.victim_name == program.name
    assert outcome.entered("intruder_write").unenforced is None
    assert outcome.status == (SIGSEGV if way.mode == "enforce" else STATUS)
    if way.mode == "contain":
        assert b"main secret: kept\n" in outcome.stdout
        assert b"intruder: wrote\n" not in outcome.stdout


@pytest.mark.parametrize("scenario", ["joined", "joined-by-destructor", "waiting", "spinning", "exit-elsewhere"])
def test_without_us_the_intruder_succeeds(program: Path, scenario: str) -> None:
    outcome = run([program, scenario, "intrude"])
    assert outcome.status == STATUS
    assert b"intruder: wrote\n" in outcome.stdout
    assert b"main secret: changed\n" in outcome.stdout


@every_mprotect_way
def test_at_a_threads_end_another_is_alive(program: Path, tmp_path: Path, way: Way) -> None:
    """Main waits for it: nothing can be closed, and that is said."""
    outcome = check_unnoticed([program, "thread-end"], way, tmp_path / "trace")
    event = outcome.entered("intruder_write_at_thread_end")
    assert (event.moment, event.unenforced) == ("thread-end", "threads")
    assert outcome.left("intruder_write_at_thread_end").outcome == "unenforced"
    assert outcome.counters.unenforced == 1
    assert {event.unenforced for event in at_exit(outcome)} == {None}


@every_mprotect_way
def test_a_thread_that_a_destructor_leaves_behind_ends_the_enforcement(program: Path, tmp_path: Path, way: Way) -> None:
    outcome = check_unnoticed([program, "left-by-library"], way, tmp_path / "trace")
    assert outcome.entered("intruder_start").unenforced is None
    assert outcome.entered("main_after").unenforced == "threads"
    assert outcome.left("main_after").outcome == "unenforced"


# ---- parked ----


@pytest.mark.parametrize("scenario", ["waiting", "spinning-parked"])
@every_mprotect_way
def test_parked_threads_let_the_exit_be_enforced(program: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    trace = tmp_path / "trace"
    quiet = watch([program, scenario], way, trace, IA2_EXIT_PARK_THREADS="1")
    assert quiet.violations == []
    assert quiet.seen == run([program, scenario]).seen
    assert {event.unenforced for event in at_exit(quiet)} == {None}
    outcome = watch([program, scenario, "intrude"], way, trace, IA2_EXIT_PARK_THREADS="1")
    (event,) = outcome.violations
    assert event.victim_name == program.name
    assert outcome.status == (SIGSEGV if way.mode == "enforce" else STATUS)

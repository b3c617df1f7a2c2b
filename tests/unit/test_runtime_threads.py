"""Threads: registrations beside one another, thread ends and keys."""

from __future__ import annotations

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from runtime_running import RUNTIME, Outcome, build, library, run, run_covered, same

from ia2exit.events import End, Enter, Register

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # -rdynamic: the plugin finds plugin_ended.
    return build(tmp_path_factory.mktemp("threads"), "threads.c", "-rdynamic", "-pthread")


@pytest.fixture(scope="module")
def plugins(program: Path) -> list[Path]:
    first = library(program.parent, "plugin.c", "plugin.so", "-DWITH_ATEXIT")
    return [first, Path(shutil.copy(first, program.parent / "other.so"))]


def printed(outcome: Outcome) -> list[int]:
    """The values with which destructors were called, in their order."""
    return [int(line.split()[1]) for line in outcome.stdout.splitlines() if line.startswith(b"value ")]


def entered(outcome: Outcome, kind: str) -> list[Enter]:
    return [event for event in outcome.entered if event.kind == kind]


def ordered(outcome: Outcome) -> None:
    """The run ended as such, and what it counted is what it told."""
    assert isinstance(outcome.events[-1], End)
    assert outcome.counters.lost == 0
    assert outcome.counters.ran == len(outcome.entered)
    assert outcome.counters.bypassed == 0
    sequence = [event.seq for event in outcome.entered]
    assert sorted(sequence) == list(range(1, len(sequence) + 1))


def test_threads_that_register_load_and_unload_lose_nothing(program: Path, plugins: list[Path]) -> None:
    outcome = same([program, "storm", *plugins])
    assert outcome.status == 3
    assert outcome.stdout == b"400 once, 400 of plugins\n"
    ordered(outcome)
    ours = [event for event in outcome.entered if event.function.object == str(program) and event.kind == "cxa_atexit"]
    assert len(ours) == 400 + 1
    assert {event.owner_name for event in ours} == {program.name}
    theirs = [event for event in outcome.entered if event.function.object in {str(path) for path in plugins}]
    assert {event.moment for event in theirs} == {"unload"}
    assert all(event.owner_name == Path(event.function.object or "").name for event in theirs)


def test_no_object_is_missed_however_threads_are_interrupted(
    program: Path, plugins: list[Path], tmp_path: Path
) -> None:
    """Three such processes on few cores: threads are stopped between any two steps of a dlopen."""

    def storm(number: int) -> Outcome:
        trace = tmp_path / f"trace{number}"
        outcome = run([program, "storm", *plugins], LD_PRELOAD=str(RUNTIME), IA2_TRACE_EXIT=str(trace))
        return Outcome(outcome.status, outcome.stdout, outcome.stderr, trace.read_bytes().splitlines())

    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(storm, range(12)))
    for outcome in outcomes:
        assert (outcome.status, outcome.stdout) == (3, b"400 once, 400 of plugins\n")
        assert outcome.faults == []
        assert outcome.counters.fallback == 0
        theirs = [event.kind for event in outcome.entered if event.function.object in {str(path) for path in plugins}]
        assert Counter(theirs) == {"cxa_atexit": 400, "fini_array": 800, "fini": 400}


def test_slots_are_used_again_while_threads_race_for_them(program: Path, plugins: list[Path]) -> None:
    outcome = run_covered([program, "storm", *plugins])
    registered = [event for event in outcome.events if isinstance(event, Register)]
    identities = {(event.record, event.generation) for event in registered}
    assert len(identities) == len(registered) == outcome.counters.registered
    # 401 that stay, and at most a few for each of two threads that unload what they load.
    assert max(event.record for event in registered) < 401 + 100


def test_exit_while_another_thread_registers(program: Path) -> None:
    """Either glibc runs what comes late or it refuses it: nothing is run twice and nothing is refused by us."""
    for _ in range(5):
        outcome = same([program, "exit-meanwhile"])
        assert outcome.status == 5
        assert outcome.stderr == b""
        last = outcome.events[-1]
        ends = [event for event in outcome.events if isinstance(event, End)]
        assert [(event.how, event.status) for event in ends] == [("exit", 5)], last
        ran = [(event.record, event.generation) for event in outcome.entered]
        assert len(set(ran)) == len(ran) >= 100


def test_all_keys_come_and_go(program: Path) -> None:
    outcome = same([program, "all-keys"])
    assert outcome.status == 3
    assert len(set(outcome.stdout.splitlines())) == 1, "each round has as many keys as the first"
    made = int(outcome.stdout.split()[0])
    assert made > 1000
    keys = [event for event in outcome.events if isinstance(event, Register) and event.kind == "pthread_key"]
    assert len(keys) == 50 * made
    assert len({event.record for event in keys}) <= 1024 + 2


def test_a_keys_destructor_gets_the_value_of_its_thread(program: Path) -> None:
    outcome = same([program, "values"])
    # The key that is deleted runs until then; in the thread that deletes it, no more.
    assert printed(outcome) == [10, 10, 20, 20, 30, 30, 40, 50]
    called = entered(outcome, "pthread_key")
    assert len(called) == 8
    assert {event.moment for event in called} == {"thread-end"}
    assert {event.owner_name for event in called} == {program.name}
    assert all(event.tid != event.pid for event in called)
    ordered(outcome)


def test_a_key_that_is_set_again_in_its_destructor_is_called_again(program: Path) -> None:
    outcome = same([program, "again"])
    assert printed(outcome) == [60, 61, 62, 70, 71, 72, 73]
    assert len(entered(outcome, "pthread_key")) == 7
    ordered(outcome)


def test_a_key_may_be_deleted_in_its_own_destructor(program: Path) -> None:
    outcome = same([program, "self-deleting"])
    assert printed(outcome) == [80]
    assert len(entered(outcome, "pthread_key")) == 1
    ordered(outcome)


def test_c11_keys(program: Path) -> None:
    outcome = same([program, "c11"])
    assert outcome.status == 3
    assert printed(outcome) == [1, 2]
    assert len(entered(outcome, "pthread_key")) == 2
    assert outcome.stdout.count(b"joined 7") == 2


def test_the_main_threads_keys_run_only_where_it_ends_as_a_thread(program: Path) -> None:
    outcome = same([program, "main-thread"])
    assert outcome.status == 0
    assert printed(outcome) == [100]
    (event,) = entered(outcome, "pthread_key")
    assert event.tid == event.pid
    assert event.moment == "thread-end"


def test_what_a_thread_registers_for_its_end_runs_at_its_end(program: Path) -> None:
    outcome = same([program, "thread-ends"])
    assert printed(outcome) == [number ^ 1 for number in range(1000)], "the last one first, thread after thread"
    called = entered(outcome, "thread_atexit")
    assert len(called) == 1000
    assert {event.moment for event in called} == {"thread-end"}
    assert len({event.record for event in called}) <= 4, "slots are used again"
    ordered(outcome)

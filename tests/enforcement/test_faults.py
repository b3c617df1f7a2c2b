"""Destructors that go wrong all by themselves: explained, and ended as they are without us."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ia2exit.events import End, Fault, Frame, Object, Stack

from .counting import check_counters
from .watching import CONTAIN, CONTROL, ENFORCE, OBSERVE, Outcome, Way, build, kept, run, symbol_at, symbol_in, watch

#: Scenario -> (signal, ``what``, ``detail``).
DEATHS = {
    "null": (signal.SIGSEGV, "segmentation fault", "a write through a NULL pointer"),
    "null-call": (signal.SIGSEGV, "segmentation fault", "a call of NULL, or a jump to it"),
    "unloaded": (
        signal.SIGSEGV,
        "segmentation fault",
        "a call of, or a jump to, libBrokenLocale.so.1, which has been unloaded",
    ),
    "overflow": (signal.SIGSEGV, "segmentation fault", "stack overflow"),
    "abort": (signal.SIGABRT, "aborted", ""),
    "terminate": (signal.SIGABRT, "aborted", ""),
    "pure-virtual": (signal.SIGABRT, "aborted", ""),
    "double-free": (signal.SIGABRT, "aborted", ""),
    "freed": (signal.SIGSEGV, "segmentation fault", "a write to an address in no object"),
    "divide": (signal.SIGFPE, "arithmetic exception", ""),
    "bus": (signal.SIGBUS, "bus error", "a mapped file has become shorter"),
    "trap": (signal.SIGILL, "illegal instruction", "a trap that the compiler put where code must not come"),
    # By these two signals the runtime itself works, too.
    "breakpoint": (signal.SIGTRAP, "trap", "a breakpoint instruction"),
    "raised-trap": (signal.SIGTRAP, "trap", ""),
    "forbidden": (signal.SIGSYS, "bad system call", "system call 110, which a seccomp filter forbids"),
    "raised-sys": (signal.SIGSYS, "bad system call", ""),
}

every_way = pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
every_death = pytest.mark.parametrize("scenario", DEATHS)


@pytest.fixture(scope="module")
def program() -> Path:
    return build(kept("faults"), "faults.cpp")


def functions_of(outcome: Outcome, program: Path, stack: list[Frame]) -> list[str]:
    """The functions of the program itself on a stack, innermost first."""
    slot = next(event.slot for event in outcome.of(Object) if Path(event.path) == program)
    names = [
        symbol_in(program, frame.address - (1 if at else 0)) for at, frame in enumerate(stack) if frame.slot == slot
    ]
    return [name for name in names if name]


def check_told(outcome: Outcome, program: Path, scenario: str) -> None:
    """The event names the signal, the cause and the destructor, and its stack leads through it."""
    number, what, detail = DEATHS[scenario]
    fault = outcome.one(Fault)
    assert (fault.signal, fault.what, fault.detail) == (number, what, detail)
    assert fault.destructor
    assert symbol_at(fault.destructor.function) == "faulty"
    assert "faulty" in functions_of(outcome, program, fault.stack)


@every_death
@every_way
def test_a_death_is_explained_and_stays_what_it_was(program: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    command: list[str | Path] = [program, scenario]
    vanilla = run(command)
    outcome = watch(command, way, tmp_path / "trace")
    assert vanilla.status == -DEATHS[scenario][0]
    assert outcome.seen == vanilla.seen
    check_told(outcome, program, scenario)
    assert outcome.one(End).how == "signal"
    check_counters(outcome)
    assert outcome.counters.unfinished == 1, "the one that died; those before it returned"


@every_way
def test_of_an_endless_recursion_both_ends_are_told(program: Path, tmp_path: Path, way: Way) -> None:
    outcome = watch([program, "overflow"], way, tmp_path / "trace")
    fault = outcome.one(Fault)
    names = functions_of(outcome, program, fault.stack)
    assert names[0] == names[1] == "_ZN12_GLOBAL__N_17endlessEi"
    assert names[-3:] == ["faulty", "main", "_start"] or names[-2:] == ["faulty", "_start"]
    (gap,) = (frame for frame in fault.stack if frame.left_out)
    assert gap.alike, "all of one function"
    assert gap.left_out > 1000


@pytest.mark.parametrize("scenario", ["null", "null-call", "abort", "pure-virtual", "divide", "bus", "trap"])
@every_way
def test_the_programs_own_handler_gets_it_all_the_same(program: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    command: list[str | Path] = [program, scenario, "handler"]
    vanilla = run(command)
    outcome = watch(command, way, tmp_path / "trace")
    assert vanilla.status == DEATHS[scenario][0] + 10
    assert outcome.seen == vanilla.seen
    check_told(outcome, program, scenario)
    assert outcome.one(End).how == "_exit"


@pytest.mark.parametrize("scenario", ["breakpoint", "raised-trap", "forbidden", "raised-sys"])
@every_way
def test_a_trap_that_the_program_handles_is_no_death(program: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    """A sandbox and a debugger's agent live on them."""
    command: list[str | Path] = [program, scenario, "handler"]
    vanilla = run(command)
    outcome = watch(command, way, tmp_path / "trace")
    assert vanilla.status == DEATHS[scenario][0] + 10
    assert outcome.seen == vanilla.seen
    assert outcome.of(Fault) == []


@pytest.mark.parametrize("scenario", ["null", "breakpoint", "forbidden"])
@every_way
def test_a_fault_that_is_ignored_ends_the_program_all_the_same(
    program: Path, tmp_path: Path, scenario: str, way: Way
) -> None:
    """The kernel forces it."""
    command: list[str | Path] = [program, scenario, "ignored"]
    outcome = watch(command, way, tmp_path / "trace")
    assert outcome.seen == run(command).seen
    assert outcome.status == -DEATHS[scenario][0]
    check_told(outcome, program, scenario)
    assert outcome.one(End).how == "signal"


@pytest.mark.parametrize("scenario", ["raised-trap", "raised-sys"])
@every_way
def test_a_signal_that_is_sent_and_ignored_is_none(program: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    command: list[str | Path] = [program, scenario, "ignored"]
    outcome = watch(command, way, tmp_path / "trace")
    assert outcome.seen == run(command).seen
    assert outcome.status == 0
    assert outcome.of(Fault) == []


@every_way
def test_a_hang_is_told_of_every_thread(program: Path, tmp_path: Path, way: Way) -> None:
    outcome = watch([program, "hang"], way, tmp_path / "trace")
    fault = outcome.one(Fault)
    assert (fault.what, fault.signal) == ("timeout", None)
    assert fault.destructor
    assert symbol_at(fault.destructor.function) == "faulty"
    assert "faulty" in functions_of(outcome, program, fault.stack)
    other = outcome.one(Stack)
    assert other.of != fault.tid
    assert other.destructor is None
    assert len(other.stack) >= 3

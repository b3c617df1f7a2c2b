"""Deadly signals, hangs, and what else must not happen: the records of a run, and the report that a person reads."""

from __future__ import annotations

import signal

import msgspec
import pytest
from incident_streams import PID, THREAD, Stage, lines, result, told

from ia2exit import events
from ia2exit.model import Address, from_json, to_json
from ia2exit.running import RunResult


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"))


def died(stage: Stage, fault: events.Fault) -> list[events.AnyEvent]:
    return [*stage.objects(), stage.enter(), fault, stage.end()]


def hung(stage: Stage, *threads: events.Stack) -> list[events.AnyEvent]:
    asked = stage.fault(what="timeout", detail="", signal=None, code=None, address=None)
    return [*stage.objects(), stage.enter(), asked, *threads]


def other(stage: Stage, number: int, destructor: events.Running | None = None) -> events.Stack:
    place, stack = stage.place("app", "borrow", 2), [stage.frame("app", "borrow", 2), stage.frame("app", "main", 6)]
    return events.Stack(pid=PID, tid=PID, t=21, of=number, destructor=destructor, instruction=place, stack=stack)


def test_a_deadly_signal_is_told_with_the_destructor_and_the_stack(stage: Stage) -> None:
    text = told(died(stage, stage.fault()))
    assert "ia2exit: fault: segmentation fault (SIGSEGV) in destructor #1 Plug::~Plug() of libplug.so\n" in text
    assert "registered at main+0x4 (app+0x" in text
    assert "  signal    SIGSEGV: nothing is mapped at 0x8, a NULL pointer and an offset\n" in text
    assert "  detail    a read through a NULL pointer\n" in text
    assert "  stack     Plug::~Plug()+0x3 (libplug.so+0x" in text
    assert "  then      the program was ended by SIGSEGV\n" in text
    assert "no return  <- fault\n" in text
    assert "note: app" not in text


@pytest.mark.parametrize(
    ("number", "code", "address", "said"),
    [
        (signal.SIGSEGV, 1, 0, "nothing is mapped at 0x0, a NULL pointer"),
        (signal.SIGSEGV, 1, 0x7F0000000000, "nothing is mapped at 0x7f0000000000"),
        (signal.SIGSEGV, 2, 0x10004000, "the protection of app+0x4000 forbids it"),
        (signal.SIGSEGV, 0x80, None, "a general protection fault"),
        (signal.SIGSEGV, 1, None, "nothing is mapped at an unknown address"),
        (signal.SIGBUS, 2, 0x7F0000000000, "a mapped file is shorter"),
        (signal.SIGFPE, 1, 0x20001000, "SIGFPE: integer division by zero"),
        (signal.SIGILL, 2, 0x20001000, "SIGILL: illegal operand"),
        (signal.SIGILL, 77, None, "SIGILL: code 77"),
        (signal.SIGABRT, -6, None, "SIGABRT: abort(): raised by the program itself"),
        (signal.SIGSEGV, 0, None, "SIGSEGV: sent by kill()"),
        (signal.SIGABRT, None, None, "  signal    SIGABRT\n"),
        (signal.SIGTRAP, 0x80, None, "SIGTRAP: a breakpoint instruction"),
        (signal.SIGSYS, 1, None, "SIGSYS: a system call that a seccomp filter forbids"),
    ],
)
def test_the_cause_is_told_in_words(
    stage: Stage, number: signal.Signals, code: int | None, address: int | None, said: str
) -> None:
    where = None if address is None else Address(address)
    text = told(
        died(stage, stage.fault(what="", detail="", signal=int(number), code=code, address=where)), signal=number
    )
    assert said in text
    assert text.count("NULL") == (address == 0)


def test_a_jump_into_code_that_is_gone_names_the_object_that_was_there(stage: Stage) -> None:
    at = Address(stage.bases["liblost.so"] + 0x40)
    place = events.Place(address=at, object=None, rva=None)
    stack = [events.Frame(slot=0, address=at)]
    stream = died(stage, stage.fault(address=at, instruction=place, stack=stack))
    (fault,) = result(stream).faults
    assert fault.instruction is not None
    assert (fault.instruction.object, fault.instruction.unloaded) == (None, str(stage.paths["liblost.so"]))
    assert f"  stack     {at} (liblost.so until it was unloaded)\n" in told(stream)
    assert f"nothing is mapped at {at} (liblost.so until it was unloaded)" in told(stream)


def test_what_only_has_words_is_a_note(stage: Stage) -> None:
    plain = events.Fault(
        pid=PID, tid=PID, t=9, what="bad map", detail="the checksum is wrong",
        signal=None, code=None, address=None, instruction=None, destructor=None, stack=[],
    )  # fmt: skip
    found = result([*stage.objects(), plain, stage.end("exit", 0)], signal=None)
    assert [fault.is_message for fault in found.faults] == [True]
    assert found.notes == [f"{stage.paths['app']}: bad map: the checksum is wrong"]
    assert "ia2exit: fault" not in told([*stage.objects(), plain, stage.end("exit", 0)], signal=None)


def test_a_hang_is_told_with_the_stacks_of_all_threads(stage: Stage) -> None:
    text = told(hung(stage, other(stage, THREAD), other(stage, THREAD + 1, stage.running(7))), signal=15)
    assert "ia2exit: hang: the exit had not ended in time, in destructor #1 Plug::~Plug() of libplug.so\n" in text
    assert "no return  <- hangs\n" in text
    assert f"  thread    {THREAD}\n  stack     borrow+0x2 (app+0x" in text
    assert f"  thread    {THREAD + 1}, in destructor #7\n" in text
    assert "then" not in text


def test_threads_belong_to_their_hang(stage: Stage) -> None:
    found = result(hung(stage, other(stage, THREAD), other(stage, THREAD + 1)), signal=15)
    (fault,) = found.faults
    assert [thread.thread for thread in fault.threads] == [THREAD, THREAD + 1]
    assert [at.name for at in fault.threads[0].stack] == ["borrow", "main"]
    assert from_json(to_json(found), RunResult) == found


def test_a_stack_without_a_fault_is_not_made_up(stage: Stage) -> None:
    assert result([*stage.objects(), other(stage, THREAD)], signal=15).faults == []


def test_a_fault_between_destructors_says_so(stage: Stage) -> None:
    text = told(died(stage, stage.fault(destructor=None, stack=[])))
    assert "fault: segmentation fault (SIGSEGV) between destructors\n" in text
    assert "  stack     Plug::~Plug()+0x3 (libplug.so+0x" in text, "at least the instruction"


def test_a_fault_is_read_from_a_trace_that_ends_with_it(stage: Stage) -> None:
    whole = lines(died(stage, stage.fault()))
    for cut in (0, 1, len(whole[-1]) - 2):
        found = result([], data=b"".join(whole[:-1]) + whole[-1][:cut])
        assert [fault.signal for fault in found.faults] == [11]
        assert found.notes[0].endswith("app was ended by SIGSEGV while its destructors ran")


def stack_of(text: str) -> list[str]:
    """The lines of the one stack in a report, without the objects behind the functions."""
    lines = text.split("  stack     ")[1].split("  then ", maxsplit=1)[0].splitlines()
    return [line.strip().split(" (app")[0].split(" (libplug")[0] for line in lines]


def test_both_ends_of_a_deep_stack_are_told(stage: Stage) -> None:
    by_turns = [stage.frame("app", "main", 5), stage.frame("app", "borrow", 4)] * 45
    told_of = stack_of(told(died(stage, stage.fault(stack=[*by_turns, stage.frame("libplug.so", "tidy", 2)]))))
    assert told_of == [*["main+0x5", "borrow+0x4"] * 8, "… and 60 more", *["main+0x5", "borrow+0x4"] * 7, "tidy+0x2"]


def test_of_a_recursion_the_first_frames_and_what_called_it_are_told(stage: Stage) -> None:
    deep, outer = [stage.frame("app", "main", 5)] * 39, [stage.frame("app", "main", 5)] * 10
    gap = msgspec.structs.replace(deep[0], left_out=260_000)
    stack = [*deep, gap, *outer, stage.frame("libplug.so", "tidy", 2), stage.frame("app", "borrow", 4)]
    told_of = stack_of(told(died(stage, stage.fault(stack=stack))))
    assert told_of == [*["main+0x5"] * 3, "(260047 frames of the same function)", "tidy+0x2", "borrow+0x4"]


def test_a_gap_of_several_functions_is_counted(stage: Stage) -> None:
    gap = msgspec.structs.replace(stage.frame("app", "main", 5), left_out=1000, alike=False)
    stack = [stage.frame("app", "borrow", 4), gap, stage.frame("app", "main", 5)]
    told_of = stack_of(told(died(stage, stage.fault(stack=stack))))
    assert told_of == ["borrow+0x4", "main+0x5", "(1000 frames)", "main+0x5"]


def test_a_return_address_belongs_to_the_call_before_it(stage: Stage) -> None:
    """A call that never returns may be the last instruction of its function."""
    start = stage.rva("app", "main")
    following = events.Frame(slot=1, address=Address(start))
    found = result(died(stage, stage.fault(stack=[stage.frame("app", "main"), following])))
    first, second = found.faults[0].stack
    assert (first.name, first.offset) == ("main", 0)
    assert second.name != "main"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"allow_all": True}, "IA2_EXIT_ALLOW_ALL=1: all memory was open to every destructor"),
        ({"backend": "legacy"}, "IA2_EXIT_FORCE_LEGACY=1: all memory was open for the whole exit"),
    ],
)
def test_what_opens_everything_is_said_first_and_loudly(stage: Stage, changes: dict[str, object], said: str) -> None:
    text = told([stage.start(**changes), *stage.objects()[1:], stage.end("exit", 0)], signal=None)
    assert text.startswith("ia2exit: WARNING: ")
    assert said in text.splitlines()[0]


@pytest.mark.parametrize(("signal", "notes"), [(None, 0), (11, 1)])
def test_the_old_path_records_nothing_and_no_more_is_claimed(stage: Stage, signal: int | None, notes: int) -> None:
    found = result([stage.start(backend="legacy"), stage.exit()], signal=signal)
    assert len(found.notes) == notes
    assert all("was ended by SIGSEGV while its destructors ran" in note for note in found.notes)
    text = told([stage.start(backend="legacy"), stage.exit()], signal=signal)
    assert "IA2_EXIT_FORCE_LEGACY=1" in text
    assert "no destructor ran" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ", mode enforce, backend mprotect (not pku: the CPU has no protection keys)\n"),
        ({"backend": "pku", "backend_why": None, "mode": "contain"}, ", mode contain, backend pku\n"),
        ({"backend": "none"}, "app (pid 4000)\n"),
    ],
)
def test_the_backend_is_told_and_why_it_is_not_another(stage: Stage, changes: dict[str, object], said: str) -> None:
    stream = [stage.start(**changes), *stage.objects()[1:], stage.enter(), stage.leave(), stage.end("exit", 0)]
    assert told(stream, signal=None).splitlines(keepends=True)[0].endswith(said)


def test_destructors_beside_other_threads_are_counted_with_a_remedy(stage: Stage) -> None:
    rows: list[events.AnyEvent] = [stage.enter(1, unenforced="threads"), stage.leave(1, "unenforced")]
    more: list[events.AnyEvent] = [stage.enter(2, unenforced="threads"), stage.leave(2, "unenforced")]
    last: list[events.AnyEvent] = [stage.enter(3, unenforced="no memory"), stage.leave(3, "unenforced")]
    found = result([*stage.objects(), *rows, *more, *last, stage.end("exit", 0)], signal=None)
    app = stage.paths["app"]
    assert found.notes == [
        f"{app}: 2 destructors ran with nothing closed: other threads were alive; "
        "--park-threads stops the others for the exit phase",
        f"{app}: 1 destructor ran with nothing closed: no memory",
    ]
    assert [(row.outcome, row.unenforced) for row in found.destructors] == [
        ("unenforced", "threads"),
        ("unenforced", "threads"),
        ("unenforced", "no memory"),
    ]

"""What went wrong at an exit, as text to be read at night: who did what to whose memory, where, and what to do.

What happened several times in the same way is told once, with how often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ia2exit.errors import printable
from ia2exit.running.causes import cause
from ia2exit.running.outcome import name_of
from ia2exit.running.records import Doer, Fault, Location, Process, RunResult, Violation
from ia2exit.running.remedy import for_one_variable, remedy
from ia2exit.running.stacks import labelled
from ia2exit.running.words import RED, base, function_of, paint, place_of, plural

#: At most so many different violations or faults of a process, and numbers in one list.
_MAX_TOLD, _MAX_NUMBERS = 50, 8
_LABEL = 9
_VERBS = {"read": "read", "write": "wrote to", "unknown": "touched"}
_ACTIONS = {
    "opened": "it was let through (mode observe)",
    "ended": "the program was ended (mode enforce)",
    "abandoned": "the destructor was abandoned, the next one ran (mode contain)",
}


def explained(process: Process, result: RunResult, colour: bool) -> Iterator[str]:
    """Lines about the violations and faults of a process."""
    groups = list(_grouped(process.violations))
    for same in groups[:_MAX_TOLD]:
        yield from _block(_violation_title(same[0]), _violation(same, process), colour)
    if len(groups) > _MAX_TOLD:
        yield f"ia2exit: … and {plural(len(groups) - _MAX_TOLD, 'other violation')} (in the events: --trace FILE)"
    faults = [fault for fault in process.faults if not fault.is_message]
    for fault in faults[:_MAX_TOLD]:
        yield from _block(_fault_title(fault), _fault(fault, process, result), colour)
    if len(faults) > _MAX_TOLD:
        yield f"ia2exit: … and {plural(len(faults) - _MAX_TOLD, 'other fault')} (in the events: --trace FILE)"


def _block(title: str, lines: Iterable[tuple[str, str]], colour: bool) -> Iterator[str]:
    yield paint(f"ia2exit: {title}", RED, colour)
    for label, text in lines:
        yield f"  {label.ljust(_LABEL)} {text}"


def _grouped(violations: Iterable[Violation]) -> Iterator[list[Violation]]:
    """Violations of one destructor, at one place, of one variable; in the order of their first."""
    groups: dict[tuple[object, ...], list[Violation]] = {}
    for violation in violations:
        groups.setdefault(_key(violation), []).append(violation)
    yield from groups.values()


def _key(violation: Violation) -> tuple[object, ...]:
    doer, at, touched = violation.destructor, violation.instruction, violation.address
    return (
        None if doer is None else (doer.kind, doer.function.address, doer.owner),
        (at.object, at.address, violation.via, violation.syscall, violation.handler),
        (violation.victim, violation.access, violation.action),
        None if touched is None else (touched.object, touched.section, touched.symbol),
    )


def _violation_title(violation: Violation) -> str:
    doer, touched = violation.destructor, violation.address
    if violation.handler:
        who = "a signal handler"
    else:
        who = _with_object(violation.instruction if doer is None else doer.function)
    return f"violation: {who} {_VERBS[violation.access]} {_what(touched, violation)}"


def _what(touched: Location | None, violation: Violation) -> str:
    owner = _compartment(violation.victim, violation.victim_name)
    if touched is None:
        return f"memory of {owner}"
    return f"{_with_object(touched)}, {owner}" if touched.symbol else f"{place_of(touched)}, {owner}"


def _with_object(location: Location) -> str:
    name = function_of(location)
    return f"{name} of {base(location.object)}" if location.symbol and location.object else name


def _compartment(number: int | None, name: str | None) -> str:
    return "an unknown compartment" if number is None else f"compartment {printable(name or str(number))}"


def _violation(same: list[Violation], process: Process) -> Iterator[tuple[str, str]]:
    first = same[0]
    yield from _culprit(first.destructor)
    if first.handler:
        yield "handler", "a signal handler of the program did it, not the destructor that it interrupted"
    yield "did", _did(first)
    yield "victim", _victim(first)
    yield from labelled(first.stack)
    yield "then", _ACTIONS[first.action]
    if len(same) > 1:
        yield "seen", f"{len(same)} times{_where(same)}"
    yield from _remedies(first, process)


def _remedies(violation: Violation, process: Process) -> Iterator[tuple[str, str]]:
    together, alone = remedy(violation, process), for_one_variable(violation)
    if together is not None:
        yield "remedy", printable(together[0])
        yield from (("", f"    {printable(line)}") for line in together[1])
    if alone is not None:
        yield "remedy" if together is None else "or", printable(alone)


def _culprit(doer: Doer | None) -> Iterator[tuple[str, str]]:
    if doer is None:
        yield "culprit", "code that ran between destructors"
        return
    function = doer.function
    holder = "" if function.object is None else f" of {printable(function.object)}"
    owner = "no compartment" if doer.owner is None else _compartment(doer.owner, doer.owner_name)
    yield "culprit", f"destructor #{doer.order} {function_of(function)} ({doer.kind}){holder}, {owner}"
    if doer.registrar is not None:
        yield "", f"registered at {place_of(doer.registrar)}"


def _did(violation: Violation) -> str:
    verb = {"read": "read", "write": "wrote", "unknown": "touched memory"}[violation.access]
    if violation.via == "instruction":
        return f"{verb}, by the instruction at {place_of(violation.instruction)}"
    name = violation.syscall_name or "unknown"
    number = "" if violation.syscall is None else f" ({violation.syscall})"
    return f"{verb}, by the system call {name}{number} made at {place_of(violation.instruction)}"


def _victim(violation: Violation) -> str:
    owner, touched = _compartment(violation.victim, violation.victim_name), violation.address
    if touched is None:
        return f"memory of {owner}; the kernel does not tell which"
    holder = "" if touched.object is None else f" of {printable(touched.object)}"
    section = f", {printable(touched.section or 'memory')}{holder}" if holder else ""
    return f"{place_of(touched)}{section}, {owner}"


def _where(same: list[Violation]) -> str:
    numbers = list(dict.fromkeys(violation.destructor.order for violation in same if violation.destructor))
    if not numbers:
        return ""
    shown = ", ".join(f"#{number}" for number in numbers[:_MAX_NUMBERS])
    more = ", …" if len(numbers) > _MAX_NUMBERS else ""
    return f", in {'destructor' if len(numbers) == 1 else 'destructors'} {shown}{more}"


def _fault_title(fault: Fault) -> str:
    doer = fault.destructor
    during = "between destructors" if doer is None else f"in destructor #{doer.order} {_with_object(doer.function)}"
    if fault.what == "timeout":
        return f"hang: the exit had not ended in time, {during}"
    signal = "" if fault.signal is None else f" ({name_of(fault.signal)})"
    return f"fault: {printable(fault.what)}{signal} {during}"


def _fault(fault: Fault, process: Process, result: RunResult) -> Iterator[tuple[str, str]]:
    yield from _culprit(fault.destructor)
    if fault.signal is not None and fault.what != "timeout":
        yield "signal", cause(fault)
    if fault.detail:
        yield "detail", printable(fault.detail)
    yield from labelled(fault.stack or [at for at in [fault.instruction] if at is not None])
    for other in fault.threads:
        running = "" if other.destructor is None else f", in destructor #{other.destructor.order}"
        yield "thread", f"{other.thread}{running}"
        yield from labelled(other.stack or [other.instruction])
    if fault.signal is not None and process is result.processes[0] and result.signal is not None:
        yield "then", f"the program was ended by {name_of(result.signal)}"

"""What a deadly signal means, in words: its number, ``si_code`` and ``si_addr`` (sigaction(2))."""

from __future__ import annotations

import signal

from ia2exit.running.outcome import name_of
from ia2exit.running.records import Fault, Location
from ia2exit.running.words import place_of

#: (signal, si_code) -> what it says; asm-generic/siginfo.h numbers the codes. ``{}`` is the address.
_CODES: dict[tuple[int, int], str] = {
    (signal.SIGSEGV, 1): "nothing is mapped at {}",
    (signal.SIGSEGV, 2): "the protection of {} forbids it",
    (signal.SIGSEGV, 4): "the protection key of {} forbids it",
    (signal.SIGBUS, 1): "{} is not aligned",
    (signal.SIGBUS, 2): "there is no memory behind {}: a mapped file is shorter",
    (signal.SIGBUS, 3): "the hardware failed at {}",
    (signal.SIGBUS, 4): "the memory at {} has failed",
    (signal.SIGBUS, 5): "the memory at {} has failed",
    (signal.SIGILL, 1): "illegal opcode",
    (signal.SIGILL, 2): "illegal operand",
    (signal.SIGILL, 5): "privileged opcode",
    (signal.SIGFPE, 1): "integer division by zero",
    (signal.SIGFPE, 2): "integer overflow",
    (signal.SIGFPE, 3): "division by zero",
    (signal.SIGFPE, 4): "overflow",
    (signal.SIGFPE, 5): "underflow",
    (signal.SIGFPE, 6): "inexact result",
    (signal.SIGFPE, 7): "invalid operation",
    (signal.SIGTRAP, 0x80): "a breakpoint instruction",
    (signal.SIGTRAP, 1): "a breakpoint",
    (signal.SIGTRAP, 2): "a single step",
    (signal.SIGSYS, 1): "a system call that a seccomp filter forbids",
    (signal.SIGSYS, 2): "a system call that the program's own dispatch forbids",
}
#: Codes that mean the same for every signal: sent by a process, not raised by an instruction.
_SENT = {0: "sent by kill()", -1: "sent by sigqueue()", -6: "raised by the program itself or sent by tgkill()"}
_SI_KERNEL = 0x80
#: Addresses below this are what a NULL pointer and a member make.
_NULL_PAGE = 0x10000


def cause(fault: Fault) -> str:
    """``SIGSEGV: nothing is mapped at 0x8, a NULL pointer and an offset``."""
    assert fault.signal is not None
    name = name_of(fault.signal)
    if fault.code is None:
        return name
    if fault.code in _SENT:
        raised = fault.signal == signal.SIGABRT and fault.code == -6
        return f"{name}: {'abort(): raised by the program itself' if raised else _SENT[fault.code]}"
    what = _CODES.get((fault.signal, fault.code))
    if what is None and fault.code == _SI_KERNEL:
        return f"{name}: the kernel does not tell the address: a general protection fault, as for a wild pointer"
    return f"{name}: code {fault.code}" if what is None else f"{name}: {what.format(_address(fault.address))}"


def _address(location: Location | None) -> str:
    if location is None:
        return "an unknown address"
    if location.object is None and location.unloaded is None:
        null = ", a NULL pointer" + (" and an offset" if location.address else "")
        return f"{location.address}{null if location.address < _NULL_PAGE else ''}"
    return place_of(location)

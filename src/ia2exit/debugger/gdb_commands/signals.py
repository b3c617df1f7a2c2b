"""Signals that the runtime lives on while memory is closed: gdb lets them through, and still stops at true crashes.

=========  ===========================================================================================================
SIGSYS     a system call of a destructor comes to the runtime (dispatch.c)
61, 62     other threads are parked (park.c); a hang is asked about (hang.c)
SIGSEGV    closed memory was touched (violation.c): let through from the moment when memory is closed until it is open
           again. stops.py stops at those that the runtime has nothing to do with
SIGTRAP    the one instruction that was let through is done (step.c). The runtime must get it, but not those of gdb's
           own breakpoints, so ``handle SIGTRAP pass`` will not do: a catchpoint, enabled for just that instruction,
           takes it and goes on with ``signal SIGTRAP``. (Enabled for good and with a condition it would make gdb 13
           hang at a trap of the program's own.)
=========  ===========================================================================================================

The breakpoints here only change tables of gdb's and never stop.
"""

from __future__ import annotations

import gdb

from ia2exit.debugger.gdb_commands import threads
from ia2exit.debugger.gdb_commands.quiet import quietly
from ia2exit.debugger.gdb_commands.runtime import loaded

#: Commands after which a SIGTRAP must not simply go on: they would run away.
_STEPS = ("step", "next", "stepi", "nexti", "finish", "until", "advance")
_RUNS = ("run", "start", "continue", "signal", "jump")
_HANDLER_STACK = 64 << 10  # bytes (signals_thread.c)
_moving = ("run", 0)
_trap = 0


def _quiet(command: str) -> None:
    gdb.execute(command, to_string=True)


class _Step(gdb.Function):
    """$_ia2_step(): does the selected thread execute an instruction that the runtime has let through?"""

    def __init__(self) -> None:
        super().__init__("_ia2_step")

    def invoke(self, *arguments: gdb.Value) -> bool:
        """Ask what the runtime has noted of this thread; while its handler still runs, a trap is gdb's own."""
        runtime = loaded()
        thread = threads.selected(runtime) if runtime is not None else None
        if thread is None or thread.stepping == 0:
            return False
        return not 0 <= int(gdb.newest_frame().read_register("rsp")) - thread.handler_stack < _HANDLER_STACK


class _Probe(gdb.Breakpoint):
    """At a probe of the runtime (probe.h), to execute one command of gdb's."""

    def __init__(self, name: str, command: str) -> None:
        super().__init__(f"-probe-stap libia2:{name}", internal=True)
        self.silent = True
        self.command = command

    def stop(self) -> bool:
        """Never."""
        _quiet(self.command)
        return False


_OURS, _EVERYBODYS = "handle SIGSEGV nostop noprint pass", "handle SIGSEGV stop print pass"


class _Here(gdb.Breakpoint):
    """Where the thread stands, for the moment when the runtime's handler has returned there."""

    def __init__(self) -> None:
        super().__init__("*$pc", internal=True, temporary=True)
        self.silent = True


def end_of_step() -> None:
    """The commands of the catchpoint at SIGTRAP: the runtime gets it, and what the user wanted goes on."""
    _quiet(f"disable {_trap}")
    command, frame = _moving
    if command not in _STEPS:
        gdb.execute("signal SIGTRAP")
        return
    _Here()
    _quiet("signal SIGTRAP")
    if command in ("next", "step") and _caller_sp() == frame:
        note(command)
        gdb.execute(command)
        return
    print(
        f'\nia2exit: "{command}" was interrupted: one instruction was let through to closed memory. '
        "That is done; finish, next, continue go on from here."
    )
    gdb.execute("frame")


def note(command: str) -> None:
    """How the program is moved on, and in which frame; from the hooks of those commands."""
    global _moving  # noqa: PLW0603
    _moving = (command, _caller_sp() if command in _STEPS else 0)


def _caller_sp() -> int:
    """The stack pointer of the newest frame's caller: it stays the same for as long as that frame is there."""
    try:
        caller = gdb.newest_frame().older()
        return int(caller.read_register("rsp")) if caller is not None else 0
    except gdb.error:
        return 0


def _begin_anew(event: object = None) -> None:
    """The program is gone: until the next one closes memory, a SIGSEGV is a crash."""
    _quiet(_EVERYBODYS)
    _quiet(f"disable {_trap}")


def set_up() -> None:
    """Once for each gdb."""
    global _trap  # noqa: PLW0603
    _Step()
    _quiet("handle SIGSYS SIG61 SIG62 nostop noprint pass")
    _quiet("catch signal SIGTRAP")
    _trap = int(gdb.parse_and_eval("$bpnum"))
    _quiet(f"condition {_trap} $_ia2_step()")
    gdb.execute(f"commands {_trap}\nsilent\npython import {__name__} as _signals; _signals.end_of_step()\nend")
    _begin_anew()
    quietly(lambda: _Probe("step", f"enable {_trap}"))
    quietly(lambda: _Probe("close", _OURS))
    quietly(lambda: _Probe("open", _EVERYBODYS))
    gdb.events.exited.connect(_begin_anew)
    if _is_closing():
        _quiet(_OURS)
    for name in (*_STEPS, *_RUNS):
        _hook(name)


def _is_closing() -> bool:
    """Is memory closed already, in a process that we have come late to?"""
    runtime = loaded()
    try:
        return runtime is not None and gdb.selected_inferior().pid != 0 and runtime.number("closing", "backend.c") != 0
    except gdb.GdbError:  # it has no debugging information: the commands will say so
        return False


def _hook(command: str) -> None:
    """Before ``command``, :func:`note` what it is; where the user has a hook there already, theirs stays."""
    try:
        gdb.execute(f"show user hook-{command}", to_string=True)
    except gdb.error:
        _quiet(f"define hook-{command}\npython import {__name__} as _signals; _signals.note({command!r})\nend")

"""What the runtime keeps about the selected thread (thread.h)."""

from __future__ import annotations

from typing import NamedTuple

import gdb

from ia2exit.debugger.gdb_commands.records import Record, record, record_at
from ia2exit.debugger.gdb_commands.runtime import Row, Runtime


class Thread(NamedTuple):
    """One thread of the program that has met the runtime."""

    slot: int
    #: PKRU of the innermost destructor, or of the code between.
    pkru: int
    depth: int
    #: Address of the innermost destructor's record, 0: none; and of the one that is about to be run.
    running: int
    next: int
    closing: bool
    #: It runs the destructors of the exit.
    exits: bool
    resting_pkru: int | None
    stepping: int
    #: Start of the stack that our handlers run on, 0: none.
    handler_stack: int


def _thread(slot: int, row: Row) -> Thread:
    return Thread(
        slot=slot,
        pkru=row("pkru"),
        depth=row("depth"),
        running=row("running"),
        next=row("record"),
        closing=bool(row("closing")),
        exits=bool(row("exits")),
        resting_pkru=row("resting_pkru") if row("resting") else None,
        stepping=row("stepping"),
        handler_stack=row("alternate_stack"),
    )


def selected(runtime: Runtime) -> Thread | None:
    """The selected thread; None where it has not met the runtime yet.

    As the runtime itself does it, by the thread pointer; by the thread's number where gdb does not know that register.
    """
    thread = gdb.selected_thread()
    if thread is None or not thread.is_valid():
        return None
    try:
        base = int(gdb.newest_frame().read_register("fs_base")) & (1 << 64) - 1
    except (ValueError, gdb.error):
        base = 0
    highest = runtime.number("highest", "thread.c")
    for slot, row in enumerate(runtime.rows(runtime.variable("ia2_threads"), highest + 1, 1), start=1):
        if row("base") == base if base else row("tid") == thread.ptid[1]:
            return _thread(slot, row)
    return None


def running(runtime: Runtime, thread: Thread) -> list[Record]:
    """The destructors that a thread runs, innermost first."""
    found: list[Record] = []
    at = record_at(runtime, thread.running) if thread.running else None
    while at is not None and len(found) <= thread.depth:
        found.append(at)
        at = record(runtime, at.outer) if at.outer else None
    return found

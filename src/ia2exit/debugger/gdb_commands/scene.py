"""All that the commands show is about one moment: the runtime with its tables, each read once, when it is wanted."""

from __future__ import annotations

from functools import cached_property

import gdb

from ia2exit.debugger.gdb_commands import records, threads
from ia2exit.debugger.gdb_commands.compartments import Compartments, compartments
from ia2exit.debugger.gdb_commands.objects import Object, Places, objects
from ia2exit.debugger.gdb_commands.records import Record
from ia2exit.debugger.gdb_commands.runtime import initialised
from ia2exit.debugger.gdb_commands.threads import Thread

#: Frames of the runtime between a destructor and run_cxa(), which may be the only one to know the record.
_DEEP = 40


class Scene:
    """The selected thread of the selected inferior, now.

    Raises:
        gdb.GdbError: there is nothing to look at (:func:`~.runtime.initialised`).
    """

    def __init__(self) -> None:
        self.runtime = initialised()

    @cached_property
    def objects(self) -> list[Object]:
        """All that are loaded."""
        return objects(self.runtime)

    @cached_property
    def places(self) -> Places:
        """Names for addresses."""
        return Places(self.objects)

    @cached_property
    def compartments(self) -> Compartments:
        """All that there are."""
        return compartments(self.runtime, self.objects)

    @cached_property
    def thread(self) -> Thread | None:
        """The selected thread, None where it has not met the runtime."""
        return threads.selected(self.runtime)

    @cached_property
    def chain(self) -> list[Record]:
        """The destructors that it runs, innermost first."""
        return threads.running(self.runtime, self.thread) if self.thread is not None else []

    def current(self) -> Record | None:
        """The innermost destructor of the selected thread, or the one that it is about to run."""
        about_to_run = self.asked_for()
        if about_to_run is not None:
            return about_to_run
        if self.chain:
            return self.chain[0]
        return self._unwatched()

    def asked_for(self) -> Record | None:
        """The record that ia2_run_destructor() has been given, if that is where the thread stands."""
        frame = running_destructor()
        if frame is None:
            return None
        address = _argument(frame, "given")
        if not address and self.thread is not None:
            address = self.thread.next
        found = records.record_at(self.runtime, address) if address else None
        return None if found is None or found.state == "done" else found

    def _unwatched(self) -> Record | None:
        """Where nobody watches an exit, the runtime calls destructors from run_cxa() and keeps no list of who runs."""
        frame = gdb.newest_frame() if gdb.selected_thread() is not None else None
        for _ in range(_DEEP):
            if frame is None:
                return None
            if frame.name() == "run_cxa":
                address = _argument(frame, "record")
                found = records.record_at(self.runtime, address) if address else None
                return found if found is not None and found.state == "running" else None
            frame = frame.older()
        return None


def running_destructor() -> gdb.Frame | None:
    """The frame of ia2_run_destructor(), if the thread stands in it or in what the compiler has inlined into it."""
    frame = gdb.newest_frame() if gdb.selected_thread() is not None else None
    while frame is not None:
        if frame.name() == "ia2_run_destructor":
            return frame
        if frame.type() != gdb.INLINE_FRAME:
            return None
        frame = frame.older()
    return None


def _argument(frame: gdb.Frame, name: str) -> int:
    """The value of a pointer in a frame, 0 where the compiler has not kept it."""
    try:
        return int(frame.read_var(name))
    except (ValueError, gdb.error):
        return 0

"""break-destructor: stops at the first instruction of destructors, as the runtime calls them."""

from __future__ import annotations

import gdb

from ia2exit.debugger.gdb_commands import filters
from ia2exit.debugger.gdb_commands.filters import Filter
from ia2exit.debugger.gdb_commands.quiet import quietly
from ia2exit.debugger.gdb_commands.records import record_at
from ia2exit.debugger.gdb_commands.runtime import loaded
from ia2exit.debugger.gdb_commands.scene import Scene

#: Where the runtime is about to call a destructor (probe.h); the argument is its record.
_PROBE = "-probe-stap libia2:destructor"


class Landing(gdb.Breakpoint):
    """At the destructor itself, for one call of it. Says nothing of its own: stops.py does."""

    def __init__(self, address: int, record: int, thread: int, of: int) -> None:
        super().__init__(f"*{address:#x}", internal=True, temporary=True)
        self.silent = True
        self.thread = thread
        self.record = record
        self.of = of


class DestructorBreakpoint(gdb.Breakpoint):
    """At the call in the runtime. It never stops there itself: it looks at the record, and where that is meant, sets a
    landing. gdb inserts that one when the program goes on, before this thread executes anything.
    """

    def __init__(self, wanted: Filter) -> None:
        super().__init__(_PROBE)
        self.wanted = wanted

    def stop(self) -> bool:
        """Decide about one destructor."""
        try:
            scene = Scene()
            record = record_at(scene.runtime, int(gdb.parse_and_eval("$_probe_arg0")))
        except (gdb.error, gdb.GdbError) as error:
            print(f"break-destructor: {error}")
            return True
        thread = gdb.selected_thread()
        if record is None or thread is None:
            return False
        if self.wanted.matches(record, scene):
            Landing(record.function, record.address, thread.global_num, self.number)
        return False


class BreakDestructor(gdb.Command):
    """Stop before destructors, at the first instruction of each.

    Usage: break-destructor [NAME|OBJECT|COMPARTMENT]

    NAME is the function, OBJECT the base name of the file that holds it, COMPARTMENT the number or name of the one
    that owns it; * ? [ ] as in a shell. Without argument: every destructor. Works before the program is started, and
    for objects that are loaded later. The breakpoint can be disabled and deleted like any other.
    """

    def __init__(self) -> None:
        super().__init__("break-destructor", gdb.COMMAND_BREAKPOINTS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Set the breakpoint."""
        wanted = filters.parse("break-destructor", argument)
        runtime = loaded()
        if wanted.word.isdecimal() and runtime is not None and runtime.sealed("ready"):
            filters.check_number("break-destructor", wanted, Scene().compartments)
        made = quietly(lambda: DestructorBreakpoint(wanted))
        when = "" if runtime is not None else " (libia2.so is not loaded yet)"
        print(f"Breakpoint {made.number}: {wanted}{when}")

"""Makes gdb know our commands."""

from __future__ import annotations

from ia2exit.debugger.gdb_commands import signals, stops
from ia2exit.debugger.gdb_commands.breaking import BreakDestructor
from ia2exit.debugger.gdb_commands.listing import InfoCompartments, InfoDestructor, InfoExitRecords

_done = False


def load() -> None:
    """Once for each gdb; later calls do nothing."""
    global _done  # noqa: PLW0603
    if _done:
        return
    _done = True
    InfoCompartments()
    InfoExitRecords()
    InfoDestructor()
    BreakDestructor()
    stops.set_up()
    signals.set_up()

"""Violations, faults and stacks of a process: events, which name objects by slot, to records, which name them by path.

Slots are used again when an object has been unloaded, so an event is translated when it is read. Symbols come later
(:mod:`ia2exit.running.naming`).
"""

from __future__ import annotations

import msgspec

from ia2exit import events
from ia2exit.model import Address
from ia2exit.running.records import Doer, Fault, Frame, Location, ThreadStack, Violation


class Incidents:
    """What went wrong in one process, and the objects that were loaded meanwhile."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.faults: list[Fault] = []
        self._loaded: dict[int, events.Object] = {}
        self._unloaded: list[events.Object] = []

    def take_object(self, event: events.Object) -> None:
        """An object came or went."""
        if event.when != "unload":
            self._loaded[event.slot] = event
        elif self._loaded.pop(event.slot, None) is not None:
            self._unloaded.append(event)

    def take(self, event: events.Violation | events.Fault | events.Stack) -> None:
        """Something went wrong; the other threads of a hang belong to the fault before them."""
        match event:
            case events.Violation():
                self.violations.append(self._violation(event))
            case events.Fault():
                self.faults.append(self._fault(event))
            case events.Stack():
                if self.faults:
                    last = self.faults[-1]
                    self.faults[-1] = msgspec.structs.replace(last, threads=[*last.threads, self._thread(event)])

    def _violation(self, event: events.Violation) -> Violation:
        return Violation(
            thread=event.tid,
            destructor=self._doer(event.destructor),
            handler=event.handler,
            via=event.via,
            instruction=self._location(event.instruction),
            syscall=event.syscall,
            syscall_name=None if event.syscall is None else syscall_name(event.syscall),
            address=None if event.address is None else self._location(event.address),
            victim=event.victim,
            victim_name=event.victim_name,
            access=event.access,
            action=event.action,
            stack=self._stack(event.stack),
        )

    def _fault(self, event: events.Fault) -> Fault:
        return Fault(
            thread=event.tid,
            what=event.what,
            detail=event.detail,
            signal=event.signal,
            code=event.code,
            address=None if event.address is None else self._covered(event.address),
            instruction=None if event.instruction is None else self._location(event.instruction),
            destructor=self._doer(event.destructor),
            stack=self._stack(event.stack),
            threads=[],
        )

    def _thread(self, event: events.Stack) -> ThreadStack:
        return ThreadStack(
            thread=event.of,
            destructor=self._doer(event.destructor),
            instruction=self._location(event.instruction),
            stack=self._stack(event.stack),
        )

    def _doer(self, running: events.Running | None) -> Doer | None:
        if running is None:
            return None
        return Doer(
            order=running.seq,
            kind=running.kind,
            function=self._location(running.function),
            registrar=None if running.registrar is None else self._location(running.registrar),
            owner=running.owner,
            owner_name=running.owner_name,
        )

    def _stack(self, frames: list[events.Frame]) -> list[Frame]:
        return [self._frame(frame) for frame in frames]

    def _frame(self, frame: events.Frame) -> Frame:
        event = self._loaded.get(frame.slot)
        if event is None:
            at = self._covered(frame.address)
        else:
            at = Location(address=Address(event.base + frame.address), object=event.path, rva=frame.address)
        return Frame(
            address=at.address,
            object=at.object,
            rva=at.rva,
            unloaded=at.unloaded,
            left_out=frame.left_out,
            alike=frame.alike,
        )

    def _location(self, place: events.Place) -> Location:
        if place.object is None:
            return self._covered(place.address)
        return Location(address=place.address, object=place.object, rva=place.rva)

    def _covered(self, address: Address) -> Location:
        """An address that the runtime gave without an object: found among those that are loaded, or were."""
        for event in self._loaded.values():
            if event.start <= address < event.end:
                return Location(address=address, object=event.path, rva=Address(address - event.base))
        was = next((event.path for event in reversed(self._unloaded) if event.start <= address < event.end), None)
        return Location(address=address, object=None, rva=None, unloaded=was)


def syscall_name(number: int) -> str | None:
    """Name of an x86-64 system call; None for a number that the table does not have."""
    import system_calls  # type: ignore[import-untyped]

    try:
        name: str = system_calls.syscalls().get_name(number, "x86_64")
    except (system_calls.NoSuchSystemCall, system_calls.NotSupportedSystemCall):
        return None
    return name

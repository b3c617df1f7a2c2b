"""Reading a trace: lines of events to processes and their destructors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from ia2exit import events
from ia2exit.model import Kind, decoder
from ia2exit.running.incidents import Incidents
from ia2exit.running.records import Process, Ran

_decoder: msgspec.json.Decoder[events.AnyEvent] = decoder(events.AnyEvent)  # type: ignore[arg-type]

#: Kinds that an exit does not run.
_DORMANT: set[Kind] = {"pthread_key", "quick_exit"}


class Trace(NamedTuple):
    """What a trace says."""

    processes: list[Process]
    #: Lines that are no event, with the reason for the first of them.
    malformed: int
    why: str | None
    #: Whether the last line has no end: the writer was cut off.
    truncated: bool


def parse(line: bytes) -> events.AnyEvent:
    """One line of a trace. Raises ``msgspec.DecodeError`` (``ValidationError`` is one) for any other text."""
    return _decoder.decode(line)


def read(lines: Iterable[bytes]) -> Trace:
    """Collect the events of a trace (a file opened in binary mode, for one) by process image.

    A line that is no event is counted, and the rest is used all the same.
    """
    images: list[_Image] = []
    current: dict[int, _Image] = {}
    malformed, why, truncated = 0, None, False
    for number, line in enumerate(lines, 1):
        try:
            event = parse(line)
        except msgspec.DecodeError as error:
            if not line.endswith(b"\n"):
                truncated = True
                continue
            malformed += 1
            why = why or f"line {number}: {error}"
            continue
        image = current.get(event.pid)
        if image is None and images and isinstance(event, events.Exec) and event.child:
            image = images[0]  # a forked child that is not followed: all that it says is what it becomes
        elif image is None or isinstance(event, events.Start):
            image = current[event.pid] = _Image(event.pid)
            images.append(image)
        image.take(event)
    return Trace([image.process() for image in images], malformed, why, truncated)


class _Running(NamedTuple):
    """A destructor that has been entered and has not returned."""

    enter: events.Enter
    #: Time of the destructors that it ran itself, as a box of one.
    inner: list[int]


class _Image:
    """The events of one program image."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.start: events.Start | None = None
        self.objects: list[events.Object] = []
        self.rows: list[Ran] = []
        self.execs: list[events.Exec] = []
        self.incidents = Incidents()
        self.compartments: list[events.CompartmentCounts] = []
        self.exit: events.Exit | None = None
        self.counters: events.Counters | None = None
        self.end: events.End | None = None
        self.registered: dict[tuple[int, int], Kind] = {}
        self.ran: set[tuple[int, int]] = set()
        self.fallbacks: dict[int, str] = {}
        self.running: dict[int, list[_Running]] = {}
        self.last: events.AnyEvent | None = None

    def take(self, event: events.AnyEvent) -> None:
        """Add an event."""
        self.last = event
        match event:
            case events.Enter():
                self._enter(event)
            case events.Leave():
                self._leave(event)
            case events.Register():
                self.registered[event.record, event.generation] = event.kind
            case events.Object():
                self.objects.append(event)
                self.incidents.take_object(event)
            case events.Fallback():
                self.fallbacks[event.seq] = event.why
            case events.Exec():
                self.execs.append(event)
            case events.Violation() | events.Fault() | events.Stack():
                self.incidents.take(event)
            case events.CompartmentCounts():
                self.compartments.append(event)
            case events.Start():
                self.start = event
            case events.Exit():
                self.exit = self.exit or event
            case events.Counters():
                self.counters = event
            case events.End():
                self.end = event

    def _enter(self, event: events.Enter) -> None:
        stack = self.running.setdefault(event.tid, [])
        while len(stack) > event.depth:  # left by longjmp, or by the end of its thread
            self._finish(stack.pop().enter, None, None)
        stack.append(_Running(event, [0]))

    def _leave(self, event: events.Leave) -> None:
        stack = self.running.get(event.tid, [])
        while stack:
            running = stack.pop()
            if running.enter.seq == event.seq:
                self._finish(running.enter, event, event.ns - running.inner[0])
                if stack:
                    stack[-1].inner[0] += event.ns
                return
            self._finish(running.enter, None, None)

    def _finish(self, enter: events.Enter, leave: events.Leave | None, self_ns: int | None) -> None:
        self.ran.add((enter.record, enter.generation))
        self.rows.append(
            Ran(
                order=enter.seq,
                kind=enter.kind,
                address=enter.function.address,
                object=enter.function.object,
                rva=enter.function.rva,
                symbol=None,
                name=None,
                dso=enter.dso,
                owner=enter.owner,
                owner_name=enter.owner_name,
                thread=enter.tid,
                main_thread=enter.tid == enter.pid,
                moment=enter.moment,
                depth=enter.depth,
                ns=None if leave is None else leave.ns,
                self_ns=self_ns if self_ns is None else max(self_ns, 0),
                outcome=None if leave is None else leave.outcome,
                unenforced=enter.unenforced,
                fallback=self.fallbacks.get(enter.seq),
                foreign=enter.foreign,
                vague=enter.vague,
            )
        )

    def process(self) -> Process:
        """What the events add up to."""
        for stack in self.running.values():
            while stack:
                self._finish(stack.pop().enter, None, None)
        self.rows.sort(key=lambda row: row.order)
        left = self.counters.left if self.counters else len(self.registered.keys() - self.ran)
        dormant = sum(kind in _DORMANT for kind in self.registered.values())
        return Process(
            pid=self.pid,
            start=self.start,
            objects=self.objects,
            destructors=self.rows,
            registered=self.counters.registered if self.counters else len(self.registered),
            left=left,
            dormant=min(left, dormant),
            exit=self.exit,
            execs=self.execs,
            replaced_by=self._replaced_by(),
            faults=self.incidents.faults,
            violations=self.incidents.violations,
            compartments=self.compartments,
            counters=self.counters,
            end=self.end,
        )

    def _replaced_by(self) -> str | None:
        """A process that has become another program says so last of all: had ``exec`` failed, it would have gone on."""
        last = self.last
        return last.path if isinstance(last, events.Exec) and not last.child else None

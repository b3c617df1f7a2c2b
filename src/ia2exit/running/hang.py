"""A program that takes too long: asked where its exit hangs, then ended.

The runtime answers :data:`ASK` during the exit phase with a ``fault`` (``what`` = ``timeout``) and a ``stack`` for
every other thread. Before that phase nobody has set a handler for it, and it would end the program.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec

#: The signal by which the runtime is asked for the stacks of all threads.
ASK = signal.SIGRTMAX - 2
#: Seconds that the answer may take, between looks for it, and from SIGTERM to SIGKILL.
_ANSWER, _LOOK, _GRACE = 2.0, 0.02, 5.0


class _Head(msgspec.Struct, frozen=True):
    """As much of an event as matters here."""

    event: str
    pid: int
    what: str = ""


class Patience:
    """How long a program may run, and what is done then.

    Args:
        seconds: how long.
        events: file that the events of the program are written to.
        descends: whether a process (first) is, or comes from, another.
    """

    def __init__(self, seconds: float, events: str, descends: Callable[[int, int], bool]) -> None:
        self.seconds = seconds
        #: Whether the time has run out, and the processes that were asked where their exit hangs.
        self.over = False
        self.asked: set[int] = set()
        self._progress = _Progress(events)
        self._descends = descends
        self._steps: Iterator[float] = iter(())
        self._next = math.inf

    def begin(self, child: int) -> None:
        """The program has been started."""
        self._steps = self._run(child)
        self._advance()

    @property
    def answered(self) -> bool:
        """Whether any of the processes that were asked has answered."""
        return any(self._progress.answers.get(pid) for pid in self.asked)

    @property
    def left(self) -> float | None:
        """Seconds until :meth:`act` has something to do; None when never."""
        return None if self._next == math.inf else max(self._next - time.monotonic(), 0.0)

    def act(self) -> None:
        """Take the next step if its time has come."""
        if time.monotonic() >= self._next:
            self._advance()

    def _advance(self) -> None:
        self._next = time.monotonic() + next(self._steps)

    def _run(self, child: int) -> Iterator[float]:
        """What is done, step by step; yields the seconds until the next."""
        yield self.seconds
        self.over = True
        self._progress.read()
        self.asked = {pid for pid in self._progress.exiting if self._descends(pid, child)}
        awaited = {pid: _threads(pid) for pid in self.asked if _send(pid, ASK)}
        for _ in range(int(_ANSWER / _LOOK)):
            self._progress.read()
            if all(self._progress.answers.get(pid, 0) >= threads for pid, threads in awaited.items()):
                break
            yield _LOOK
        for pid in {child, *self.asked}:
            _send(pid, signal.SIGTERM)
            _send(pid, signal.SIGCONT)  # a program that was stopped takes no signal otherwise
        yield _GRACE
        for pid in {child, *self.asked}:
            _send(pid, signal.SIGKILL)
        while True:
            yield math.inf


class _Progress:
    """What a growing trace says about who is in its exit phase, and who has answered."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        #: Processes whose exit phase has begun and not ended.
        self.exiting: set[int] = set()
        #: Process -> events that answer :data:`ASK`, one for each thread.
        self.answers: dict[int, int] = {}

    def read(self) -> None:
        """Take the lines that have come since the last time."""
        with suppress(OSError), open(self._path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offset += len(whole)
            for line in whole.splitlines():
                with suppress(msgspec.DecodeError):
                    self._take(msgspec.json.decode(line, type=_Head))

    def _take(self, head: _Head) -> None:
        if head.event == "exit":
            self.exiting.add(head.pid)
        elif head.event in ("start", "end"):
            self.exiting.discard(head.pid)
        elif head.event == "stack" or (head.event == "fault" and head.what == "timeout"):
            self.answers[head.pid] = self.answers.get(head.pid, 0) + 1


def _threads(pid: int) -> int:
    """How many threads a process has; 0 when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:  # gone, or not ours to signal any more
        return False
    return True

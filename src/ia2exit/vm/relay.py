"""The host's end of the line: passes streams, signals and the terminal's size on, and the agent's answers back."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ia2exit.errors import Ia2exitError
from ia2exit.vm.boot import Running, failed
from ia2exit.vm.guest import channel
from ia2exit.vm.request import Request

#: Exit status of a command whose time ran out, as timeout(1) has it.
TIMED_OUT = 124
_CHUNK = 1 << 16
#: Bytes for the guest that may wait; standard input is not read while there are more.
_PENDING = 1 << 20
#: A pipe that select(2) calls writable takes so many bytes without blocking (PIPE_BUF).
_PIECE = 4096
#: The guest is ended when so many interrupts in a row have not reached the command: it hangs.
_PATIENCE = 3
_INTERRUPT_KEY = b"\x03"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PASSED_ON = (*_ENDING, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class About:
    """What the guest said about itself.

    Attributes:
        kernel: release.
        cpu: model name.
        keys: whether CPU and kernel have protection keys.
        seconds: from the start of its kernel to this line.
    """

    kernel: str
    cpu: str
    keys: bool
    seconds: float

    @classmethod
    def parse(cls, text: bytes) -> About:
        """From the payload of the frame ``UP``."""
        told = dict(line.split("=", 1) for line in text.decode(errors="replace").splitlines())
        return cls(told["kernel"], told["cpu"], told["keys"] == "1", float(told["seconds"]))


@dataclass(frozen=True)
class Ended:
    """How the command ended: an exit status, or the number of a signal (the other is None)."""

    status: int | None
    signal: int | None
    about: About | None = None


def relay(running: Running, request: Request) -> Ended:
    """Wait for the agent, have it run the command, and be its terminal until it has ended.

    Raises:
        Ia2exitError: the guest did not come up, or ended before the command did; status 124: its time was up.
    """
    with _wakeup() as woken:
        line = _Line(running)
        with _progress(running) as show:
            while line.about is None:
                line.wait([woken], [], 0.5)
                _check_interrupted(woken)
                show()
        if not line.about.keys:
            raise failed(running, f"CPU and kernel have no protection keys (Linux {line.about.kernel})")
        with _raw_terminal(request.terminal):
            return _Relay(line, request, woken).run()


class _Line:
    """The socket to the agent: what waits to be sent, and what has arrived."""

    def __init__(self, running: Running) -> None:
        self.running = running
        running.line.setblocking(False)
        self._reader = channel.Reader()
        self._pending = bytearray()
        #: Bytes for our own standard output and error that have not been written yet.
        self.output = {1: bytearray(), 2: bytearray()}
        self.about: About | None = None
        self.ended: Ended | None = None
        self.interrupts = 0

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """One frame, when the guest will take it."""
        self._pending += channel.frame(kind, payload)

    @property
    def is_full(self) -> bool:
        """Whether more than enough waits to be sent."""
        return len(self._pending) > _PENDING

    def wait(self, wanted: list[int], taking: list[int], most: float) -> tuple[set[int], set[int]]:
        """Wait for one of these descriptors, move what can be moved, for ``most`` seconds at most.

        Raises:
            Ia2exitError: the guest is gone, or its time is up.
        """
        fd = self.running.line.fileno()
        hears = [] if any(self.output.values()) or self.ended else [fd]
        if self.running.deadline is not None:
            most = max(0.0, min(most, self.running.deadline - time.monotonic()))
        ready, writable, _ = select.select([*wanted, *hears], [*taking, *([fd] if self._pending else [])], [], most)
        if fd in writable:
            self._push()
        if fd in ready:
            self._hear()
        if self.ended is None:
            self._check()
        return set(ready), set(writable)

    def _check(self) -> None:
        """Raise where the guest's time is up."""
        now, running = time.monotonic(), self.running
        if running.deadline is not None and now > running.deadline:
            raise failed(running, f"ended after {now - running.began:.0f} s, as --timeout says", TIMED_OUT)
        if self.about is None and running.boot_deadline < now:
            raise failed(running, f"the guest did not come up within {now - running.began:.0f} s")

    def _push(self) -> None:
        try:
            del self._pending[: self.running.line.send(self._pending[:_CHUNK])]
        except BlockingIOError:
            pass
        except OSError:  # it has gone: reading says so
            self._pending.clear()

    def _hear(self) -> None:
        try:
            data = self.running.line.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            when = "before the command did" if self.about else "while it was coming up"
            raise failed(self.running, f"the guest ended {when}")
        try:
            for kind, payload in self._reader.feed(data):
                self._understand(kind, payload)
        except (ValueError, KeyError):
            raise failed(self.running, "the guest's agent cannot be understood") from None

    def _understand(self, kind: bytes, payload: bytes) -> None:
        if kind == channel.UP:
            self.about = About.parse(payload)
        elif kind == channel.OUTPUT:
            self.output[1] += payload
        elif kind == channel.ERROR:
            self.output[2] += payload
        elif kind == channel.HEARD:
            self.interrupts = 0
        elif kind == channel.ENDED:
            status = int(payload)
            by_signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            self.ended = Ended(None if by_signal else os.waitstatus_to_exitcode(status), by_signal, self.about)
        elif kind == channel.FAILED:
            raise failed(self.running, f"the command could not be started: {payload.decode(errors='replace')}")


# ---- until the agent is there ----


def _check_interrupted(woken: int) -> None:
    for number in _numbers(woken):
        if number in _ENDING:
            raise Ia2exitError("vm: interrupted while the guest was coming up", 128 + number)


@contextmanager
def _progress(running: Running) -> Iterator[Progress]:
    show = Progress(running)
    try:
        yield show
    finally:
        show.clear()


class Progress:
    """One line on a terminal that says how long the guest has been coming up; nothing in a pipe."""

    def __init__(self, running: Running) -> None:
        self._began = running.began
        self._on = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self) -> None:
        """Say it again."""
        if self._on:
            sys.stderr.write(f"\r\033[Kia2exit: vm: the guest is coming up ({time.monotonic() - self._began:.0f} s)")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave nothing on the terminal."""
        if self._on:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


# ---- while it runs ----


class _Relay:
    """Between our standard streams and the line."""

    def __init__(self, line: _Line, request: Request, woken: int) -> None:
        self._line = line
        self._request = request
        self._woken = woken
        self._input_open = True
        line.send(channel.RUN, request.encode())

    def run(self) -> Ended:
        """Until the command has ended, and all that it wrote is written."""
        line = self._line
        while line.ended is None or any(line.output.values()):
            writing = [fd for fd, data in line.output.items() if data]
            reading = [0] if self._reads_input() else []
            ready, writable = line.wait([self._woken, *reading], writing, 1.0)
            for fd in writing:
                if fd in writable:
                    self._write(fd)
            if self._woken in ready:
                self._signals()
            if 0 in ready and reading:
                self._read_input()
        return line.ended

    def _reads_input(self) -> bool:
        """Whether to read standard input now; a terminal's only in the foreground: else reading would stop us."""
        if not self._input_open or self._line.is_full or self._line.ended:
            return False
        return not os.isatty(0) or _in_foreground()

    def _write(self, fd: int) -> None:
        """Some of what waits for one of our own streams; where nobody reads it any more, the command is told."""
        waiting = self._line.output[fd]
        try:
            del waiting[: os.write(fd, waiting[:_PIECE])]
        except BlockingIOError:
            pass
        except OSError:
            waiting.clear()
            self._line.send(channel.UNREAD, b"%d" % fd)

    def _read_input(self) -> None:
        try:
            data = os.read(0, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # not open for reading, or a terminal that has gone
            data = b""
        self._input_open = bool(data)
        self._line.send(channel.INPUT if data else channel.END_OF_INPUT, data)
        if self._request.terminal:
            self._count_interrupts(data.count(_INTERRUPT_KEY))

    def _signals(self) -> None:
        for number in _numbers(self._woken):
            if number == signal.SIGWINCH and self._request.terminal:
                columns, rows = os.get_terminal_size(1)
                self._line.send(channel.SIZE, b"%d %d" % (rows, columns))
            elif number in _PASSED_ON:
                self._line.send(channel.SIGNAL, b"%d" % number)
                self._count_interrupts(number == signal.SIGINT)

    def _count_interrupts(self, more: int) -> None:
        self._line.interrupts += more
        if self._line.interrupts >= _PATIENCE:
            raise failed(self._line.running, "interrupted, and the guest does not answer", 128 + signal.SIGINT)


# ---- the calling process ----


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # not our controlling terminal: reading does not stop us
        return True


def _numbers(woken: int) -> bytes:
    try:
        return os.read(woken, _CHUNK)
    except BlockingIOError:
        return b""


def _nothing(number: int, frame: FrameType | None) -> None:
    """The handler: what matters is the number in the pipe."""


@contextmanager
def _wakeup() -> Iterator[int]:
    """The read end of a pipe that gets the number of each signal that is passed on; ignored ones stay ignored."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    wanted = [number for number in (*_PASSED_ON, signal.SIGWINCH) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _nothing) for number in wanted}
    old = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


@contextmanager
def _raw_terminal(wanted: bool) -> Iterator[None]:
    """Keys go to the guest's terminal as they are; it echoes them and makes signals of them."""
    if not wanted:
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def held_streams() -> Iterator[list[int]]:
    """The standard streams that are closed, for as long as something is open in their place: else a socket would be."""
    closed = []
    try:
        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            closed.append(fd)
        os.close(fd)
        yield closed
    finally:
        for fd in closed:
            os.close(fd)

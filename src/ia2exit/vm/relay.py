"""The host's end of the line: passes streams, signals and the terminal's size on, and the agent's answers back."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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
#: The guest is ended after so many SIGINT: a command that hears none of them, or a guest that hangs.
_PATIENCE = 3
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


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


@dataclass(frozen=True)
class Ended:
    """How the command ended: an exit status, or the number of a signal (the other is None)."""

    status: int | None
    signal: int | None
    about: About | None = None


@dataclass
class _State:
    line: socket.socket
    reader: channel.Reader = field(default_factory=channel.Reader)
    pending: bytearray = field(default_factory=bytearray)
    about: About | None = None
    ended: Ended | None = None
    input_open: bool = True
    interrupts: int = 0


def relay(running: Running, request: Request) -> Ended:
    """Wait for the agent, have it run the command, and be its terminal until it has ended.

    Raises:
        Ia2exitError: the guest did not come up, or ended before the command did; status 124: its time was up.
    """
    with _wakeup() as woken:
        line = _wait_for_agent(running, woken)
        with line, _raw_terminal(request.terminal):
            line.setblocking(False)
            state = _State(line)
            while state.ended is None:
                _step(running, request, state, woken)
            return state.ended


# ---- until the agent is there ----


def _wait_for_agent(running: Running, woken: int) -> socket.socket:
    with _progress(running) as show:
        while True:
            wanted: list[socket.socket | int] = [running.listener, woken]
            ready, _, _ = select.select(wanted, [], [], 0.5)
            if running.listener in ready:
                return running.listener.accept()[0]
            if woken in ready:
                for number in os.read(woken, _CHUNK):
                    if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                        raise Ia2exitError("vm: interrupted while the guest was coming up", 128 + number)
            _check(running)
            show()


def _check(running: Running) -> None:
    """Raise where the guest has ended, or its time is up."""
    if running.process.poll() is not None:
        raise failed(running, "the guest ended before the command did")
    now = time.monotonic()
    if running.deadline is not None and now > running.deadline:
        raise failed(running, f"ended after {now - running.began:.0f} s, as --timeout says", TIMED_OUT)
    if running.boot_deadline < now:
        raise failed(running, f"the guest did not come up within {now - running.began:.0f} s")


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


def _step(running: Running, request: Request, state: _State, woken: int) -> None:
    wanted: list[socket.socket | int] = [state.line, woken]
    if state.about and state.input_open and len(state.pending) < _PENDING:
        wanted.append(0)
    left = 1.0 if running.deadline is None else max(0.0, min(1.0, running.deadline - time.monotonic()))
    ready, writable, _ = select.select(wanted, [state.line] if state.pending else [], [], left)
    if state.line in ready:
        _hear(running, request, state)
    if state.ended is not None:
        return
    if woken in ready:
        _signals(running, state, woken)
    if 0 in ready:
        _read_input(state)
    if writable or state.pending:
        with suppress(BlockingIOError):
            del state.pending[: state.line.send(state.pending)]
    _check(running)


def _hear(running: Running, request: Request, state: _State) -> None:
    try:
        data = state.line.recv(_CHUNK)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    if not data:
        raise failed(running, "the guest ended before the command did")
    for kind, payload in state.reader.feed(data):
        if kind == channel.UP:
            running.boot_deadline = float("inf")
            state.about = About(**json.loads(payload))
            state.pending += channel.frame(channel.RUN, request.encode())
        elif kind == channel.OUTPUT:
            _write(1, payload, state)
        elif kind == channel.ERROR:
            _write(2, payload, state)
        elif kind == channel.ENDED:
            status = int(payload)
            by_signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            state.ended = Ended(None if by_signal else os.waitstatus_to_exitcode(status), by_signal, state.about)
        elif kind == channel.FAILED:
            raise failed(running, f"the command could not be started: {payload.decode(errors='replace')}")


def _write(fd: int, data: bytes, state: _State) -> None:
    """To one of our own streams; where nobody reads it any more, the command hears of that as it would here."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [], 1.0)
        except BrokenPipeError:
            state.pending += channel.frame(channel.SIGNAL, b"%d" % signal.SIGPIPE)
            return
        except OSError:  # closed: as for a command here, that is its own affair
            return


def _read_input(state: _State) -> None:
    try:
        data = os.read(0, _CHUNK)
    except BlockingIOError:
        return
    except OSError:  # closed, or a terminal that has gone
        data = b""
    state.input_open = bool(data)
    state.pending += channel.frame(channel.INPUT, data) if data else channel.frame(channel.END_OF_INPUT)


def _signals(running: Running, state: _State, woken: int) -> None:
    for number in os.read(woken, _CHUNK):
        if number == signal.SIGWINCH and os.isatty(1):
            columns, rows = os.get_terminal_size(1)
            state.pending += channel.frame(channel.SIZE, b"%d %d" % (rows, columns))
        elif number in _PASSED_ON:
            state.pending += channel.frame(channel.SIGNAL, b"%d" % number)
            state.interrupts += number == signal.SIGINT
            if state.interrupts >= _PATIENCE:
                raise failed(running, "interrupted", 128 + signal.SIGINT)


# ---- the calling process ----


def _nothing(number: int, frame: FrameType | None) -> None:
    """The handler: what matters is the number in the pipe."""


@contextmanager
def _wakeup() -> Iterator[int]:
    """The read end of a pipe that gets the number of each signal that is passed on."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = {number: signal.signal(number, _nothing) for number in (*_PASSED_ON, signal.SIGWINCH)}
    old = signal.set_wakeup_fd(write)
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

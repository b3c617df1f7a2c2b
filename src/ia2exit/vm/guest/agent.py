"""Runs in the guest: starts the command that the host names, as the user that it names, and passes its streams on.

The standard library only, and little of it: the emulated CPU is slow.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ia2exit.vm.guest import channel
else:  # beside this file: the package itself would take seconds to import here
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import channel

_CHUNK = 1 << 16
#: Bytes that wait for a command that does not read its input; the host is not read until they are fewer.
_PENDING = 1 << 20
_STATUS_NOT_FOUND = 127
_STATUS_NOT_EXECUTED = 126


def _port() -> int:
    """Open the virtio port of that name."""
    ports = "/sys/class/virtio-ports"
    for entry in sorted(os.listdir(ports)):
        with open(f"{ports}/{entry}/name") as file:
            if file.read().strip() == channel.PORT:
                return os.open(f"/dev/{entry}", os.O_RDWR | os.O_CLOEXEC)
    raise OSError(f"no virtio port is named {channel.PORT}")


def _about() -> dict[str, Any]:
    """What the host is told of this guest (:class:`ia2exit.vm.relay.About`)."""
    cpu: dict[str, str] = {}
    with open("/proc/cpuinfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            cpu.setdefault(name.strip(), value.strip())
    with open("/proc/uptime") as file:
        seconds = float(file.read().split()[0])
    flags = cpu.get("flags", "").split()
    keys = "pku" in flags and "ospke" in flags
    return {"kernel": os.uname().release, "cpu": cpu.get("model name", "unknown"), "keys": keys, "seconds": seconds}


class _Command:
    """The command, and our ends of its streams; -1: closed."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.terminal: bool = request["terminal"]
        given = self._open_terminal(request) if self.terminal else self._open_pipes()
        self.error = -1
        if self.terminal and request["error_to_terminal"]:
            given.append(given[1])
        else:
            self.error, write = os.pipe()
            given.append(write)
        os.set_blocking(self.input, False)
        self.pending = bytearray()
        self.input_ends = False
        self.pid = os.fork()
        if self.pid == 0:
            self._become(request, given)
        for fd in set(given):
            os.close(fd)

    def _open_terminal(self, request: dict[str, Any]) -> list[int]:
        import pty

        self.output, theirs = pty.openpty()
        self.input = os.dup(self.output)
        self.resize(request["rows"], request["columns"])
        return [theirs, theirs]

    def _open_pipes(self) -> list[int]:
        read, self.input = os.pipe()
        self.output, write = os.pipe()
        return [read, write]

    def _become(self, request: dict[str, Any], given: list[int]) -> NoReturn:
        """In the child: the command. Does not return."""
        name = request["command"][0]
        try:
            os.setsid()
            if self.terminal:
                import fcntl
                import termios

                fcntl.ioctl(given[0], termios.TIOCSCTTY, 0)
            for number, fd in enumerate(given):
                os.dup2(fd, number)
            os.closerange(3, 256)
            for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(ignored, signal.SIG_DFL)
            os.umask(request["umask"])
            os.setgroups(request["groups"])
            os.setgid(request["gid"])
            os.setuid(request["uid"])
            os.chdir(request["folder"])
            os.execvpe(name, request["command"], request["environment"])
        except OSError as error:
            where = f": {error.filename}" if error.filename not in (None, name) else ""
            os.write(2, f"ia2exit: vm: {name}: {error.strerror}{where}\n".encode(errors="surrogateescape"))
            os._exit(_STATUS_NOT_FOUND if isinstance(error, FileNotFoundError) else _STATUS_NOT_EXECUTED)
        finally:
            os._exit(_STATUS_NOT_EXECUTED)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal that size; its foreground job gets SIGWINCH."""
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.output, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def feed(self) -> None:
        """Give the command what it will take of its input."""
        try:
            while self.pending:
                del self.pending[: os.write(self.input, self.pending[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            self.pending.clear()
            self.input_ends = True
        if self.input_ends and self.input >= 0 and not self.terminal:
            os.close(self.input)
            self.input = -1

    def signal(self, number: int) -> None:
        """To the command's process group, as a terminal would."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class _Agent:
    """The line to the host, and the command once it has been asked for."""

    def __init__(self) -> None:
        self.port = _port()
        self.reader = channel.Reader()
        self.command: _Command | None = None
        self.told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """One frame to the host; waits until there is room for it."""
        data = memoryview(channel.frame(kind, payload))
        while data:
            data = data[os.write(self.port, data) :]

    def run(self) -> NoReturn:
        """Serve until the host goes."""
        self.send(channel.UP, json.dumps(_about()).encode())
        while True:
            if self.command is None:
                self._hear()
            else:
                self._step(self.command)

    def _step(self, command: _Command) -> None:
        wanted = [self.told, *(fd for fd in (command.output, command.error) if fd >= 0)]
        if len(command.pending) < _PENDING:
            wanted.append(self.port)
        feedable = [command.input] if command.pending and command.input >= 0 else []
        ready, writable, _ = select.select(wanted, feedable, [])
        if self.port in ready:
            self._hear()
        if writable:
            command.feed()
        self._pass_on(command, ready)
        if self.told in ready:
            os.read(self.told, _CHUNK)
            self._reap(command)

    def _hear(self) -> None:
        data = os.read(self.port, _CHUNK)
        if not data:  # the host has gone: there is nobody to run for
            sys.exit(1)
        for kind, payload in self.reader.feed(data):
            if kind == channel.RUN:
                try:
                    self.command = _Command(json.loads(payload))
                except OSError as error:
                    self.send(channel.FAILED, str(error).encode())
            elif self.command is not None:
                self._obey(self.command, kind, payload)

    def _obey(self, command: _Command, kind: bytes, payload: bytes) -> None:
        if kind == channel.INPUT:
            command.pending += payload
            command.feed()
        elif kind == channel.END_OF_INPUT:
            command.input_ends = True
            command.feed()
        elif kind == channel.SIZE:
            command.resize(*map(int, payload.split()))
        elif kind == channel.SIGNAL:
            command.signal(int(payload))

    def _pass_on(self, command: _Command, ready: list[int]) -> None:
        if command.output in ready:
            command.output = self._pass(channel.OUTPUT, command.output)
        if command.error in ready:
            command.error = self._pass(channel.ERROR, command.error)

    def _pass(self, kind: bytes, fd: int) -> int:
        """Send what can be read of a stream. Returns it, or -1 where it has ended."""
        try:
            data = os.read(fd, _CHUNK)
        except OSError:  # a terminal whose last user has gone
            data = b""
        if data:
            self.send(kind, data)
            return fd
        os.close(fd)
        return -1

    def _reap(self, command: _Command) -> None:
        """Orphans come to the first process of the guest, not to us: any child is the command, or was never ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == command.pid:
                self._finish(command, status)

    def _finish(self, command: _Command, status: int) -> None:
        """What the command wrote before it ended is passed on; nobody waits for what its children still write."""
        while True:
            streams = [fd for fd in (command.output, command.error) if fd >= 0]
            ready = select.select(streams, [], [], 0)[0]
            if not ready:
                break
            self._pass_on(command, ready)
        os.sync()
        self.send(channel.ENDED, str(status).encode())
        self.command = None


if __name__ == "__main__":
    _Agent().run()

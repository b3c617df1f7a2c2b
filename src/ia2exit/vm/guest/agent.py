"""Runs in the guest as its first process once all is mounted: starts the command, passes its streams and signals on.

The emulated CPU is slow, and this module's imports are read over 9p while somebody waits for the guest to come up:
hence as few as there can be (``_signal`` for ``signal``, which imports ``enum`` and more; no ``contextlib``).
"""

import marshal
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, NoReturn

    from ia2exit.vm.guest import channel
else:
    import _signal as signal

    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import channel

_CHUNK = 1 << 16
#: Bytes that wait for a command that does not read its input, or for a host that does not read: no more are taken in.
_PENDING = 1 << 20
_STATUS_NOT_FOUND = 127
_STATUS_NOT_EXECUTED = 126
_INTERRUPT_KEY = b"\x03"


def _port() -> int:
    """Open the virtio port of that name."""
    ports = "/sys/class/virtio-ports"
    for entry in sorted(os.listdir(ports)):
        with open(f"{ports}/{entry}/name") as file:
            if file.read().strip() == channel.PORT:
                return os.open(f"/dev/{entry}", os.O_RDWR | os.O_CLOEXEC)
    raise OSError(f"no virtio port is named {channel.PORT}")


def _about() -> bytes:
    """What the host is told of this guest (:class:`ia2exit.vm.relay.About`)."""
    cpu: dict[str, str] = {}
    with open("/proc/cpuinfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            cpu.setdefault(name.strip(), value.strip())
    with open("/proc/uptime") as file:
        seconds = file.read().split()[0]
    keys = int("ospke" in cpu.get("flags", "").split())
    model = cpu.get("model name", "unknown")
    return f"kernel={os.uname().release}\ncpu={model}\nkeys={keys}\nseconds={seconds}".encode()


class _Command:
    """The command, and our ends of its streams; -1: closed."""

    def __init__(self, request: "dict[str, Any]") -> None:
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

    def _open_terminal(self, request: "dict[str, Any]") -> list[int]:
        self.output, theirs = os.openpty()
        self.input = os.dup(self.output)
        self.resize(request["rows"], request["columns"])
        return [theirs, theirs]

    def _open_pipes(self) -> list[int]:
        read, self.input = os.pipe()
        self.output, write = os.pipe()
        return [read, write]

    def _become(self, request: "dict[str, Any]", given: list[int]) -> "NoReturn":
        """In the child: the command. Does not return."""
        name: bytes = request["command"][0]
        try:
            self._take_streams(request, given)
            _take_limits(request["limits"])
            for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(ignored, signal.SIG_DFL)
            os.umask(request["umask"])
            os.setgroups(request["groups"])
            os.setgid(request["gid"])
            os.setuid(request["uid"])
            os.chdir(request["folder"])
            os.execvpe(name, request["command"], request["environment"])
        except OSError as error:
            where = b""
            if error.filename == request["folder"]:
                where = b": " + request["folder"]
            os.write(2, b"ia2exit: vm: %s: %s%s\n" % (name, (error.strerror or "").encode(), where))
            os._exit(_STATUS_NOT_FOUND if isinstance(error, FileNotFoundError) else _STATUS_NOT_EXECUTED)
        finally:
            os._exit(_STATUS_NOT_EXECUTED)

    def _take_streams(self, request: "dict[str, Any]", given: list[int]) -> None:
        os.setsid()
        if self.terminal:
            import fcntl
            import termios

            fcntl.ioctl(given[0], termios.TIOCSCTTY, 0)
        for number, fd in enumerate(given):
            os.dup2(fd, number)
        for number in request["closed"]:
            os.close(number)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal that size; its foreground job gets SIGWINCH."""
        import fcntl
        import termios

        size = b"".join(number.to_bytes(2, sys.byteorder) for number in (rows, columns, 0, 0))
        fcntl.ioctl(self.output, termios.TIOCSWINSZ, size)

    def feed(self) -> None:
        """Give the command what it will take of its input."""
        try:
            while self.pending and self.input >= 0:
                del self.pending[: os.write(self.input, self.pending[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            self.input_ends = True
        if self.input_ends and not self.terminal:
            self.pending.clear()
            if self.input >= 0:
                os.close(self.input)
                self.input = -1

    def left_in(self, fd: int) -> int:
        """Bytes of a stream that are there to be read now."""
        import fcntl
        import termios

        return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4), sys.byteorder)

    def signal(self, number: int) -> None:
        """To the command's process group, as a terminal would."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass


def _take_limits(limits: list[tuple[int, int, int]]) -> None:
    """The host's resource limits, as far as this kernel has them."""
    import resource

    for number, soft, hard in limits:
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError):
            pass


class _Agent:
    """The line to the host, and the command once it has been asked for."""

    def __init__(self) -> None:
        self.port = _port()
        os.set_blocking(self.port, False)
        self.reader = channel.Reader()
        self.outgoing = bytearray()
        self.command: _Command | None = None
        self.told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """One frame to the host, when it will take it."""
        self.outgoing += channel.frame(kind, payload)

    def run(self) -> "NoReturn":
        """Serve until the host goes."""
        self.send(channel.UP, _about())
        while True:
            self._step()

    def _step(self) -> None:
        command = self.command
        wanted = [self.told]
        if command is None or len(command.pending) < _PENDING:
            wanted.append(self.port)
        if command is not None and len(self.outgoing) < _PENDING:
            wanted += [fd for fd in (command.output, command.error) if fd >= 0]
        taking = [self.port] if self.outgoing else []
        if command is not None and command.pending and command.input >= 0:
            taking.append(command.input)
        ready, writable, _ = select.select(wanted, taking, [])
        if self.port in writable:
            self._tell()
        if self.port in ready:
            self._hear()
        if command is not None:
            if command.input in writable:
                command.feed()
            self._pass_on(command, ready)
        if self.told in ready:
            os.read(self.told, _CHUNK)
            self._reap()

    def _tell(self) -> None:
        try:
            del self.outgoing[: os.write(self.port, self.outgoing[:_CHUNK])]
        except BlockingIOError:
            pass

    def _hear(self) -> None:
        try:
            data = os.read(self.port, _CHUNK)
        except BlockingIOError:
            return
        if not data:  # the host has gone: there is nobody to run for
            sys.exit(1)
        for kind, payload in self.reader.feed(data):
            if kind == channel.RUN:
                try:
                    self.command = _Command(marshal.loads(payload))
                except OSError as error:
                    self.send(channel.FAILED, str(error).encode(errors="replace"))
            elif self.command is not None:
                self._obey(self.command, kind, payload)

    def _obey(self, command: _Command, kind: bytes, payload: bytes) -> None:
        if kind == channel.INPUT:
            command.pending += payload
            command.feed()
            if command.terminal and _INTERRUPT_KEY in payload:
                self.send(channel.HEARD)
        elif kind == channel.END_OF_INPUT:
            command.input_ends = True
            if not command.pending:
                command.feed()
        elif kind == channel.SIZE:
            command.resize(*map(int, payload.split()))
        elif kind == channel.SIGNAL:
            command.signal(int(payload))
            self.send(channel.HEARD)
        elif kind == channel.UNREAD:
            self._close(command, int(payload))

    def _close(self, command: _Command, number: int) -> None:
        """Nobody reads that stream: what the command writes next fails, as it would on the host."""
        if number == 1 and command.output >= 0 and not command.terminal:
            os.close(command.output)
            command.output = -1
        elif number == 2 and command.error >= 0:
            os.close(command.error)
            command.error = -1

    def _pass_on(self, command: _Command, ready: list[int]) -> None:
        if command.output >= 0 and command.output in ready:
            command.output = self._pass(channel.OUTPUT, command.output)
        if command.error >= 0 and command.error in ready:
            command.error = self._pass(channel.ERROR, command.error)

    def _pass(self, kind: bytes, fd: int, most: int = _CHUNK) -> int:
        """Send what can be read of a stream. Returns it, or -1 where it has ended."""
        try:
            data = os.read(fd, most)
        except OSError:  # a terminal whose last user has gone
            data = b""
        if data:
            self.send(kind, data)
            return fd
        os.close(fd)
        return -1

    def _reap(self) -> None:
        """Orphans come to the first process: any child is the command, or was never ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.command is not None and pid == self.command.pid:
                self._finish(self.command, status)

    def _finish(self, command: _Command, status: int) -> None:
        """What the command wrote before it ended is passed on; nobody waits for what its children still write."""
        for kind, fd in ((channel.OUTPUT, command.output), (channel.ERROR, command.error)):
            left = command.left_in(fd) if fd >= 0 else 0
            while left > 0:
                before = len(self.outgoing)
                if self._pass(kind, fd, min(left, _CHUNK)) < 0:
                    break
                left -= len(self.outgoing) - before
        os.sync()
        self.send(channel.ENDED, str(status).encode())
        self.command = None


if __name__ == "__main__":
    _Agent().run()

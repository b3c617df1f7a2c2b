"""Runs in the guest: starts the command that the host names, as the user that the host names, and passes its streams on.

The standard library only, and little of it: the emulated CPU is slow.
"""

import json
import os
import select
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import channel  # type: ignore[import-not-found, unused-ignore]  # beside this file; the package is not imported in the guest

_CHUNK = 1 << 16
#: Bytes that wait for a command that does not read its input; the host is not read until they are fewer.
_PENDING = 1 << 20


def _port():
    """Open the virtio port of that name."""
    ports = "/sys/class/virtio-ports"
    for entry in sorted(os.listdir(ports)):
        with open(f"{ports}/{entry}/name") as file:
            if file.read().strip() == channel.PORT:
                return os.open(f"/dev/{entry}", os.O_RDWR | os.O_CLOEXEC)
    raise OSError(f"no virtio port is named {channel.PORT}")


def _cpu():
    """Model name and flags of the first CPU."""
    found = {}
    with open("/proc/cpuinfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    return found.get("model name", "unknown"), found.get("flags", "").split()


def _about():
    model, flags = _cpu()
    with open("/proc/uptime") as file:
        seconds = float(file.read().split()[0])
    keys = "pku" in flags and "ospke" in flags
    return {"kernel": os.uname().release, "cpu": model, "keys": keys, "seconds": seconds}


class _Command:
    """The command, and our ends of its streams; -1: closed."""

    def __init__(self, request):
        self.terminal = request["terminal"]
        if self.terminal:
            import pty

            self.output, theirs = pty.openpty()
            self.input = os.dup(self.output)
            self.resize(request["rows"], request["columns"])
            given = [theirs, theirs]
        else:
            read, self.input = os.pipe()
            self.output, write = os.pipe()
            given = [read, write]
        if self.terminal and request["error_to_terminal"]:
            self.error = -1
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

    def _become(self, request, given):
        """In the child: the command. Does not return."""
        try:
            os.setsid()
            if self.terminal:
                import fcntl
                import termios

                fcntl.ioctl(given[0], termios.TIOCSCTTY, 0)
            for number, fd in enumerate(given):
                os.dup2(fd, number)
            os.closerange(3, 256)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.umask(request["umask"])
            os.setgroups(request["groups"])
            os.setgid(request["gid"])
            os.setuid(request["uid"])
            os.chdir(request["folder"])
            environment = {os.fsencode(name): os.fsencode(value) for name, value in request["environment"].items()}
            os.execvpe(request["command"][0], request["command"], environment)
        except OSError as error:
            where = f": {error.filename}" if error.filename not in (None, request["command"][0]) else ""
            os.write(2, f"ia2exit: vm: {request['command'][0]}: {error.strerror}{where}\n".encode())
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)
        finally:
            os._exit(126)

    def resize(self, rows, columns):
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.output, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def feed(self):
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


class _Agent:
    def __init__(self):
        self.port = _port()
        self.reader = channel.Reader()
        self.command = None
        self.told, self.tell = os.pipe()
        os.set_blocking(self.tell, False)
        signal.set_wakeup_fd(self.tell)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def send(self, kind, payload=b""):
        data = memoryview(channel.frame(kind, payload))
        while data:
            data = data[os.write(self.port, data) :]

    def run(self):
        self.send(channel.UP, json.dumps(_about()).encode())
        while True:
            command = self.command
            wanted = [self.told] + ([self.port] if command is None or len(command.pending) < _PENDING else [])
            if command:
                wanted += [fd for fd in (command.output, command.error) if fd >= 0]
            writable = [command.input] if command and command.pending and command.input >= 0 else []
            ready, feedable, _ = select.select(wanted, writable, [])
            if self.port in ready:
                self._hear()
            if command is None:
                continue
            if feedable:
                command.feed()
            self._pass_on(ready)
            if self.told in ready:
                os.read(self.told, _CHUNK)
                self._reap()

    def _hear(self):
        data = os.read(self.port, _CHUNK)
        if not data:  # the host has gone: there is nobody to run for
            sys.exit(1)
        for kind, payload in self.reader.feed(data):
            if kind == channel.RUN:
                try:
                    self.command = _Command(json.loads(payload))
                except OSError as error:
                    self.send(channel.FAILED, str(error).encode())
            elif self.command is None:
                continue
            elif kind == channel.INPUT:
                self.command.pending += payload
                self.command.feed()
            elif kind == channel.END_OF_INPUT:
                self.command.input_ends = True
                self.command.feed()
            elif kind == channel.SIZE:
                self.command.resize(*map(int, payload.split()))
            elif kind == channel.SIGNAL:
                try:
                    os.killpg(self.command.pid, int(payload))
                except ProcessLookupError:
                    pass

    def _pass_on(self, ready):
        command = self.command
        for kind, name in ((channel.OUTPUT, "output"), (channel.ERROR, "error")):
            fd = getattr(command, name)
            if fd not in ready:
                continue
            try:
                data = os.read(fd, _CHUNK)
            except OSError:  # a terminal whose last user has gone
                data = b""
            if data:
                self.send(kind, data)
            else:
                os.close(fd)
                setattr(command, name, -1)

    def _reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.command.pid:
                self._finish(status)

    def _finish(self, status):
        """What the command wrote before it ended is passed on; nobody waits for what its children still write."""
        while True:
            fds = [fd for fd in (self.command.output, self.command.error) if fd >= 0]
            ready = select.select(fds, [], [], 0)[0]
            if not ready:
                break
            self._pass_on(ready)
        os.sync()
        self.send(channel.ENDED, str(status).encode())
        self.command = None


_Agent().run()

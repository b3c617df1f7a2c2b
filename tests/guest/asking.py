"""Runs in a guest: what it is like there, as JSON, for test_vm.py.

python asking.py SHARED MARK     SHARED: a folder where writes reach the host; MARK: a name that no file has
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

EXIT_STATUS = 42
#: pkey_alloc(2) of x86-64.
SYS_PKEY_ALLOC = 330
CLONE_NEWNS = 0x20000


def works(action: Callable[[], object]) -> bool:
    """Whether that can be done."""
    try:
        action()
    except OSError as error:
        print(error, file=sys.stderr)
        return False
    return True


def loopback() -> None:
    """Talk to ourselves over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"x")
        assert server.accept()[0].recv(1) == b"x"


def namespace() -> None:
    """Make a mount namespace, where the user may."""
    if os.getuid() == 0 and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def main() -> int:
    """Ask, and leave marks in places that are the guest's own."""
    shared, mark = Path(sys.argv[1]), sys.argv[2]
    (shared / f"{mark}-rw").write_text(f"{(shared / 'before').read_text()}: guest")
    Path(f"{mark}-here").write_text("gone with the guest")
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    told = {
        "flags": flags.split(),
        "keys": ctypes.CDLL(None).syscall(SYS_PKEY_ALLOC, 0, 0),
        "folder": str(Path.cwd()),
        "user": [os.getuid(), os.getgid()],
        "same_file": Path(__file__).read_text(),
        "input": sys.stdin.buffer.read().hex(),
        "venv": sys.prefix,
        "usable": {
            "loopback": works(loopback),
            "/dev/shm": works(lambda: Path(f"/dev/shm/{mark}").write_bytes(b"x" * 100000)),
            "/tmp": works(lambda: Path(f"/tmp/{mark}").write_text("x")),
            "pty": works(os.openpty),
            "namespace": works(namespace),
        },
    }
    json.dump(told, sys.stdout)
    return EXIT_STATUS


if __name__ == "__main__":
    sys.exit(main())

"""Runs a command in which every program has another glibc: a mount namespace with that one's libraries over the host's.

    python tests/glibcs/entering.py FOLDER COMMAND…

FOLDER holds ld.so, libc.so.6 and the others. Each is mounted over the file of that name beside the host's ld.so, for
this command and its children alone. So no path differs from what it is outside, PT_INTERP and /proc/self/exe included,
and every program is run by that glibc's own ld.so: those of the distribution, Python and the compiler, too. Through
``ld.so --library-path FOLDER PROGRAM`` only that one program would be, under another name for itself
(``test_by_loader.py``). Mounted one by one by a shell, the second file would be needed by the program that mounts it.

The standard library alone is used: this is a script, not a module, so that it can be started from any folder.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

LOADER = Path("/lib64/ld-linux-x86-64.so.2")
# Of <sched.h> and <sys/mount.h>.
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
REMEDY = "in a container, give it the capability SYS_ADMIN; elsewhere: sysctl -w kernel.unprivileged_userns_clone=1"

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Does not return where the command can be run."""
    if len(sys.argv) < 3:
        print("usage: python tests/glibcs/entering.py FOLDER COMMAND…", file=sys.stderr)
        return 2
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    if not (folder / LOADER.name).is_file():
        print(f"entering.py: {folder}: no {LOADER.name} in it: expected the libraries of a glibc", file=sys.stderr)
        return 2
    try:
        _unshare()
        _cover(folder)
        os.execvp(command[0], command)
    except OSError as error:
        what = error.filename or command[0]
        print(f"entering.py: {what}: {error.strerror}; {REMEDY}", file=sys.stderr)
        return 2


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _unshare() -> None:
    """A mount namespace of our own; who may not have one makes a user namespace, too, and stays the same user in it."""
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(CLONE_NEWNS) != 0:
        _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "no mount namespace can be had here")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _check(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "/")


def _cover(folder: Path) -> None:
    """Between the first mount and the last no program may be started: this process does them all."""
    host = LOADER.resolve().parent
    libraries = [(path, host / path.name) for path in sorted(folder.iterdir()) if (host / path.name).exists()]
    for ours, theirs in libraries:
        _check(_libc.mount(os.fsencode(ours), os.fsencode(theirs.resolve()), None, MS_BIND, None), str(theirs))


if __name__ == "__main__":
    sys.exit(main())

"""Where the events of a run lie while the program runs, and where they go afterwards."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ia2exit.errors import Ia2exitError

_BLOCK = 1 << 20


@contextmanager
def private_folder() -> Iterator[str]:
    """A new folder that nobody else may enter, in TMPDIR or /tmp; removed with what is in it.

    As ``tempfile.TemporaryDirectory``, whose import alone takes 15 ms.
    """
    parent = os.environ.get("TMPDIR") or "/tmp"
    path = os.path.join(os.path.abspath(parent), f"ia2exit-{os.urandom(8).hex()}")
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise Ia2exitError(
            f"{parent}: {error.strerror}: expected to make a folder for the events there; set TMPDIR to another"
        ) from None
    try:
        yield path
    finally:
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)


def check(target: str) -> None:
    """Refuse a file for the events that cannot be written, before the program is started."""
    folder = os.path.dirname(target) or "."
    if os.path.isdir(target):
        raise Ia2exitError(f"{target}: is a folder: expected a file for the events; name a file in it")
    if not os.path.isdir(folder):
        raise Ia2exitError(f"{target}: {folder} is no folder: expected a file for the events; make the folder first")
    if not os.access(target if _is_special(target) else folder, os.W_OK, effective_ids=True):
        raise Ia2exitError(f"{target}: may not be written: expected a file for the events; name another")


def keep(trace: str, target: str) -> None:
    """Put the events into a file: written beside it, then renamed; straight into a pipe or device."""
    beside = target if _is_special(target) else f"{target}.{os.getpid()}"
    try:
        _copy(trace, beside, os.O_WRONLY | (0 if beside == target else os.O_CREAT | os.O_EXCL))
        if beside != target:
            os.replace(beside, target)
    except OSError as error:
        if beside != target and os.path.exists(beside):
            os.unlink(beside)
        raise Ia2exitError(f"{target}: {error.strerror}: expected to write the events there; name another") from None


def append(trace: str, target: str) -> None:
    """Add the events to where ``IA2_TRACE_EXIT`` points: ``1`` (standard error), ``fd:N``, or a path."""
    name = {"1": "fd:2"}.get(target, target)
    if name.startswith("fd:"):
        name = f"/proc/self/fd/{name[3:]}"
    try:
        _copy(trace, name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise Ia2exitError(
            f"IA2_TRACE_EXIT={target}: {error.strerror}: expected to write the events there; name another or unset it"
        ) from None


def _is_special(path: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _copy(source: str, target: str, flags: int) -> None:
    with open(source, "rb", buffering=0) as file:
        out = os.open(target, flags | os.O_CLOEXEC, 0o666)
        try:
            while block := file.read(_BLOCK):
                while block:
                    block = block[os.write(out, block) :]
        finally:
            os.close(out)

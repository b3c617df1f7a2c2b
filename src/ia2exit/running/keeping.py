"""Where the events of a run lie while the program runs, and where they go afterwards."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

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
        with suppress(OSError):  # somebody has cleared the folder for temporary files
            for name in os.listdir(path):
                os.unlink(os.path.join(path, name))
            os.rmdir(path)


def check(target: str, what: str = "events") -> None:
    """Refuse a file that cannot be written, before the program is started; ``what`` is to be written there."""
    folder = os.path.dirname(os.path.realpath(target))
    if os.path.isdir(target):
        raise Ia2exitError(f"{target}: is a folder: expected a file for the {what}; name a file in it")
    if not os.path.isdir(folder):
        raise Ia2exitError(f"{target}: {folder} is no folder: expected a file for the {what}; make the folder first")
    if not os.access(target if _in_place(target) else folder, os.W_OK, effective_ids=True):
        raise Ia2exitError(f"{target}: may not be written: expected a file for the {what}; name another")


def keep(trace: str, target: str) -> None:
    """Put the events into a file."""
    with open(trace, "rb", buffering=0) as file:
        _put(file, target, "events")


def keep_report(text: str, target: str) -> None:
    """Put a report into a file; what no UTF-8 can say (names of files) is escaped."""
    _put(io.BytesIO(text.encode("utf-8", "backslashreplace")), target, "report")


def _put(source: IO[bytes], target: str, what: str) -> None:
    """Write beside the file, then rename; add to a pipe, a device, or a file that is open already (``/dev/fd/3``)."""
    in_place = _in_place(target)
    place = target if in_place else os.path.realpath(target)
    beside = place if in_place else f"{place}.{os.getpid()}"
    try:
        _copy(source, beside, os.O_WRONLY | (os.O_APPEND if in_place else os.O_CREAT | os.O_EXCL))
        if not in_place:
            os.replace(beside, place)
    except OSError as error:
        if not in_place and error.errno != errno.EEXIST:
            with suppress(OSError):
                os.unlink(beside)
        raise Ia2exitError(f"{target}: {error.strerror}: expected to write the {what} there; name another") from None


def append(trace: str, target: str) -> None:
    """Add the events to where ``IA2_TRACE_EXIT`` points: ``1`` (standard error), ``fd:N``, or a path."""
    name = {"1": "fd:2"}.get(target, target)
    if name.startswith("fd:"):
        name = f"/proc/self/fd/{name[3:]}"
    try:
        with open(trace, "rb", buffering=0) as file:
            _copy(file, name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise Ia2exitError(
            f"IA2_TRACE_EXIT={target}: {error.strerror}: expected to write the events there; name another or unset it"
        ) from None


def _in_place(path: str) -> bool:
    """Whether a path names something to write into rather than a file to replace."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False
    return not regular or os.path.abspath(path).startswith(("/dev/", "/proc/"))


def _copy(source: IO[bytes], target: str, flags: int) -> None:
    out = os.open(target, flags | os.O_CLOEXEC, 0o666)
    try:
        while block := source.read(_BLOCK):
            while block:
                block = block[os.write(out, block) :]
    finally:
        os.close(out)

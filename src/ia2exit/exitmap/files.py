"""Reading maps, writing results: a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.binary import MAGIC, BinaryMap, read_binary
from ia2exit.model import MAP_VERSION, ExitMap, from_json


def write_output(path: str | os.PathLike[str] | None, data: bytes) -> None:
    """Write to a file, beside it first and renamed when complete; to standard output where ``path`` is None.

    A path that is there and no regular file (a device, a FIFO) is written in place. Raises :class:`Ia2exitError`.
    """
    if path is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target.resolve(), data)
    except OSError as error:
        raise Ia2exitError(f"{target}: cannot be written ({error.strerror}); choose another -o") from None


def _replace(target: Path, data: bytes) -> None:
    """Through a temporary file in the same folder, with the permissions that ``open`` would have given."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), _mode(target))
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _mode(target: Path) -> int:
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def read_map(path: str | os.PathLike[str]) -> ExitMap | BinaryMap:
    """The map in a file, JSON or binary. Raises :class:`Ia2exitError` naming what is wrong with it."""
    source = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise Ia2exitError(f"{source}: cannot be read ({error.strerror}); expected an exit map") from None
    if data.startswith(MAGIC[:4]):
        return read_binary(data, source)
    return parse_map(data, source)


def parse_map(data: bytes, source: str = "map") -> ExitMap:
    """A map from JSON. Raises :class:`Ia2exitError`."""
    remedy = "write it again with: ia2exit map"
    try:
        document: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Ia2exitError(f"{source}: expected an exit map in JSON or binary: {error}; {remedy}") from None
    version = document.get("version") if isinstance(document, dict) else None
    if version != MAP_VERSION:
        found = "no version" if version is None else f"version {version!r}"
        raise Ia2exitError(f"{source}: exit map: {found}, expected version {MAP_VERSION}; {remedy}")
    try:
        return from_json(data, ExitMap)
    except msgspec.ValidationError as error:
        raise Ia2exitError(f"{source}: exit map: {error}; {remedy}") from None

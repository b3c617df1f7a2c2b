"""Which objects a pattern names: globs on soname, base name or path."""

from __future__ import annotations

import fnmatch
import importlib.resources
import re
from functools import cache
from pathlib import Path

from ia2exit.model import ScannedObject
from ia2exit.policy import MAIN

#: Object types that are programs: what ``@main`` names.
PROGRAM_TYPES = frozenset({"executable", "pie", "static", "static-pie"})


def is_program(scanned: ScannedObject) -> bool:
    """Whether the kernel would start this object as a program."""
    return scanned.type in PROGRAM_TYPES


def object_name(scanned: ScannedObject) -> str:
    """The name an object goes by in maps and events: its soname, else the base name of its path."""
    return scanned.soname or Path(scanned.path).name


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))


def matches(pattern: str, scanned: ScannedObject) -> bool:
    """Whether a policy's pattern names this object.

    Wildcards are those of :mod:`fnmatch` (``*``, ``?``, ``[…]``; ``*`` crosses slashes), upper and lower case
    differ. A pattern with a slash is compared with the whole path as it was found, any other with the soname and
    with the base name. ``@main`` names every program.
    """
    if pattern == MAIN:
        return is_program(scanned)
    glob = _compiled(pattern)
    if "/" in pattern:
        return glob.match(scanned.path) is not None
    return glob.match(Path(scanned.path).name) is not None or (
        scanned.soname is not None and glob.match(scanned.soname) is not None
    )


@cache
def default_shared() -> tuple[str, ...]:
    """The patterns of data/shared-objects.txt, as globs in which only ``*`` is a wildcard."""
    text = importlib.resources.files("ia2exit").joinpath("data/shared-objects.txt").read_text("utf-8")
    lines = (line.strip() for line in text.splitlines())
    return tuple(
        re.sub(r"[?\[]", lambda found: f"[{found[0]}]", line) for line in lines if line and not line.startswith("#")
    )


def is_default_shared(scanned: ScannedObject) -> bool:
    """Whether the default list makes this object shared; programs never are, whatever their name."""
    return not is_program(scanned) and any(matches(pattern, scanned) for pattern in default_shared())

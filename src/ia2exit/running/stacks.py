"""A stack as lines of text: what says nothing new is told once, and of a long one both ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ia2exit.running.records import Frame, Location
from ia2exit.running.words import place_of

#: Base name of the runtime, frames of which say nothing of the program.
_RUNTIME = "libia2.so"
#: At most so many lines, and of a recursion so many frames before the rest of it is only counted.
_MAX_LINES, _MAX_ALIKE = 32, 3


def labelled(stack: Sequence[Location]) -> Iterator[tuple[str, str]]:
    """The lines, the first with its label."""
    lines = list(_lines(stack))
    if len(lines) > _MAX_LINES:
        half = _MAX_LINES // 2
        lines[half : -half + 1] = [f"… and {len(lines) - 2 * half + 1} more"]
    for index, line in enumerate(lines):
        yield "" if index else "stack", line


def _lines(stack: Sequence[Location]) -> Iterator[str]:
    for function, run in itertools.groupby(_parts(stack), key=lambda part: part.function):
        parts = list(run)
        count = sum(part.frames for part in parts)
        if function is None:
            yield f"({count} frames)"
        elif function == _RUNTIME and count > 1:
            yield f"({count} frames of {_RUNTIME})"
        elif count > _MAX_ALIKE + 1:
            first = parts[:_MAX_ALIKE]
            yield from (part.place for part in first)
            yield f"({count - len(first)} frames of the same function)"
        else:
            yield from (part.place for part in parts)


class _Part(NamedTuple):
    """A frame, with those of the same function that are left out after it."""

    #: None: a gap, frames of several functions.
    function: object
    place: str
    frames: int


def _parts(stack: Sequence[Location]) -> Iterator[_Part]:
    for at in stack:
        left_out, alike = (at.left_out, at.alike) if isinstance(at, Frame) else (0, True)
        yield _Part(_function(at), place_of(at), 1 + left_out * alike)
        if left_out and not alike:
            yield _Part(None, "", left_out)


def _function(at: Location) -> object:
    """What is the same for all addresses of one function; without symbols an address is like itself only."""
    if at.object is not None and at.object.rpartition("/")[2] == _RUNTIME:
        return _RUNTIME
    return (at.object, at.address if at.rva is None or at.offset is None else at.rva - at.offset)

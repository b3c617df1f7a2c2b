"""Group ``ldd``: the objects that ld.so loads, beside those that the map lists."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial

from ia2exit.checking.metadata import Entry, Metadata, path_of, short
from ia2exit.checking.parts import Part
from ia2exit.checking.records import Finding
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError

_AGAIN = "write the map again with: ia2exit map"
_RUNTIME = "libia2.so"
_finding = partial(Finding, group="ldd")


def check_objects(parts: Sequence[Part], metadata: Metadata) -> Iterator[Finding]:
    """What loads and is not as the map has it."""
    for part in parts:
        if part.entry is None:
            yield _unknown(part, metadata)
        else:
            yield from _known(part, part.entry)
    yield from _twins(parts)
    yield from _runtime_first(parts)


def _unknown(part: Part, metadata: Metadata) -> Finding:
    """An object that the runtime would not find in the map."""
    meant, found = part.meant, _build(part.scanned.build_id)
    if meant is None:
        return _finding(
            name="missing",
            severity="error",
            object=part.path,
            what="it loads" if part.loaded.by is None else f"it loads, needed by {part.loaded.by.path}",
            expected=f"an entry for {part.name} in {metadata.source}",
            found=f"none; the runtime would put it into {metadata.label(part.compartment)}",
            remedy=_AGAIN,
        )
    noted = path_of(meant)
    if noted is None or os.path.realpath(noted) == os.path.realpath(part.path):
        return _finding(
            name="build-id",
            severity="error",
            object=part.path,
            what="it changed on disk since the map was made",
            expected=_build(meant.build_id),
            found=found,
            remedy=f"{_AGAIN}, or put back the file that it was made from",
        )
    return _finding(
        name="other-path",
        severity="error",
        object=part.path,
        what=f"ld.so loads this file for {part.name}",
        expected=f"{noted} ({_build(meant.build_id)})",
        found=f"{part.path} ({found})",
        remedy=f"correct LD_LIBRARY_PATH or the RUNPATH of {part.loaded.by.path if part.loaded.by else part.path},"
        f" or {_AGAIN}",
    )


def _build(build_id: str | None) -> str:
    return f"build ID {build_id}" if build_id else "no build ID"


def _known(part: Part, entry: Entry) -> Iterator[Finding]:
    noted = path_of(entry)
    elsewhere = noted is not None and os.path.realpath(noted) != os.path.realpath(part.path)
    if elsewhere:
        yield _finding(
            name="other-path",
            severity="warning" if part.scanned.build_id else "error",
            object=part.path,
            what=f"ld.so loads this file for {part.name}",
            expected=str(noted),
            found=f"{part.path}, "
            + ("with the same build ID" if part.scanned.build_id else "and only the name tells that it is the same"),
            remedy=f"{_AGAIN}, so that it names the file that loads",
        )
    if not part.scanned.build_id:
        yield _finding(
            name="no-build-id",
            severity="warning",
            object=part.path,
            what="the map and the runtime know it by its name alone",
            expected="a build ID",
            found="none: another file of that name would pass for it",
            remedy="link it with -Wl,--build-id",
        )


def _twins(parts: Sequence[Part]) -> Iterator[Finding]:
    """Objects that the runtime cannot tell apart."""
    first: dict[str, Part] = {}
    for part in parts:
        key = short(part.scanned.build_id)
        other = first.setdefault(key, part) if key else part
        if other is part:
            continue
        alike = part.loaded.image.data[:] == other.loaded.image.data[:]
        yield _finding(
            name="one-build-id",
            severity="warning" if alike else "error",
            object=part.path,
            what="another object that loads has its build ID, and the runtime knows objects by that",
            expected="a build ID of its own",
            found=f"build ID {key} in {other.path}, too" + (", a copy" if alike else ", whose contents differ"),
            remedy="load one of them only" if alike else "link each with its own -Wl,--build-id",
        )


def _runtime_first(parts: Sequence[Part]) -> Iterator[Finding]:
    """The runtime can stand in front of glibc's functions only where it is looked up first."""
    users = [part for part in parts if _RUNTIME in part.loaded.image.needed]
    program = parts[0]
    needed = program.loaded.image.needed
    if not users or not program.loaded.image.is_program or needed[:1] == [_RUNTIME]:
        return
    where = f"DT_NEEDED number {needed.index(_RUNTIME) + 1}, after {needed[0]}" if _RUNTIME in needed else "not in it"
    yield _finding(
        name="runtime-first",
        severity="error",
        object=program.path,
        what=f"DT_NEEDED: {', '.join(part.name for part in users)} {'is' if len(users) == 1 else 'are'} linked with it",
        expected=f"{_RUNTIME} first",
        found=where,
        remedy=f"link the program with -Wl,--no-as-needed and {_RUNTIME} before every other library",
    )


def check_unused(parts: Sequence[Part], metadata: Metadata, used: set[int], *, traced: bool) -> Iterator[Finding]:
    """Entries of the map that nothing loaded; for a shared object, which does not load all, only those that are lost.

    Args:
        parts: what loads, the program first.
        metadata: the map.
        used: ``id()`` of the entries that something loaded.
        traced: whether that includes what a trace shows.
    """
    whose = "nobody named it, and no process of the trace loaded it" if traced else "and nobody named it"
    for entry in metadata.entries:
        if id(entry) in used:
            continue
        lost = _lost(entry)
        if lost is None and not parts[0].loaded.image.is_program:
            continue
        yield _finding(
            name="gone" if lost else "not-loaded",
            severity="error" if lost else "warning",
            object=path_of(entry) or entry.name,
            what="an object that the map lists",
            expected="it loads",
            found=lost or f"it does not: the program does not need it at start, {whose}",
            remedy=f"{_AGAIN}, without it"
            if lost
            else "name it behind the program if that loads it by dlopen, else write the map again without it",
        )


def _lost(entry: Entry) -> str | None:
    """Why the object of an entry cannot be loaded from where it was; None where it can, or nobody knows."""
    path = path_of(entry)
    if path is None:
        return None
    try:
        now = ElfImage(path).build_id
    except Ia2exitError as error:
        return f"it cannot: {str(error).removeprefix(f'{path}: ').partition(';')[0]}"
    if short(now) == short(entry.build_id):
        return None
    return f"its file has {_build(now)}, the map {_build(entry.build_id)}"

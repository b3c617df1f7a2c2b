"""Giving the addresses in violations and faults their symbols and sections, once the process has ended.

A violation that repeats a million times names the same few places: each is looked up once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ia2exit.elf.image import ElfImage
from ia2exit.elf.locating import Found, What, locate
from ia2exit.errors import Ia2exitError
from ia2exit.running.naming import demangled
from ia2exit.running.records import Doer, Fault, Location, Process, ThreadStack, Violation

#: A member that is data; all others are code. Return addresses: this one, and all but the first in a stack.
_DATA, _RETURNS = "address", "registrar"
_Incident = Violation | Fault | ThreadStack | Doer
_Visit = Callable[[Location, What, bool], Location]


def located(process: Process, build_ids: Mapping[str, str | None]) -> Process:
    """The same process with a symbol and a section at every address of its violations and faults.

    Args:
        process: the process.
        build_ids: path of an object -> build ID of what was loaded; a file with another one tells nothing.
    """
    wanted: dict[tuple[str, What], set[int]] = {}

    def collect(location: Location, what: What, returns: bool) -> Location:
        # A return address may be the first byte of the next function: the call is just before it.
        if location.object is not None and location.rva is not None:
            wanted.setdefault((location.object, what), set()).add(location.rva - returns)
        return location

    incidents = [*process.violations, *process.faults]
    for incident in incidents:
        _visited(incident, collect)
    found = {key: _found(*key, rvas, build_ids.get(key[0])) for key, rvas in wanted.items()}

    def fill(location: Location, what: What, returns: bool) -> Location:
        if location.object is None or location.rva is None:
            return location
        return _filled(location, found[location.object, what].get(location.rva - returns), returns)

    return msgspec.structs.replace(
        process,
        violations=[_visited(violation, fill) for violation in process.violations],
        faults=[_visited(fault, fill) for fault in process.faults],
    )


def _found(path: str, what: What, rvas: set[int], build_id: str | None) -> Mapping[int, Found]:
    try:
        image = ElfImage(path)
        return {} if build_id and image.build_id != build_id else locate(image, rvas, what)
    except Ia2exitError:
        return {}  # gone, damaged, or no file at all (the vdso): the report shows the RVA


def _filled(location: Location, found: Found | None, returns: bool) -> Location:
    if found is None:
        return location
    return msgspec.structs.replace(
        location,
        symbol=found.symbol,
        name=None if found.symbol is None else demangled(found.symbol),
        offset=None if found.offset is None else found.offset + returns,
        section=found.section,
    )


def _visited(incident: Any, visit: _Visit) -> Any:
    """A copy of a violation or fault, or of a part of one, with every location as ``visit`` makes it."""
    return msgspec.structs.replace(incident, **dict(_changes(incident, visit)))


def _changes(incident: _Incident, visit: _Visit) -> Iterator[tuple[str, object]]:
    for member in incident.__struct_fields__:
        value = getattr(incident, member)
        if isinstance(value, Location):
            yield member, visit(value, "data" if member == _DATA else "code", member == _RETURNS)
        elif isinstance(value, Doer):
            yield member, _visited(value, visit)
        elif member == "stack":
            yield member, [visit(location, "code", index > 0) for index, location in enumerate(value)]
        elif member == "threads":
            yield member, [_visited(thread, visit) for thread in value]

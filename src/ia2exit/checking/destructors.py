"""Group ``ldd``: the destructors that an object has now, and the claims of its note, beside those of its entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from ia2exit.checking.metadata import Entry, Metadata
from ia2exit.checking.parts import Part
from ia2exit.checking.records import Finding
from ia2exit.exitmap.build import OWNED_BY_HOLDER, lent, listed
from ia2exit.model import SHARED, Address, Kind, MapObject

#: Destructors of one object that a message names.
_SHOWN = 4
#: (RVA, kind): what tells the destructors of an object apart.
Key = tuple[Address, Kind]

_finding = partial(Finding, group="ldd")


def check_destructors(parts: Sequence[Part], metadata: Metadata) -> Iterator[Finding]:
    """Where an object of the map has other destructors, or claims another compartment, than its entry says.

    Objects that the map knows in another build are left out: that is what is wrong with them.
    """
    for part in parts:
        if part.entry is not None:
            yield from _compartment(part, part.entry, metadata)
            yield from _lists(part, part.entry, parts, metadata)
            yield from _owners(part, part.entry, metadata)


def _compartment(part: Part, entry: Entry, metadata: Metadata) -> Iterator[Finding]:
    claimed = part.scanned.claimed
    by_note = isinstance(entry, MapObject) and entry.decided_by == "note"
    if claimed == entry.compartment or (claimed is None and not by_note):
        return
    yield _finding(
        name="note",
        severity="error",
        object=part.path,
        what="the compartment that its note claims for it",
        expected=metadata.label(entry.compartment) + (", which the map has from its note" if by_note else ""),
        found="no claim" if claimed is None else metadata.label(claimed),
        remedy="correct IA2_EXIT_COMPARTMENT or the policy, and write the map again with: ia2exit map",
    )


def _lists(part: Part, entry: Entry, parts: Sequence[Part], metadata: Metadata) -> Iterator[Finding]:
    """Destructors in one of both only."""
    names = {(rva, one.kind): one.symbol for rva, one in listed(part.scanned)}
    if entry.compartment != SHARED and sum(other.name == part.name for other in parts) == 1:
        given = [one for other in parts for one in lent(other.scanned) if one[0] == part.name]
        names |= {(rva, one.kind): one.symbol for _, rva, one in given}
    mapped: dict[Key, str | None] = {(one.rva, one.kind): one.symbol for one in entry.destructors}
    new = names.keys() - mapped.keys()
    if not parts[0].loaded.image.is_program:  # a library by itself may bind otherwise than in its program
        new -= {(rva, one.kind) for rva, one in listed(part.scanned) if one.symbol_source == "import"}
    if new:
        yield _finding(
            name="destructor-new",
            severity="error",
            object=part.path,
            what=_list(new, names),
            expected=f"listed in {metadata.source}",
            found="the object has them, the map does not",
            remedy="write the map again with: ia2exit map",
        )
    gone = {key for key in mapped.keys() - names.keys() if not _lent_by_another(part, key, parts, metadata)}
    if gone:
        yield _finding(
            name="destructor-gone",
            severity="error",
            object=part.path,
            what=_list(gone, mapped),
            expected="in the object, as the map lists them",
            found="the map lists them, the object has no such destructors",
            remedy="write the map again with: ia2exit map",
        )


def _lent_by_another(part: Part, key: Key, parts: Sequence[Part], metadata: Metadata) -> bool:
    """Whether the map may have a function from a registration in an object that is not looked at here."""
    rva, kind = key
    whole = {id(other.entry) for other in parts} >= {id(entry) for entry in metadata.entries}
    return kind in OWNED_BY_HOLDER and not whole and part.loaded.image.is_code(rva)


def _owners(part: Part, entry: Entry, metadata: Metadata) -> Iterator[Finding]:
    """Destructors whose owner is neither whom their note names nor, without a note, their object's compartment."""
    claims = {(rva, one.kind): one.claimed for rva, one in listed(part.scanned) if one.claimed is not None}
    for one in entry.destructors:
        claimed = claims.get((one.rva, one.kind))
        expected = entry.compartment if claimed is None else claimed
        if one.compartment == expected:
            continue
        yield _finding(
            name="destructor-owner" if claimed is None else "note",
            severity="error",
            object=part.path,
            what=f"the owner of {_list([(one.rva, one.kind)], {(one.rva, one.kind): one.symbol})}",
            expected=metadata.label(expected) + (", its object's" if claimed is None else ", which its note claims"),
            found=f"{metadata.label(one.compartment)} in the map",
            remedy="write the map again with: ia2exit map"
            if claimed is None
            else "correct IA2_EXIT_DESTRUCTOR or the policy, and write the map again with: ia2exit map",
        )


def _list(keys: Iterable[Key], names: dict[Key, str | None]) -> str:
    """Some destructors by kind, RVA and symbol, and how many more."""
    ordered = sorted(keys)
    shown = ", ".join(
        f"{kind} {rva}" + (f" {names[rva, kind]}" if names[rva, kind] else "") for rva, kind in ordered[:_SHOWN]
    )
    more = len(ordered) - _SHOWN
    return shown + (f" and {more} more" if more > 0 else "")

"""Copies of one object: found at several paths, one entry in the map.

The runtime knows an object by its build ID (its first 32 bytes), or by its name where it has none, so the map can hold
one answer for each.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.patterns import object_name
from ia2exit.model import KINDS, Address, Kind, ScannedObject

#: Bytes of a build ID that the binary map holds (IA2_MAP_BUILD_ID).
BUILD_ID_BYTES = 32


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A destructor on its way into the map."""

    rva: Address
    kind: Kind
    symbol: str | None
    #: The compartment that a note gives it, or None: that of the object that holds it.
    claimed: int | None = None

    @property
    def key(self) -> tuple[int, int]:
        """What entries of one object are told apart and sorted by."""
        return (int(self.rva), KINDS.index(self.kind))


class Candidate(msgspec.Struct, kw_only=True):
    """An object on its way into the map."""

    scanned: ScannedObject
    #: None: one of its own, numbered later.
    compartment: int | None
    decided_by: Literal["policy", "note", "default", "unlisted"]
    destructors: list[Entry] = []

    @property
    def name(self) -> str:
        return object_name(self.scanned)

    @property
    def build_id(self) -> str:
        """Lower-case hexadecimal digits, or "" for none."""
        return (self.scanned.build_id or "").lower()

    @property
    def key(self) -> tuple[str, str]:
        """What the runtime tells objects apart by."""
        return (self.build_id[: 2 * BUILD_ID_BYTES], "" if self.build_id else self.name)


def _merge(first: Candidate, second: Candidate) -> tuple[Candidate, str | None]:
    """One of two copies, and what they disagree on, if anything. The policy's word counts more than others'."""
    if first.decided_by == second.decided_by == "policy" and first.compartment != second.compartment:
        raise Ia2exitError(
            f"{second.scanned.path}: a copy of {first.scanned.path} (the same build ID), which the policy puts into"
            f" compartment {first.compartment}, this one into {second.compartment}; expected one: correct the patterns"
        )
    keep, drop = (second, first) if second.decided_by == "policy" != first.decided_by else (first, second)
    differences = []
    if keep.compartment != drop.compartment:
        differences.append(f"compartment ({keep.decided_by} against {drop.decided_by})")
    if keep.name != drop.name:
        differences.append("name")
    ours, theirs = {item.key for item in keep.destructors}, {item.key for item in drop.destructors}
    if ours != theirs:
        differences.append("destructors")
    if keep.build_id:
        # the same code: what one copy's symbols reveal holds for the other
        keep.destructors = keep.destructors + drop.destructors
    else:
        # perhaps different code under one name: keep only what holds for both
        keep.destructors = [item for item in keep.destructors if item.key in theirs]
    if not differences:
        return keep, None
    why = "the same build ID" if keep.build_id else "the same name, and neither has a build ID"
    return keep, (
        f"{drop.scanned.path}: left out, {why} as {keep.scanned.path}; they differ in {', '.join(differences)}"
    )


def merge_copies(candidates: list[Candidate]) -> tuple[list[Candidate], list[str]]:
    """One candidate for each key, in the order given, and a line for each copy that disagrees with the one kept."""
    kept: dict[tuple[str, str], Candidate] = {}
    notices: list[str] = []
    for item in candidates:
        if item.key not in kept:
            kept[item.key] = item
            continue
        kept[item.key], notice = _merge(kept[item.key], item)
        if notice:
            notices.append(notice)
    return list(kept.values()), notices

"""The map as the other side of a check: its entries by what the runtime knows objects by."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.binary import BinaryMap, BinaryObject
from ia2exit.exitmap.copies import BUILD_ID_BYTES
from ia2exit.exitmap.files import read_map
from ia2exit.model import ExitMap, MapObject

Entry = MapObject | BinaryObject


def short(build_id: str | None) -> str:
    """What of a build ID the runtime compares; "" for none."""
    return (build_id or "").lower()[: 2 * BUILD_ID_BYTES]


def path_of(entry: Entry) -> str | None:
    """Where the object was found when the map was made; a binary map does not say."""
    return entry.path if isinstance(entry, MapObject) else None


class Metadata:
    """A map, read and found to be of one piece.

    Args:
        exit_map: the map.
        source: where it came from, for messages.

    Raises:
        Ia2exitError: it lists an object twice, or names a compartment that it does not define.
    """

    def __init__(self, exit_map: ExitMap | BinaryMap, source: str) -> None:
        self.source = source
        self.unlisted = exit_map.unlisted
        self.entries: list[Entry] = list(exit_map.objects)
        self._names = {compartment.id: compartment.name for compartment in exit_map.compartments}
        self._by_key: dict[tuple[str, str], Entry] = {}
        for entry in self.entries:
            key = _key(entry.build_id, entry.name)
            if key in self._by_key:
                raise self._error(self._twice(self._by_key[key], entry))
            self._by_key[key] = entry
            self._check_compartments(entry)
        if self.unlisted != "each" and self.unlisted not in self._names:
            raise self._error(f"unlisted objects in compartment {self.unlisted}, which it does not define")

    def _error(self, text: str) -> Ia2exitError:
        return Ia2exitError(f"{self.source}: exit map: {text}; write it again with: ia2exit map")

    @staticmethod
    def _twice(first: Entry, second: Entry) -> str:
        names = f"{path_of(first) or first.name} and {path_of(second) or second.name}"
        same = f"build ID {short(first.build_id)}" if first.build_id else f"name {first.name} and no build ID"
        return f"{names} have the same {same}, expected one entry for each object"

    def _check_compartments(self, entry: Entry) -> None:
        for number in (entry.compartment, *(item.compartment for item in entry.destructors)):
            if number not in self._names:
                raise self._error(f"object {entry.name} in compartment {number}, which it does not define")

    def entry(self, build_id: str | None, name: str) -> Entry | None:
        """The entry that the runtime would take for an object: by build ID, by name where it has none."""
        return self._by_key.get(_key(build_id, name))

    def at(self, path: str) -> Iterator[Entry]:
        """Entries whose object was that file when the map was made; links count as what they lead to."""
        real = os.path.realpath(path)
        for entry in self.entries:
            noted = path_of(entry)
            if noted is not None and os.path.realpath(noted) == real:
                yield entry

    def called(self, name: str) -> Iterator[Entry]:
        """Entries of that name."""
        return (entry for entry in self.entries if entry.name == name)

    def label(self, number: int | None) -> str:
        """A compartment as messages have it; None: one that the runtime makes for an object of its own."""
        if number is None:
            return "a compartment of its own"
        return f"compartment {number} ({self._names[number]})" if number in self._names else f"compartment {number}"


def _key(build_id: str | None, name: str) -> tuple[str, str]:
    return (short(build_id), "" if build_id else name)


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """The map in a file, JSON or binary. Raises :class:`Ia2exitError` naming what is wrong with it."""
    return Metadata(read_map(path), os.fspath(path))

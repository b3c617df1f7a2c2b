"""Compartments: their names, their keys, and how much of their memory is closed."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from ia2exit.debugger.gdb_commands.objects import Object
from ia2exit.debugger.gdb_commands.records import NO_OWNER
from ia2exit.debugger.gdb_commands.runtime import Runtime, address_of
from ia2exit.pkru import KEYS

#: The largest number that a compartment may have (map_format.h).
LAST = 4095


class Pieces(NamedTuple):
    """The pieces of one compartment's memory that there are to close, and how many of them are closed now."""

    total: int
    closed: int


class Compartments(NamedTuple):
    """What there is at this moment."""

    names: dict[int, str]
    #: Protection key by compartment; where there are no keys, the compartment's own number as far as a PKRU has room.
    keys: dict[int, int]
    #: The key of the runtime's own memory, 0: it has none.
    runtime_key: int
    pieces: dict[int, Pieces]

    def label(self, number: int) -> str:
        """A compartment as the runtime's messages have it."""
        return "nobody" if number == NO_OWNER else f"{number} ({self.names.get(number, '?')})"

    def of_key(self, key: int) -> str:
        """Whose memory a key stands for; empty: nobody's."""
        if key == 0:
            return "shared"
        if key == self.runtime_key:
            return "the runtime's own"
        return ", ".join(self.label(number) for number, its in self.keys.items() if its == key)


def compartments(runtime: Runtime, objects: list[Object]) -> Compartments:
    """All that the map names, and those of loaded objects."""
    names = _of_map(runtime)
    table = runtime.variable("compartments", "identify.c")
    for known in objects:
        if known.compartment not in names:
            its = runtime.text(address_of(table[known.compartment]["name"])) or "?"
            names[known.compartment] = "shared" if known.compartment == 0 else its
    names.setdefault(0, "shared")
    return Compartments(
        dict(sorted(names.items())), _keys(runtime, names), runtime.sealed("runtime_key"), _pieces(runtime)
    )


def _of_map(runtime: Runtime) -> dict[int, str]:
    """The compartments of the exit map, from its image in memory (map_image.h says what follows the header)."""
    at = runtime.variable("resident", "map.c")["image"]
    if int(at) == 0:
        return {}
    image = at.dereference()
    objects, destructors, count = (int(image[f"{name}_count"]) for name in ("object", "destructor", "compartment"))
    start = int(at) + image.type.sizeof + objects * (56 + 16) + destructors * (32 + 8)
    data = runtime.read(start, 8 * count)
    words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    return {words[2 * i]: runtime.text(start + 8 * count + words[2 * i + 1]) for i in range(count)}


def _keys(runtime: Runtime, names: dict[int, str]) -> dict[int, int]:
    if runtime.backend != "pku":
        return {number: number for number in names if 0 < number < KEYS}
    table = runtime.variable("key_of", "close_pku.c")
    data = runtime.read(address_of(table), table.type.sizeof)
    return {number: data[number] for number in names if number and data[number]}


def _pieces(runtime: Runtime) -> dict[int, Pieces]:
    closed: dict[int, list[int]] = defaultdict(list)
    current = runtime.variable("current", "closable.c")
    if int(current) == 0:  # nothing has been closed yet
        return {}
    pieces = current.dereference()
    for row in runtime.rows(pieces["pieces"], int(pieces["count"])):
        if row("slot"):
            closed[row("compartment")].append(row("state") != 0)
    return {number: Pieces(len(states), sum(states)) for number, states in closed.items()}

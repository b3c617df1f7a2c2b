"""Loaded objects as the runtime knows them, and names for addresses."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import gdb

from ia2exit.debugger.gdb_commands.runtime import Runtime


class Object(NamedTuple):
    """One loaded object (objects.h)."""

    slot: int
    base: int
    start: int
    end: int
    path: str
    compartment: int
    #: Why it is not isolated, or not covered; empty: it is both.
    why_not: str

    @property
    def name(self) -> str:
        """Base name of its file."""
        return os.path.basename(self.path)


class Place(NamedTuple):
    """What an address is: ``function`` is empty where no symbol begins there."""

    address: int
    function: str
    linkage: str
    object: str
    rva: int
    line: str

    @property
    def where(self) -> str:
        """As object+RVA, the way events have it."""
        return f"{self.object}+{self.rva:#x}" if self.object else f"{self.address:#x}"

    @property
    def label(self) -> str:
        """The function's name, else object+RVA."""
        return self.function or self.where


def objects(runtime: Runtime) -> list[Object]:
    """All that are loaded, in the order of the runtime's slots."""
    found = []
    highest = runtime.number("highest", "objects.c")
    for slot, row in enumerate(runtime.rows(runtime.variable("objects", "objects.c"), highest + 1, 1), start=1):
        if row("map"):
            found.append(
                Object(
                    slot,
                    row("base"),
                    row("start"),
                    row("end"),
                    runtime.text(row("path")),
                    row("compartment"),
                    runtime.text(row("why_not")) if row("why_not") else "",
                )
            )
    return found


class Places:
    """Names for addresses, each looked up once."""

    def __init__(self, known: list[Object]) -> None:
        self._objects = known
        self._seen: dict[int, Place] = {}

    def at(self, address: int) -> Place:
        """The place that begins at an address: a function."""
        if address not in self._seen:
            self._seen[address] = self._look_up(address)
        return self._seen[address]

    def near(self, address: int) -> str:
        """An address within a function: symbol+offset (object+RVA)."""
        place = self.at(address)
        symbol, offset = _symbol(address)
        return f"{symbol}+{offset:#x} ({place.where})" if symbol else place.where

    def _look_up(self, address: int) -> Place:
        symbol, offset = _symbol(address)
        function = symbol if offset == 0 else ""
        block = gdb.block_for_pc(address) if function else None
        linkage = block.function.linkage_name if block is not None and block.function is not None else function
        for known in self._objects:
            if known.start <= address < known.end:
                return Place(address, function, linkage, known.name, address - known.base, _line(address))
        library = gdb.solib_name(address)  # one that the runtime has not seen yet, or does not cover
        return Place(address, function, linkage, os.path.basename(library) if library else "", address, _line(address))


def _symbol(address: int) -> tuple[str, int]:
    """The symbol before an address and the distance to it; empty where gdb knows none."""
    said = gdb.execute(f"info symbol {address:#x}", to_string=True)
    found = re.match(r"(.*?)(?: \+ (\d+))? in section ", said)
    return (found[1], int(found[2] or 0)) if found else ("", 0)


def _line(address: int) -> str:
    """Source file and line, empty without debugging information."""
    found = gdb.find_pc_line(address)
    if found.symtab is None or found.line == 0:
        return ""
    return f"{os.path.basename(found.symtab.filename)}:{found.line}"

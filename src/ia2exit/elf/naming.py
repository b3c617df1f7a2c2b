"""Names for addresses of an object: its symbol tables, its debug files, and DWARF where there is nothing else.

Everything is read on first use: an object whose destructors need no name costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from ia2exit.elf import constants as elf
from ia2exit.elf import debugfiles, dwarf
from ia2exit.elf.image import ElfImage
from ia2exit.elf.tables import SymbolTable
from ia2exit.errors import Ia2exitError

Source = Literal["symtab", "dynsym", "dwarf", "debug-file"]
_FUNCTIONS = (elf.STT_FUNC, elf.STT_GNU_IFUNC, elf.STT_NOTYPE)


class Name(NamedTuple):
    """A linker symbol and where it came from."""

    symbol: str
    source: Source


class Naming:
    """Finds names for RVAs of one object."""

    def __init__(self, image: ElfImage) -> None:
        self._image = image

    def functions(self, rvas: Iterable[int]) -> dict[int, Name]:
        """The symbol of the function that starts at each RVA; those without one are left out."""
        missing = set(rvas)
        names: dict[int, Name] = {}
        for table, source in self._tables():
            if not missing:
                return names
            for rva, symbol in _helped(_starting_at, table, missing, source).items():
                names[rva] = Name(symbol, source)
            missing -= names.keys()
        for image in (self._image, *self._debug_images) if missing else ():
            for rva, symbol in dwarf.function_names(image, missing).items():
                names[rva] = Name(symbol, "dwarf")
            missing -= names.keys()
        return names

    def holding(self, rvas: Iterable[int]) -> dict[int, str]:
        """The symbol of the function that each RVA lies in; those without one are left out."""
        missing = set(rvas)
        names: dict[int, str] = {}
        for table, source in self._tables():
            if not missing:
                break
            names |= _helped(_covering, table, missing, source)
            missing -= names.keys()
        return names

    def _tables(self) -> Iterator[tuple[SymbolTable, Source]]:
        if self._image.symtab is not None:
            yield self._image.symtab, "symtab"
        yield self._image.dynsym, "dynsym"
        for image in self._debug_images:
            if image.symtab is not None:
                yield image.symtab, "debug-file"

    @cached_property
    def _debug_images(self) -> list[ElfImage]:
        return [image for image in debugfiles.debug_images(self._image) if _is_whole(image)]


def _is_whole(debug: ElfImage) -> bool:
    """Whether a debug file's section and symbol tables can be read; one that is damaged helps nobody."""
    try:
        return debug.symtab is None or len(debug.symtab) > 0
    except Ia2exitError:
        return False


def _helped(
    find: Callable[[SymbolTable, set[int]], dict[int, str]], table: SymbolTable, rvas: set[int], source: Source
) -> dict[int, str]:
    """What ``find`` finds; damage in a debug file, unlike damage in the object, only costs names."""
    try:
        return find(table, rvas)
    except Ia2exitError:
        if source == "debug-file":
            return {}
        raise


def _starting_at(table: SymbolTable, rvas: set[int]) -> dict[int, str]:
    wanted = np.fromiter(rvas, dtype=np.uint64, count=len(rvas))
    candidates = np.flatnonzero(_defined(table) & np.isin(table.entries["value"], wanted))
    best: dict[int, tuple[tuple[bool, int, int, int, int, str], str]] = {}
    for index in candidates.tolist():
        rva, name = int(table.entries["value"][index]), table.name(index)
        rank = _rank(int(table.entries["info"][index]), name)
        if name and (rva not in best or rank < best[rva][0]):
            best[rva] = (rank, name)
    return {rva: name for rva, (_, name) in best.items()}


def _covering(table: SymbolTable, rvas: set[int]) -> dict[int, str]:
    indices = np.flatnonzero(_defined(table) & (table.entries["size"] > 0))
    if len(indices) == 0:
        return {}
    indices = indices[np.argsort(table.entries["value"][indices], kind="stable")]
    starts, sizes = table.entries["value"][indices], table.entries["size"][indices]
    start_of: dict[int, int] = {}
    for rva in rvas:
        at = int(np.searchsorted(starts, np.uint64(rva), side="right")) - 1
        if at >= 0 and rva - int(starts[at]) < int(sizes[at]):
            start_of[rva] = int(starts[at])
    names = _starting_at(table, set(start_of.values()))
    return {rva: names[start] for rva, start in start_of.items() if start in names}


def _defined(table: SymbolTable) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which symbols are functions, or may be, of this object."""
    kinds = table.entries["info"] & 15
    is_function = (kinds == _FUNCTIONS[0]) | (kinds == _FUNCTIONS[1]) | (kinds == _FUNCTIONS[2])
    result: np.ndarray[tuple[int], np.dtype[np.bool_]] = is_function & (table.entries["section"] != 0)
    return result


def _rank(info: int, name: str) -> tuple[bool, int, int, int, int, str]:
    """Order among symbols of one address: functions, global before weak before local, the complete destructor.

    The aliases that the macros of ia2_exit_note.h make come last: they name a note, not the function.
    """
    kind = _FUNCTIONS.index(info & 15)
    binding = {elf.STB_GLOBAL: 0, elf.STB_GNU_UNIQUE: 0, elf.STB_WEAK: 1}.get(info >> 4, 2)
    return (name.startswith("ia2_note_"), kind, binding, "D1E" not in name, len(name), name)

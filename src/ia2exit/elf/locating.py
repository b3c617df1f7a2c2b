"""What lies at an address inside an object: the function or variable around it, how far in, and the section.

The counterpart of :mod:`ia2exit.elf.naming`, which names addresses at which functions start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ia2exit.elf import constants as elf
from ia2exit.elf import debugfiles
from ia2exit.elf.image import ElfImage, Section
from ia2exit.elf.tables import SymbolTable
from ia2exit.errors import Ia2exitError

What = Literal["code", "data"]
_TYPES: dict[What, tuple[int, ...]] = {
    "code": (elf.STT_FUNC, elf.STT_GNU_IFUNC, elf.STT_NOTYPE),
    "data": (elf.STT_OBJECT, elf.STT_COMMON, elf.STT_NOTYPE),
}
#: Symbols may lie inside one another (an assembler label in a function): so many are looked at for the one around.
_MAX_NESTED = 16


class Found(NamedTuple):
    """What lies at an RVA; None for what neither the object nor its debug files tell."""

    #: Linker symbol without its version, and the bytes from its start.
    symbol: str | None
    offset: int | None
    section: str | None


def locate(image: ElfImage, rvas: Iterable[int], what: What) -> dict[int, Found]:
    """What lies at each RVA of an object.

    Raises:
        Ia2exitError: the object is damaged. Damage in a symbol table, and in a debug file, only costs names.
    """
    wanted = set(rvas)
    symbols: dict[int, tuple[str, int]] = {}
    for table in _tables(image):
        if len(symbols) == len(wanted):
            break
        with suppress(Ia2exitError):
            symbols |= _around(table, wanted - symbols.keys(), what)
    return {rva: _with_section(image, rva, symbols.get(rva)) for rva in wanted}


def _with_section(image: ElfImage, rva: int, symbol: tuple[str, int] | None) -> Found:
    section = next((section.name for section in image.sections if section.name and _holds(section, rva)), None)
    return Found(symbol[0], symbol[1], section) if symbol else Found(None, None, section)


def _tables(image: ElfImage) -> Iterator[SymbolTable]:
    """Symbol tables of an object and its debug files, the best first."""
    if image.symtab is not None:
        yield image.symtab
    else:
        for debug in debugfiles.debug_images(image):
            with suppress(Ia2exitError):
                if debug.symtab is not None:
                    yield debug.symtab
    yield image.dynsym


def _around(table: SymbolTable, rvas: set[int], what: What) -> dict[int, tuple[str, int]]:
    """The symbol around each RVA, and the bytes from its start."""
    kinds = table.entries["info"] & 15
    indices = np.flatnonzero(np.isin(kinds, _TYPES[what]) & (table.entries["section"] != 0))
    indices = indices[np.argsort(table.entries["value"][indices], kind="stable")]
    starts = table.entries["value"][indices]
    found = {}
    for rva in rvas:
        best = _best(table, indices, int(np.searchsorted(starts, np.uint64(rva), side="right")), rva, what)
        if best is not None:
            found[rva] = best
    return found


def _best(table: SymbolTable, indices: NDArray[np.intp], end: int, rva: int, what: What) -> tuple[str, int] | None:
    """The symbol around ``rva``: one with a type before one without, then the nearest, then a global one.

    Labels of assembler code have neither type nor size: one names the place that it marks, but no data, where the
    linker's own (``_edata``) stand for nothing.
    """
    ranked = []
    for index in indices[max(end - _MAX_NESTED, 0) : end].tolist():
        _, info, _, _, value, size = table.entries[index].tolist()
        name = table.name(index).partition("@")[0]
        if name and (rva < value + size or (value == rva and what == "code")):
            binding = {elf.STB_LOCAL: 2, elf.STB_WEAK: 1}.get(info >> 4, 0)
            ranked.append((info & 15 == elf.STT_NOTYPE, -value, _TYPES[what].index(info & 15), binding, name))
    if not ranked:
        return None
    _, negative, *_, name = min(ranked)
    return name, rva + negative


def _holds(section: Section, rva: int) -> bool:
    """Whether a section's memory has the byte; ``.tbss`` has none of its own."""
    loaded = section.flags & elf.SHF_ALLOC and not (section.flags & elf.SHF_TLS and section.type == elf.SHT_NOBITS)
    return bool(loaded) and section.address <= rva < section.address + section.size

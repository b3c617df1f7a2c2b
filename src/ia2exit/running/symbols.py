"""Names for the few functions that ran at exit, from symbol tables, without numpy: it would cost more than the rest.

A function is named by a symbol that starts at its RVA, else by the nearest one before it whose size reaches that far.
Sources in this order: ``.symtab`` of the object, that of its separate debug file (by build ID), ``.dynsym``.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

from ia2exit.elf.constants import SHT_DYNSYM, SHT_SYMTAB
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError

#: Where distributions put separate debug files (GDB manual, "Separate Debug Files").
_DEBUG_FILE = "/usr/lib/debug/.build-id/{0:.2}/{1}.debug"
#: Elf64_Sym: name, info, other, section, value, size (gABI chapter 4); as 64-bit words, the value is the second of 3.
_SYMBOL = struct.Struct("<IBBHQQ")
_NOTYPE, _FUNCTION, _INDIRECT = 0, 2, 10
_UNDEFINED = 0


def names(path: str, rvas: Iterable[int], build_id: str | None = None) -> Mapping[int, str]:
    """Linker symbols of functions of one object; what has none is left out.

    Args:
        path: the file of the object.
        rvas: RVAs of the functions.
        build_id: what the loaded object had: a file with another one tells nothing and gives no names.
    """
    wanted = set(rvas)
    found: dict[int, str] = {}
    try:
        image = ElfImage(path)
        if build_id and image.build_id != build_id:
            return found
        for file, kind in _tables(image):
            _look_up(file, kind, wanted - found.keys(), found)
            if len(found) == len(wanted):
                break
    except Ia2exitError:
        pass  # gone, or no file at all (the vdso): the caller shows the RVA
    return found


def _tables(image: ElfImage) -> Iterator[tuple[ElfImage, int]]:
    """Symbol tables of an object, the best first."""
    yield image, SHT_SYMTAB
    identity = image.build_id or ""
    debug = _DEBUG_FILE.format(identity, identity[2:])
    if identity and os.path.exists(debug):
        yield ElfImage(debug, debug=True), SHT_SYMTAB
    yield image, SHT_DYNSYM


def _look_up(image: ElfImage, kind: int, wanted: set[int], found: dict[int, str]) -> None:
    section = next((s for s in image.sections if s.type == kind), None)
    if section is None or section.offset + section.size > image.size or section.link >= len(image.sections):
        return
    strings = image.sections[section.link]
    table = memoryview(image.data)[section.offset : section.offset + section.size // 24 * 24]
    values: list[int] = table.cast("Q")[1::3].tolist()
    starts = sorted(set(values))
    start_of = {rva: starts[place - 1] for rva in wanted if (place := bisect_right(starts, rva))}
    candidates: dict[int, list[int]] = {start: [] for start in start_of.values()}
    for index, value in enumerate(values):
        if value in candidates:
            candidates[value].append(index)
    for rva, start in start_of.items():
        name = _best(table, candidates[start], rva)
        if name is not None:
            found[rva] = image.string(strings.offset + name, strings.offset + strings.size)


def _best(table: memoryview, candidates: list[int], rva: int) -> int | None:
    """Offset of the name of the symbol that covers ``rva``: a function before an untyped one, global before local."""
    ranked: list[tuple[bool, bool, int, int]] = []
    for index in candidates:
        name, info, _, section, value, size = _SYMBOL.unpack_from(table, index * _SYMBOL.size)
        covers = value == rva or value + size > rva
        if name and section != _UNDEFINED and covers and info & 15 in (_NOTYPE, _FUNCTION, _INDIRECT):
            ranked.append((info & 15 == _NOTYPE, info >> 4 == 0, -size, name))
    return min(ranked)[3] if ranked else None

"""Relocations and symbols of an ELF image as numpy arrays, bounds-checked, read by the dynamic segment.

Source: System V gABI chapter 5 and its DT_RELR; x86-64 psABI 4.4; GNU hash: binutils ``bfd/elflink.c``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ia2exit.elf import constants as elf

if TYPE_CHECKING:
    from ia2exit.elf.image import ElfImage

#: Elf64_Rela. For R_X86_64_RELATIVE the addend is the target's RVA.
RELOCATION = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])
#: Elf64_Sym. ``info`` is binding << 4 | type; ``section`` 0 means undefined (imported).
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)

#: DT_RELR packs 63 relocations into 8 bytes; more words than this are no real file.
_MAX_RELR_WORDS = 1 << 22


class SymbolTable:
    """A symbol table and its strings.

    Args:
        image: the file.
        entries: array of :data:`SYMBOL`.
        strings: file range [start, end) of the string table.
    """

    def __init__(self, image: ElfImage, entries: NDArray[np.void], strings: tuple[int, int]) -> None:
        self._image = image
        self.entries = entries
        self._start, self._end = strings

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        """Name of a symbol. Raises Ia2exitError for an index or a string out of bounds."""
        if not 0 <= index < len(self.entries):
            raise self._image.error(f"symbol {index} does not exist (the table has {len(self.entries)})")
        return self._image.string(self._start + int(self.entries["name"][index]), self._end)

    def named(self, names: Iterable[str]) -> dict[str, list[int]]:
        """Indices of the symbols with each name; a name without symbols is left out.

        It searches the string table for the names, not the symbols for their strings: a table of 100,000
        symbols costs as much as a few look-ups.
        """
        found: dict[str, list[int]] = {}
        for name in names:
            offsets = list(self._string_offsets(name.encode("utf-8", "surrogateescape")))
            if offsets:
                # np.isin is slow for few values over many symbols.
                match = np.zeros(len(self.entries), dtype=bool)
                for offset in offsets:
                    match |= self.entries["name"] == offset
                indices = np.flatnonzero(match).tolist()
                if indices:
                    found[name] = indices
        return found

    @cached_property
    def by_name(self) -> dict[str, list[int]]:
        """Indices of the symbols with each name, all of them: for many look-ups. Made on first use."""
        found: dict[str, list[int]] = {}
        for index in range(len(self.entries)):
            found.setdefault(self.name(index), []).append(index)
        return found

    def _string_offsets(self, name: bytes) -> Iterable[int]:
        """Offsets at which ``name`` starts a string, tails of longer strings included (linkers merge them)."""
        wanted, position, limit = name + b"\0", self._start, 64
        while limit and (position := self._image.data.find(wanted, position, self._end)) >= 0:
            yield position - self._start
            position, limit = position + 1, limit - 1


def relocations(image: ElfImage) -> NDArray[np.void]:
    """All dynamic relocations: DT_RELA, DT_RELR (as R_X86_64_RELATIVE, addend from the file), DT_JMPREL."""
    rela = _rela(image, elf.DT_RELA, elf.DT_RELASZ)
    jump = _rela(image, elf.DT_JMPREL, elf.DT_PLTRELSZ)
    parts = [rela, _relr(image), jump]
    if len(rela) and len(jump) and _within(image, elf.DT_JMPREL, elf.DT_RELA, elf.DT_RELASZ):
        parts.pop()
    parts = [part for part in parts if len(part)]
    if not parts:
        return np.zeros(0, dtype=RELOCATION)
    result = parts[0] if len(parts) == 1 else np.concatenate(parts)
    highest = int(result["offset"].max())
    if highest >= 1 << 47:
        raise image.error(f"a relocation is for address {highest:#x}, expected one in the object")
    return result


def _rela(image: ElfImage, table: int, size: int) -> NDArray[np.void]:
    if table not in image.dynamic or not image.dynamic.get(size):
        return np.zeros(0, dtype=RELOCATION)
    return image.array(image.dynamic[table], RELOCATION, image.dynamic[size] // RELOCATION.itemsize)


def _within(image: ElfImage, inner: int, table: int, size: int) -> bool:
    """Whether a table starts inside another (DT_RELASZ may cover DT_JMPREL)."""
    return 0 <= image.dynamic[inner] - image.dynamic[table] < image.dynamic[size]


def _relr(image: ElfImage) -> NDArray[np.void]:
    if elf.DT_RELR not in image.dynamic or not image.dynamic.get(elf.DT_RELRSZ):
        return np.zeros(0, dtype=RELOCATION)
    count = image.dynamic[elf.DT_RELRSZ] // 8
    if count > _MAX_RELR_WORDS:
        raise image.error(f"DT_RELRSZ says {count * 8:#x} bytes, expected less than {_MAX_RELR_WORDS * 8:#x}")
    offsets = decode_relr(image.array(image.dynamic[elf.DT_RELR], "<u8", count))
    result = np.zeros(len(offsets), dtype=RELOCATION)
    result["offset"], result["type"] = offsets, elf.R_X86_64_RELATIVE
    result["addend"] = words_at(image, offsets).view("<i8")
    return result


def decode_relr(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Offsets that a DT_RELR table stands for: an even word is an address, an odd one a bitmap of the next 63 words."""
    odd = (words & np.uint64(1)).astype(bool)
    if len(words) == 0 or odd[0]:
        return np.zeros(0, dtype=np.uint64)
    address_at = np.flatnonzero(~odd)
    group = np.cumsum(~odd) - 1
    # A bitmap's base: the address of its group, one word on, and 63 words for each bitmap before it.
    before = np.arange(len(words)) - address_at[group] - 1
    base = words[address_at[group]] + np.uint64(8) + (before * 63 * 8).astype(np.uint64)
    bits = np.arange(1, 64, dtype=np.uint64)
    bitmaps = np.flatnonzero(odd)
    rows, columns = np.nonzero((words[bitmaps][:, None] >> bits) & np.uint64(1))
    targets = base[bitmaps][rows] + columns.astype(np.uint64) * np.uint64(8)
    return np.sort(np.concatenate([words[address_at], targets]))


def words_at(image: ElfImage, rvas: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The 64-bit word in the file at each RVA; 0 where the file holds none."""
    result = np.zeros(len(rvas), dtype=np.uint64)
    raw = np.frombuffer(image.data, dtype=np.uint8)
    for segment in image.loads:
        end = segment.vaddr + segment.filesz
        if segment.filesz < 8:
            continue
        inside = np.flatnonzero((rvas >= np.uint64(segment.vaddr)) & (rvas <= np.uint64(end - 8)))
        offsets = (rvas[inside] - np.uint64(segment.vaddr)).astype(np.int64) + segment.offset
        result[inside] = raw[offsets[:, None] + np.arange(8)].view("<u8")[:, 0]
    return result


def dynamic_symbols(image: ElfImage) -> SymbolTable:
    """The dynamic symbol table. Its length stands nowhere: it is the largest that anything refers to."""
    if elf.DT_SYMTAB not in image.dynamic:
        return SymbolTable(image, np.zeros(0, dtype=SYMBOL), (0, 0))
    rva = image.dynamic[elf.DT_SYMTAB]
    count = _symbol_count(image)
    segment = image.load_of(rva)
    if segment is None:
        raise image.error(f"the dynamic symbol table at {rva:#x} lies in no PT_LOAD segment")
    room = max(0, segment.vaddr + segment.filesz - rva) // SYMBOL.itemsize
    if count > room:
        raise image.error(f"{count} dynamic symbols at {rva:#x}, but the segment has room for {room}")
    return SymbolTable(image, image.array(rva, SYMBOL, count), image._strings)


def _symbol_count(image: ElfImage) -> int:
    if elf.DT_HASH in image.dynamic:
        return int.from_bytes(image.read(image.dynamic[elf.DT_HASH] + 4, 4), "little")
    count = _gnu_hash_count(image) if elf.DT_GNU_HASH in image.dynamic else 0
    # Without exported symbols the GNU hash table says nothing about the imported ones.
    section = next(
        (s for s in image.sections if s.address == image.dynamic[elf.DT_SYMTAB] and s.type == elf.SHT_DYNSYM), None
    )
    if section is not None:
        count = max(count, section.size // SYMBOL.itemsize)
    elif len(image.relocations):
        count = max(count, int(image.relocations["symbol"].max()) + 1)
    return count


def _gnu_hash_count(image: ElfImage) -> int:
    rva = image.dynamic[elf.DT_GNU_HASH]
    buckets, first, bloom, _shift = (int(word) for word in image.array(rva, "<u4", 4))
    table = rva + 16 + 8 * bloom
    last = int(image.array(table, "<u4", buckets).max(initial=0)) if buckets else 0
    if last < first:
        return first
    chain = table + 4 * buckets + 4 * (last - first)
    segment = image.load_of(chain)
    room = max(0, segment.vaddr + segment.filesz - chain) // 4 if segment else 0
    ends = np.flatnonzero(image.array(chain, "<u4", min(room, 1 << 20)) & 1)
    if len(ends) == 0:
        raise image.error(f"the GNU hash table at {rva:#x} has a chain without end")
    return last + int(ends[0]) + 1


def linker_symbols(image: ElfImage) -> SymbolTable | None:
    """``.symtab``, or None where there is none."""
    section = next((s for s in image.sections if s.type == elf.SHT_SYMTAB), None)
    if section is None:
        return None
    strings = image.sections[section.link] if section.link < len(image.sections) else None
    if strings is None or section.offset + section.size > image.size or strings.offset + strings.size > image.size:
        raise image.error(f"the symbol table {section.name} or its strings lie beyond the end of the file")
    count = section.size // SYMBOL.itemsize
    entries: NDArray[Any] = np.frombuffer(image.data, dtype=SYMBOL, count=count, offset=section.offset)
    return SymbolTable(image, entries, (strings.offset, strings.offset + strings.size))

"""What the loader leaves in an object's memory: function pointers after relocation, PLT entries."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ia2exit.elf import constants as elf
from ia2exit.elf.image import ElfImage
from ia2exit.scanning.code_values import Import

#: Relocations that put the address of a symbol into a 64-bit word.
_SYMBOLIC = (elf.R_X86_64_64, elf.R_X86_64_GLOB_DAT, elf.R_X86_64_JUMP_SLOT)
_STV_DEFAULT = 0
_ENDBR64 = b"\xf3\x0f\x1e\xfa"
_MASK = (1 << 64) - 1


class Memory:
    """Constant words and function entries of one object."""

    def __init__(self, image: ElfImage) -> None:
        self.image = image
        self._symbols: dict[int, Import | int | None] = {}

    @cached_property
    def _relocations(self) -> NDArray[np.void]:
        relocations = self.image.relocations
        offsets = relocations["offset"]
        if len(offsets) and bool((offsets[1:] < offsets[:-1]).any()):
            relocations = relocations[np.argsort(offsets, kind="stable")]
        return relocations

    @cached_property
    def _offsets(self) -> NDArray[np.uint64]:
        return np.ascontiguousarray(self._relocations["offset"])

    def pointer(self, rva: int) -> int | Import | None:
        """The 64-bit word at ``rva`` once the object is loaded, or None where only running the program would tell."""
        index = int(self._offsets.searchsorted(np.uint64(rva)))
        if index < len(self._offsets) and int(self._offsets[index]) == rva:
            return self._relocated(index)
        segment = self.image.load_of(rva)
        if segment is None or (segment.writable and not self._is_relro(rva)):
            return None
        if rva + 8 > segment.vaddr + segment.memsz:
            return None
        word = self.image.u64(rva)
        # In a position-independent object, a word without relocation is a number, and only 0 is a pointer.
        return word if word == 0 or self.image.elf_type == elf.ET_EXEC else None

    def _relocated(self, index: int) -> int | Import | None:
        relocation = self._relocations[index]
        kind, addend = int(relocation["type"]), int(relocation["addend"])
        if kind == elf.R_X86_64_RELATIVE:
            return addend & _MASK
        if kind not in _SYMBOLIC or (kind == elf.R_X86_64_64 and addend != 0):
            return None
        return self._bound(int(relocation["symbol"]))

    def _bound(self, index: int) -> Import | int | None:
        if index not in self._symbols:
            self._symbols[index] = self._bind(index)
        return self._symbols[index]

    def _bind(self, index: int) -> Import | int | None:
        symbols = self.image.dynsym
        if not 0 < index < len(symbols):
            return None
        entry = symbols.entries[index]
        own = int(entry["value"]) if int(entry["section"]) != 0 else None
        if own is not None and (int(entry["info"]) >> 4 == elf.STB_LOCAL or int(entry["other"]) & 3 != _STV_DEFAULT):
            return own
        return Import(symbols.name(index), own)

    def _is_relro(self, rva: int) -> bool:
        relro = self.image.relro
        return relro is not None and relro[0] <= rva < relro[1]

    def slots(self, names: frozenset[str], definitions: frozenset[int]) -> list[int]:
        """RVAs of the words that hold the address of a symbol of these names, or of one of these definitions."""
        symbols = self.image.dynsym
        wanted = {index for indices in symbols.named(names).values() for index in indices}
        if definitions:
            own = symbols.entries["section"] != 0
            wanted |= set(np.flatnonzero(own & np.isin(symbols.entries["value"], list(definitions))).tolist())
        kinds, relocations = self._relocations["type"], self._relocations
        match = np.isin(relocations["symbol"], list(wanted)) & np.isin(kinds, _SYMBOLIC)
        if definitions:
            match |= (kinds == elf.R_X86_64_RELATIVE) & np.isin(relocations["addend"], list(definitions))
        return [int(offset) for offset in relocations["offset"][match]]

    def plt_target(self, rva: int) -> Import | int | None:
        """What the PLT entry at ``rva`` jumps to; None where there is no PLT entry."""
        segment = self.image.load_of(rva)
        if segment is None or not segment.executable or rva + 16 > segment.vaddr + segment.filesz:
            return None
        code = self.image.read(rva, 16)
        position = 4 if code.startswith(_ENDBR64) else 0
        position += code[position : position + 1] == b"\xf2"
        if code[position : position + 2] != b"\xff\x25":
            return None
        displacement = int.from_bytes(code[position + 2 : position + 6], "little", signed=True)
        return self.pointer(rva + position + 6 + displacement)

    def is_function(self, rva: int) -> bool:
        """Whether a function may start at ``rva``: it is code, and no known function's inside."""
        if not self.image.is_code(rva):
            return False
        functions = self.image.functions
        index = int(functions[:, 0].searchsorted(np.uint64(rva), side="right")) - 1
        if index < 0 or int(functions[index, 0]) == rva or rva >= int(functions[index, 1]):
            return True
        return rva in self._symbol_starts

    @cached_property
    def _symbol_starts(self) -> frozenset[int]:
        """Starts of functions with a symbol: hand-written ones may share a range of the unwind table."""
        starts: set[int] = set()
        for table in (self.image.dynsym, self.image.symtab):
            if table is not None:
                entries = table.entries
                functions = np.isin(entries["info"] & 15, (elf.STT_FUNC, elf.STT_GNU_IFUNC)) & (entries["section"] != 0)
                starts.update(entries["value"][functions].tolist())
        return frozenset(starts)

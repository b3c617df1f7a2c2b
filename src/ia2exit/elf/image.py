"""One ELF file of 64-bit x86-64, as ld.so sees it: by its program headers and dynamic segment.

Section headers are used only for what exists nowhere else (``.symtab``, debug data), so stripped section headers work.

    image = ElfImage("/usr/lib/x86_64-linux-gnu/libz.so.1")
    image.type, image.soname, image.needed, image.runpath, image.build_id, image.interpreter
    image.loads                      # PT_LOAD segments: vaddr, offset, filesz, memsz, flags (.executable, .writable)
    image.dynamic[DT_FINI]           # first value of a dynamic entry (dict)
    image.offset(rva)                # file offset, or None where the file holds no byte for it
    image.read(rva, size)            # bytes of memory before relocation; the part beyond filesz is zero
    image.u64(rva), image.is_code(rva)
    image.array(rva, dtype, count)   # numpy view of the file, no copy
    image.relocations                # numpy: offset, type, symbol, addend; RELA, RELR (as RELATIVE) and JMPREL
    image.dynsym                     # SymbolTable: .entries (numpy), .name(i), .named({"atexit"}) -> {name: indices}
    image.symtab                     # the same for .symtab, or None
    image.functions                  # numpy (n, 2) uint64: [start, end) of each FDE, sorted by start
    image.section(".symtab")         # Section or None

An RVA is an address as the file has it: bytes from the load base (``l_addr``), which is 0 for ET_EXEC.
Every method raises :class:`~ia2exit.errors.Ia2exitError`, and nothing else, for a file whose contents are impossible.

Source: System V gABI, chapters 4 and 5; glibc ``elf/dl-load.c``; x86-64 psABI.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from ia2exit.elf.constants import (
    DF_1_PIE,
    DT_DEBUG,
    DT_FLAGS,
    DT_FLAGS_1,
    DT_NEEDED,
    DT_NULL,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    ET_EXEC,
    NT_GNU_BUILD_ID,
    PT_DYNAMIC,
    PT_GNU_RELRO,
    PT_INTERP,
    PT_NOTE,
)
from ia2exit.elf.file import ElfFile, Note, Section, Segment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ia2exit.elf.tables import SymbolTable

ObjectType = Literal["executable", "pie", "shared-object", "static", "static-pie"]

__all__ = ["ElfImage", "Note", "ObjectType", "Section", "Segment"]


class ElfImage(ElfFile):
    """A 64-bit x86-64 ELF program or shared object, mapped read-only.

    Args:
        path: the file.
        debug: it is a separate debug file: its segments may hold no bytes.
        data: its bytes, where it is no file of its own; ``path`` then only names it.

    Raises:
        Ia2exitError: it cannot be read, is no such ELF file, or is truncated or corrupt.
    """

    def __init__(self, path: str | os.PathLike[str], *, debug: bool = False, data: bytes | None = None) -> None:
        super().__init__(path, debug=debug, data=data)
        #: Dynamic entries in their order.
        self.dynamic_entries: list[tuple[int, int]] = [] if debug else list(self._dynamic_entries())
        #: The first value of each dynamic tag.
        self.dynamic: dict[int, int] = dict(reversed(self.dynamic_entries))

    @cached_property
    def interpreter(self) -> str | None:
        """The dynamic linker that the program asks for (PT_INTERP)."""
        segment = self.segment(PT_INTERP)
        if segment is None:
            return None
        return self.string(segment.offset, segment.offset + min(segment.filesz, 4096))

    @cached_property
    def relro(self) -> tuple[int, int] | None:
        """[start, end) of what becomes read-only after relocation, in RVAs, not page-aligned."""
        segment = self.segment(PT_GNU_RELRO)
        return (segment.vaddr, segment.vaddr + segment.memsz) if segment else None

    def notes(self) -> Iterator[Note]:
        """All notes of all PT_NOTE segments."""
        for segment in self.segments:
            if segment.type == PT_NOTE:
                yield from self._notes_of(segment)

    def _notes_of(self, segment: Segment) -> Iterator[Note]:
        align = 8 if segment.align == 8 else 4
        position, end = segment.offset, segment.offset + segment.filesz
        if end > self.size:
            raise self.error(f"PT_NOTE ends at byte {end:#x}, the file at {self.size:#x}", "the file is truncated")
        while position + 12 <= end:
            name_size, size, kind = struct.unpack_from("<III", self.data, position)
            description = _up(position + 12 + name_size, align)
            if description + size > end:
                raise self.error(f"the note at byte {position:#x} does not fit in its segment")
            owner = self.data[position + 12 : position + 12 + name_size].rstrip(b"\0")
            rva = description - segment.offset + segment.vaddr
            yield Note(owner, kind, self.data[description : description + size], rva)
            position = _up(description + size, align)

    @cached_property
    def build_id(self) -> str | None:
        """Build ID in hexadecimal (NT_GNU_BUILD_ID), or None."""
        for note in self.notes():
            if note.type == NT_GNU_BUILD_ID and note.owner == b"GNU":
                return note.description.hex()
        return None

    # Dynamic segment -----------------------------------------------------------------------------------

    def _dynamic_entries(self) -> Iterator[tuple[int, int]]:
        segment = self.segment(PT_DYNAMIC)
        if segment is None:
            return
        offset = self.offset(segment.vaddr, segment.filesz)
        if offset is None or segment.filesz == 0:
            raise self.error(f"the dynamic segment at {segment.vaddr:#x} lies in no PT_LOAD segment")
        for tag, value in struct.iter_unpack("<QQ", self.data[offset : offset + segment.filesz // 16 * 16]):
            if tag == DT_NULL:
                return
            yield tag, value

    @cached_property
    def _strings(self) -> tuple[int, int]:
        """File range of the dynamic string table."""
        rva, size = self.dynamic.get(DT_STRTAB, 0), self.dynamic.get(DT_STRSZ, 0)
        offset = self.offset(rva, size)
        if offset is None:
            raise self.error(f"the dynamic string table at {rva:#x} ({size:#x} bytes) lies in no PT_LOAD segment")
        return offset, offset + size

    def dynamic_string(self, index: int) -> str:
        """A string of the dynamic string table."""
        start, end = self._strings
        return self.string(start + index, end)

    def _dynamic_string_of(self, tag: int) -> str | None:
        return self.dynamic_string(self.dynamic[tag]) if tag in self.dynamic else None

    @cached_property
    def needed(self) -> list[str]:
        """DT_NEEDED, in order."""
        return [self.dynamic_string(value) for tag, value in self.dynamic_entries if tag == DT_NEEDED]

    @cached_property
    def soname(self) -> str | None:
        """DT_SONAME."""
        return self._dynamic_string_of(DT_SONAME)

    @cached_property
    def runpath(self) -> str | None:
        """DT_RUNPATH, not split or expanded."""
        return self._dynamic_string_of(DT_RUNPATH)

    @cached_property
    def rpath(self) -> str | None:
        """DT_RPATH, not split or expanded."""
        return self._dynamic_string_of(DT_RPATH)

    @property
    def flags(self) -> int:
        """DT_FLAGS."""
        return self.dynamic.get(DT_FLAGS, 0)

    @property
    def flags_1(self) -> int:
        """DT_FLAGS_1."""
        return self.dynamic.get(DT_FLAGS_1, 0)

    @property
    def is_program(self) -> bool:
        """Whether it was linked as a program: linkers give DT_DEBUG, or DF_1_PIE, to programs only."""
        return self.elf_type == ET_EXEC or bool(self.flags_1 & DF_1_PIE) or DT_DEBUG in self.dynamic

    @property
    def type(self) -> ObjectType:
        """What kind of object it is (a static program has no PT_INTERP; a static PIE has PT_DYNAMIC all the same)."""
        if not self.is_program:
            return "shared-object"
        if self.elf_type == ET_EXEC:
            return "executable" if self.segment(PT_INTERP) else "static"
        return "pie" if self.segment(PT_INTERP) else "static-pie"

    # Tables (numpy, on first use) ----------------------------------------------------------------------

    @cached_property
    def relocations(self) -> NDArray[np.void]:
        """All dynamic relocations: fields offset (u8), type (u4), symbol (u4), addend (i8); see tables.RELOCATION."""
        from ia2exit.elf import tables

        return tables.relocations(self)

    @cached_property
    def dynsym(self) -> SymbolTable:
        """Dynamic symbols (empty where there is no dynamic segment)."""
        from ia2exit.elf import tables

        return tables.dynamic_symbols(self)

    @cached_property
    def symtab(self) -> SymbolTable | None:
        """The linker's symbols, or None in a stripped file."""
        from ia2exit.elf import tables

        return tables.linker_symbols(self)

    @cached_property
    def functions(self) -> NDArray[np.uint64]:
        """Ranges of functions from the unwind table, shape (n, 2): [start, end) in RVAs, sorted by start."""
        from ia2exit.elf import unwind

        return unwind.function_ranges(self)

    @cached_property
    def sections(self) -> list[Section]:
        """Section headers; empty where they were stripped."""
        from ia2exit.elf import sections

        return sections.read(self)

    def section(self, name: str) -> Section | None:
        """The first section of that name, or None."""
        return next((s for s in self.sections if s.name == name), None)

    def section_data(self, section: Section) -> bytes:
        """The bytes of a section in the file, decompressed where it is SHF_COMPRESSED."""
        from ia2exit.elf import sections

        return sections.contents(self, section)


def _up(value: int, align: int) -> int:
    return (value + align - 1) & -align

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

import mmap
import os
import stat
import struct
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ia2exit.elf.constants import (
    DF_1_PIE,
    DT_DEBUG,
    DT_FLAGS_1,
    DT_NEEDED,
    DT_NULL,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    ET_DYN,
    ET_EXEC,
    NT_GNU_BUILD_ID,
    PF_W,
    PF_X,
    PT_DYNAMIC,
    PT_GNU_RELRO,
    PT_INTERP,
    PT_LOAD,
    PT_NOTE,
)
from ia2exit.errors import Ia2exitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from ia2exit.elf.tables import SymbolTable

#: Machines that people meet beside x86-64, for the message (gABI, ``e_machine``).
_MACHINES = {3: "i386", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "s390", 40: "ARM", 183: "AArch64", 243: "RISC-V"}
_TYPES = {0: "no type", 1: "a relocatable object", 4: "a core dump"}
#: Longest string that is read from a string table: a mangled C++ name can be long, a fuzzed table is longer.
_MAX_STRING = 1 << 20

ObjectType = Literal["executable", "pie", "shared-object", "static", "static-pie"]


class Segment(NamedTuple):
    """A program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int

    @property
    def executable(self) -> bool:
        """Whether code in it may run."""
        return bool(self.flags & PF_X)

    @property
    def writable(self) -> bool:
        """Whether it is mapped writable (RELRO included)."""
        return bool(self.flags & PF_W)


class Section(NamedTuple):
    """A section header; ``address`` is 0 for what is not loaded."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entry_size: int


class Note(NamedTuple):
    """An ELF note: owner name without its NUL, type, descriptor, and the RVA of the descriptor."""

    owner: bytes
    type: int
    description: bytes
    rva: int


class ElfImage:
    """A 64-bit x86-64 ELF program or shared object, mapped read-only.

    Args:
        path: the file.
        debug: it is a separate debug file: its segments may hold no bytes.

    Raises:
        Ia2exitError: it cannot be read, is no such ELF file, or is truncated or corrupt.
    """

    def __init__(self, path: str | os.PathLike[str], *, debug: bool = False) -> None:
        self.path = os.fspath(path)
        self.data, self.stat = _map(self.path)
        self.size = len(self.data)
        self._read_header()
        self.segments: list[Segment] = list(self._program_headers())
        self.loads = sorted((s for s in self.segments if s.type == PT_LOAD), key=lambda s: s.vaddr)
        if not debug:
            self._check_segments()
        #: Dynamic entries in their order.
        self.dynamic_entries: list[tuple[int, int]] = [] if debug else list(self._dynamic_entries())
        #: The first value of each dynamic tag.
        self.dynamic: dict[int, int] = dict(reversed(self.dynamic_entries))

    def error(self, what: str, remedy: str = "the file is corrupt: reinstall or rebuild it") -> Ia2exitError:
        """The error for this file: ``what`` names the thing and what was expected."""
        return Ia2exitError(f"{self.path}: {what}; {remedy}")

    # The file ------------------------------------------------------------------------------------------

    def _read_header(self) -> None:
        data = self.data
        if data[:4] != b"\x7fELF":
            raise self.error("not an ELF file", "give a program or a shared object")
        if self.size < 20:
            raise self.error(f"the ELF header is cut off after {self.size} bytes of 64", "the file is truncated")
        machine = int.from_bytes(data[18:20], "big" if data[5] == 2 else "little")
        if data[4] != 2 or data[5] != 1 or machine != 62:
            bits = {1: "32-bit", 2: "64-bit"}.get(data[4], f"class {data[4]}")
            name = _MACHINES.get(machine, "x86-64" if machine == 62 else f"machine {machine}")
            raise self.error(f"{bits} ELF for {name}, expected 64-bit x86-64", "leave it out")
        if self.size < 64:
            raise self.error(f"the ELF header is cut off after {self.size} bytes of 64", "the file is truncated")
        fields = struct.unpack_from("<HHIQQQIHHHHHH", data, 16)
        self.elf_type, self.entry, self._phoff, self._shoff = fields[0], fields[3], fields[4], fields[5]
        self._phentsize, self._phnum, self._shentsize, self._shnum, self._shstrndx = fields[8:13]
        if self.elf_type not in (ET_EXEC, ET_DYN):
            kind = _TYPES.get(self.elf_type, f"type {self.elf_type}")
            raise self.error(f"ELF file of {kind}, expected a program or a shared object", "leave it out")

    def _program_headers(self) -> Iterator[Segment]:
        if self._phnum == 0 or self._phentsize != 56:
            raise self.error(f"{self._phnum} program headers of {self._phentsize} bytes, expected some of 56")
        end = self._phoff + self._phnum * 56
        if end > self.size:
            raise self.error(f"program headers end at byte {end:#x}, the file at {self.size:#x}", "it is truncated")
        for values in struct.iter_unpack("<IIQQQQQQ", self.data[self._phoff : end]):
            kind, flags, offset, vaddr, _paddr, filesz, memsz, align = values
            yield Segment(kind, flags, offset, vaddr, filesz, memsz, align)

    def _check_segments(self) -> None:
        if not self.loads:
            raise self.error("no PT_LOAD segment, expected at least one", "give the file itself, not its debug file")
        for segment in self.segments:
            if segment.offset + segment.filesz > self.size and segment.type in (PT_LOAD, PT_DYNAMIC, PT_INTERP):
                end = segment.offset + segment.filesz
                raise self.error(
                    f"a segment ends at byte {end:#x}, the file at {self.size:#x}",
                    "the file is truncated: copy it again",
                )
            if segment.type == PT_LOAD and (segment.filesz > segment.memsz or segment.vaddr + segment.memsz > 1 << 47):
                raise self.error(f"PT_LOAD at {segment.vaddr:#x} has an impossible size")
        if self._shoff and self._shoff + self._shnum * self._shentsize > self.size:
            raise self.error(
                f"section headers end at byte {self._shoff + self._shnum * self._shentsize:#x}, the file at "
                f"{self.size:#x}",
                "the file is truncated: copy it again",
            )

    # Memory --------------------------------------------------------------------------------------------

    def load_of(self, rva: int) -> Segment | None:
        """The PT_LOAD segment that ``rva`` lies in, or None."""
        for segment in self.loads:
            if segment.vaddr <= rva < segment.vaddr + segment.memsz:
                return segment
        return None

    def offset(self, rva: int, size: int = 1) -> int | None:
        """File offset of the ``size`` bytes at ``rva``, or None unless one segment holds all of them in the file."""
        segment = self.load_of(rva)
        if segment is None or rva + size > segment.vaddr + segment.filesz:
            return None
        return rva - segment.vaddr + segment.offset

    def rva(self, offset: int) -> int | None:
        """RVA of the byte at a file offset, or None where no PT_LOAD holds it."""
        for segment in self.loads:
            if segment.offset <= offset < segment.offset + segment.filesz:
                return offset - segment.offset + segment.vaddr
        return None

    def is_code(self, rva: int) -> bool:
        """Whether ``rva`` lies in an executable segment."""
        segment = self.load_of(rva)
        return segment is not None and segment.executable

    def read(self, rva: int, size: int) -> bytes:
        """Bytes of memory before relocation. Raises Ia2exitError unless one segment holds all of them."""
        segment = self.load_of(rva)
        if segment is None or size < 0 or rva + size > segment.vaddr + segment.memsz or size > 1 << 32:
            raise self.error(f"{size:#x} bytes at {rva:#x} lie in no PT_LOAD segment")
        start = rva - segment.vaddr
        found = self.data[segment.offset + start : segment.offset + min(start + size, max(segment.filesz, start))]
        return found + bytes(size - len(found))

    def u64(self, rva: int) -> int:
        """The 64-bit word at ``rva`` before relocation."""
        return int.from_bytes(self.read(rva, 8), "little")

    def array(self, rva: int, dtype: DTypeLike, count: int) -> NDArray[Any]:
        """A read-only view of ``count`` items at ``rva``, straight from the file."""
        import numpy as np

        item = np.dtype(dtype)
        offset = self.offset(rva, count * item.itemsize) if count > 0 else 0
        if offset is None or count < 0:
            raise self.error(f"{count} items of {item.itemsize} bytes at {rva:#x} lie in no PT_LOAD segment")
        return np.frombuffer(self.data, dtype=item, count=count, offset=offset)

    def string(self, offset: int, end: int) -> str:
        """The NUL-terminated string at a file offset, ended by ``end`` at the latest."""
        end = min(end, self.size, offset + _MAX_STRING)
        stop = self.data.find(b"\0", offset, end) if 0 <= offset < end else -1
        if stop < 0:
            raise self.error(f"no string at byte {offset:#x} that ends before {end:#x}")
        return self.data[offset:stop].decode("utf-8", "surrogateescape")

    # Segments ------------------------------------------------------------------------------------------

    def segment(self, kind: int) -> Segment | None:
        """The first segment of a type, or None."""
        return next((s for s in self.segments if s.type == kind), None)

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


def _map(path: str) -> tuple[mmap.mmap | bytes, os.stat_result]:
    """Map a file read-only. Raises Ia2exitError for one that cannot be opened, is no file, or is empty."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Ia2exitError(f"{path}: {reason}; give a program or a shared object that you may read") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Ia2exitError(f"{path}: not a regular file; give a program or a shared object")
        if status.st_size == 0:
            raise Ia2exitError(f"{path}: not an ELF file (empty); give a program or a shared object")
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), status
    except OSError as error:
        raise Ia2exitError(f"{path}: {error.strerror}; copy it to a local file system") from None
    finally:
        os.close(descriptor)

"""One ELF file: its header, its segments, and the memory that they describe.

Source: System V gABI, chapters 4 and 5; glibc ``elf/dl-load.c``.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ia2exit.elf.constants import ET_DYN, ET_EXEC, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD
from ia2exit.errors import Ia2exitError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

#: Machines that people meet beside x86-64, for the message (gABI, ``e_machine``).
_MACHINES = {3: "i386", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "s390", 40: "ARM", 183: "AArch64", 243: "RISC-V"}
_TYPES = {0: "no type", 1: "a relocatable object", 4: "a core dump"}
#: Longest string that is read from a string table: a mangled C++ name can be long, a fuzzed table is longer.
_MAX_STRING = 1 << 20


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


class NotLoadableError(Ia2exitError):
    """The file may be whole, but no process loads it: no ELF file, a relocatable object, a core dump, a debug file."""


class ElfFile:
    """A 64-bit x86-64 ELF program or shared object, mapped read-only.

    Args:
        path: the file.
        debug: it is a separate debug file: its segments may hold no bytes.
        data: its bytes, where it is no file of its own (``.gnu_debugdata``); ``path`` then only names it.

    Raises:
        Ia2exitError: it cannot be read, is no such ELF file, or is truncated or corrupt.
    """

    def __init__(self, path: str | os.PathLike[str], *, debug: bool = False, data: bytes | None = None) -> None:
        self.path = os.fspath(path)
        self.data, self.stat = _map(self.path) if data is None else (data, os.stat_result([0] * 10))
        self.size = len(self.data)
        self._read_header()
        self.segments: list[Segment] = list(self._program_headers())
        self.loads = sorted((s for s in self.segments if s.type == PT_LOAD), key=lambda s: s.vaddr)
        if not debug:
            self._check_segments()

    def error(self, what: str, remedy: str = "the file is corrupt: reinstall or rebuild it") -> Ia2exitError:
        """The error for this file: ``what`` names the thing and what was expected."""
        return Ia2exitError(f"{self.path}: {what}; {remedy}")

    # The file ------------------------------------------------------------------------------------------

    def _read_header(self) -> None:
        data = self.data
        if data[:4] != b"\x7fELF":
            raise NotLoadableError(f"{self.path}: {_other_format(data[:256])}; give a program or a shared object")
        if self.size < 20:
            raise self.error(
                f"the ELF header is cut off after {self.size} bytes of 64", "the file is truncated: copy it again"
            )
        machine = int.from_bytes(data[18:20], "big" if data[5] == 2 else "little")
        if data[4] != 2 or data[5] != 1 or machine != 62:
            bits = {1: "32-bit", 2: "64-bit"}.get(data[4], f"class {data[4]}")
            name = _MACHINES.get(machine, "x86-64" if machine == 62 else f"machine {machine}")
            raise self.error(f"{bits} ELF for {name}, expected 64-bit x86-64", "leave it out")
        if self.size < 64:
            raise self.error(
                f"the ELF header is cut off after {self.size} bytes of 64", "the file is truncated: copy it again"
            )
        fields = struct.unpack_from("<HHIQQQIHHHHHH", data, 16)
        self.elf_type, self.entry, self._phoff, self._shoff = fields[0], fields[3], fields[4], fields[5]
        self._phentsize, self._phnum, self._shentsize, self._shnum, self._shstrndx = fields[8:13]
        if self.elf_type not in (ET_EXEC, ET_DYN):
            kind = _TYPES.get(self.elf_type, f"type {self.elf_type}")
            raise NotLoadableError(
                f"{self.path}: ELF file of {kind}, expected a program or a shared object; leave it out"
            )

    def _program_headers(self) -> Iterator[Segment]:
        if self._phnum == 0 or self._phentsize != 56:
            raise self.error(f"{self._phnum} program headers of {self._phentsize} bytes, expected some of 56")
        end = self._phoff + self._phnum * 56
        if end > self.size:
            raise self.error(
                f"program headers end at byte {end:#x}, the file at {self.size:#x}", "it is truncated: copy it again"
            )
        for values in struct.iter_unpack("<IIQQQQQQ", self.data[self._phoff : end]):
            kind, flags, offset, vaddr, _paddr, filesz, memsz, align = values
            yield Segment(kind, flags, offset, vaddr, filesz, memsz, align)

    def _check_segments(self) -> None:
        if not self.loads:
            raise NotLoadableError(
                f"{self.path}: no PT_LOAD segment, expected a program or a shared object; leave it out"
            )
        if any(s.executable and s.filesz == 0 < s.memsz for s in self.loads):
            raise NotLoadableError(f"{self.path}: a separate debug file, without code; give the file that it describes")
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

    def segment(self, kind: int) -> Segment | None:
        """The first segment of a type, or None."""
        return next((s for s in self.segments if s.type == kind), None)


def _other_format(head: bytes) -> str:
    """What a file that is no ELF file is instead, where people often take it for one."""
    if head.startswith(b"#!"):
        words = head[2:].partition(b"\n")[0].decode("utf-8", "backslashreplace").split()
        return f"not an ELF file but a script for {words[0]}" if words else "not an ELF file but a script"
    if head.startswith((b"!<arch>\n", b"!<thin>\n")):
        return "not an ELF file but an archive of relocatable objects"
    return "not an ELF file"


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
            raise NotLoadableError(f"{path}: not a regular file; give a program or a shared object")
        if status.st_size == 0:
            raise NotLoadableError(f"{path}: not an ELF file (empty); give a program or a shared object")
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), status
    except OSError as error:
        raise Ia2exitError(f"{path}: {error.strerror}; copy it to a local file system") from None
    finally:
        os.close(descriptor)

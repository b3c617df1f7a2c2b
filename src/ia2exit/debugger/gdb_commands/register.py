"""The register PKRU of the selected thread, as the CPU has it.

gdb before 14 looks for it where Intel's CPUs have it in an XSAVE area, and finds something else on others. The runtime
knows the right place (CPUID leaf 0xD, subleaf 9), so the area itself is read: from the kernel, or from the core file.
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gdb

from ia2exit.debugger.gdb_commands.runtime import Runtime

_PTRACE_GETREGSET = 0x4204
_NT_PRSTATUS = 1
_NT_X86_XSTATE = 0x202
#: Where gdb before 14 thinks that PKRU is, and the size of the areas that its gcore writes.
_GDB_OFFSET, _GDB_SIZE = 2688, 2696
_XSTATE_BV, _PKRU_BIT = 512, 1 << 9
_PR_PID = 32  # offset in struct elf_prstatus (linux/elfcore.h)


class Register(NamedTuple):
    """Its value, or why it is not known."""

    value: int | None
    why_not: str = ""
    #: The kernel writes what it last saved into a core file, which may be older than the end.
    stale: bool = False


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def pkru(runtime: Runtime) -> Register:
    """PKRU of the selected thread."""
    offset = runtime.sealed("pkru_offset")
    if runtime.backend != "pku":
        return Register(None, f"backend {runtime.backend} does not use it")
    connection = gdb.selected_inferior().connection
    kind = connection.type if connection is not None else ""
    thread = gdb.selected_thread()
    if thread is not None and kind == "native":
        return _value(_of_kernel(thread.ptid[1]), offset)
    if thread is not None and kind == "core":
        found = _value(_of_core(thread.ptid[1] or thread.ptid[0]), offset)
        return found._replace(stale=found.value is not None)
    return _of_gdb(offset)


def _value(area: bytes, offset: int) -> Register:
    if len(area) == _GDB_SIZE and offset != _GDB_OFFSET:
        return Register(None, "this core file was written by a gdb that looks for it in the wrong place")
    if len(area) < offset + 4:
        return _of_gdb(offset)
    (present,) = struct.unpack_from("<Q", area, _XSTATE_BV)
    (value,) = struct.unpack_from("<I", area, offset)
    return Register(value if present & _PKRU_BIT else 0)


def _of_kernel(number: int) -> bytes:
    """The XSAVE area of a thread that this gdb traces; empty where the kernel does not give it."""
    area = ctypes.create_string_buffer(1 << 14)
    vector = _Iovec(ctypes.addressof(area), len(area))
    ptrace = ctypes.CDLL(None).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long
    failed = ptrace(_PTRACE_GETREGSET, number, _NT_X86_XSTATE, ctypes.addressof(vector))
    return b"" if failed else area.raw[: vector.length]


def _of_core(number: int) -> bytes:
    """The same from the core file; a thread's notes come after its NT_PRSTATUS (core(5), fs/binfmt_elf.c)."""
    found = re.search(
        r"`(.*)', file type elf64", gdb.execute("info files", to_string=True).partition("core dump file")[2]
    )
    ours = False
    for kind, content in _notes(Path(found[1])) if found else ():
        if kind == _NT_PRSTATUS:
            ours = struct.unpack_from("<i", content, _PR_PID)[0] == number
        elif kind == _NT_X86_XSTATE and ours:
            return content
    return b""


def _notes(path: Path) -> Iterator[tuple[int, bytes]]:
    """Type and content of each note of a core file (ELF gABI, "Note Section")."""
    try:
        with path.open("rb") as file:
            header = file.read(64)
            (start,) = struct.unpack_from("<Q", header, 32)
            size, count = struct.unpack_from("<HH", header, 54)
            for i in range(count):
                file.seek(start + i * size)
                kind, _, offset, _, _, length = struct.unpack("<IIQQQQ", file.read(40))
                if kind == 4:  # PT_NOTE
                    file.seek(offset)
                    yield from _split(file.read(length))
    except (OSError, struct.error):
        return


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 12 <= len(data):
        name, size, kind = struct.unpack_from("<III", data, at)
        content = at + 12 + (name + 3 & ~3)
        yield kind, data[content : content + size]
        at = content + (size + 3 & ~3)


def _of_gdb(offset: int) -> Register:
    """What gdb itself says, where that can be trusted."""
    if offset != _GDB_OFFSET and int(gdb.VERSION.split(".")[0]) < 14:
        return Register(None, f"gdb {gdb.VERSION} looks for it in the wrong place on this CPU")
    try:
        return Register(int(gdb.newest_frame().read_register("pkru")) & 0xFFFFFFFF)
    except (ValueError, gdb.error):
        return Register(None, "gdb has no register pkru here")

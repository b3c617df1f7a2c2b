"""libia2.so in the debugged process: its variables, found by its debugging information.

Tables (records, objects, threads) are read as bytes and taken apart by offsets from DWARF: there may be a million
records.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import gdb

_LIBRARY = "libia2.so"

BACKENDS = ("none", "mprotect", "pku")
MODES = ("observe", "enforce", "contain")


class Field(NamedTuple):
    """Where a member of a structure lies: bytes from its start, and how many."""

    offset: int
    size: int


def fields(kind: gdb.Type, prefix: str = "", base: int = 0) -> Iterator[tuple[str, Field]]:
    """The scalar members of a structure by name; ``outer.inner`` for nested ones, without a prefix for unnamed ones."""
    for member in kind.strip_typedefs().fields():
        at = base + (member.bitpos or 0) // 8
        of = member.type.strip_typedefs() if member.type is not None else None
        if of is None:
            continue
        if of.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
            yield from fields(of, f"{prefix}{member.name}." if member.name else prefix, at)
        elif member.name:
            yield prefix + member.name, Field(at, of.sizeof)


class Row(NamedTuple):
    """One structure of a table."""

    address: int
    data: memoryview
    members: Mapping[str, Field]

    def __call__(self, name: str) -> int:
        """The unsigned value of a member."""
        offset, size = self.members[name]
        return int.from_bytes(self.data[offset : offset + size], "little")


def address_of(variable: gdb.Value) -> int:
    """Where a variable of the process lies."""
    address = variable.address
    assert address is not None, "it is in memory"
    return int(address)


class Runtime(NamedTuple):
    """libia2.so of the selected inferior. Made anew for each command: the program may be another."""

    objfile: gdb.Objfile

    def variable(self, name: str, file: str = "") -> gdb.Value:
        """A global variable, or the static one of a source ``file``.

        Raises:
            gdb.GdbError: the debugging information does not have it.
        """
        if not file:
            found = self.objfile.lookup_global_symbol(name)
            if found is not None:
                return found.value()
        for symbol in gdb.lookup_static_symbols(name) if file else []:
            table = symbol.symtab
            if table.objfile == self.objfile and os.path.basename(table.filename) == file:
                return symbol.value()
        raise gdb.GdbError(
            f"{self.objfile.filename}: no debugging information of {name}: it was stripped, or is of another version; "
            "use the libia2.so that cmake or pip built (-g)"
        )

    def number(self, name: str, file: str = "") -> int:
        """The same, as a number."""
        return int(self.variable(name, file))

    def sealed(self, name: str) -> int:
        """What the constructor decided (sealed.h)."""
        return int(self.variable("ia2_sealed")[name])

    def rows(self, table: gdb.Value, count: int, first: int = 0) -> Iterator[Row]:
        """Entries ``first`` to ``count`` - 1 of an array, or of what a pointer points to."""
        kind = table.type.strip_typedefs().target()
        is_array = table.type.strip_typedefs().code == gdb.TYPE_CODE_ARRAY
        start = address_of(table) if is_array else int(table)
        members = dict(fields(kind))
        if count > first:
            data = memoryview(self.read(start + first * kind.sizeof, (count - first) * kind.sizeof))
            for i in range(count - first):
                at = i * kind.sizeof
                yield Row(start + (first + i) * kind.sizeof, data[at : at + kind.sizeof], members)

    def read(self, address: int, size: int) -> bytes:
        """Memory of the process, whatever is closed."""
        try:
            return bytes(gdb.selected_inferior().read_memory(address, size))
        except gdb.MemoryError:
            raise gdb.GdbError(
                f"{address:#x}: memory of the runtime cannot be read: is it not in the core file?"
            ) from None

    def text(self, address: int) -> str:
        """The string at an address; "?" where there is none."""
        if address == 0:
            return "?"
        try:
            return gdb.Value(address).cast(gdb.lookup_type("char").pointer()).string(errors="replace")
        except gdb.error:
            return "?"

    @property
    def backend(self) -> str:
        """How memory is closed."""
        return BACKENDS[self.sealed("backend")]

    @property
    def mode(self) -> str:
        """What a violation leads to."""
        return MODES[self.sealed("mode")]


def loaded() -> Runtime | None:
    """The runtime of the selected inferior, None while ld.so has not loaded it."""
    for objfile in gdb.objfiles():
        if objfile.filename and os.path.basename(objfile.filename) == _LIBRARY:
            return Runtime(objfile)
    return None


def initialised() -> Runtime:
    """The runtime, with its tables filled.

    Raises:
        gdb.GdbError: there is no process, it does not have the runtime, or not yet.
    """
    if gdb.selected_inferior().pid == 0:
        raise gdb.GdbError("no program runs and there is no core file: run, or core-file FILE")
    runtime = loaded()
    if runtime is None:
        raise gdb.GdbError(
            f"{_LIBRARY} is not loaded in this process (not yet, or it was started without): "
            "start it by `ia2exit gdb -- CMD`, or set exec-wrapper env LD_PRELOAD=PATH"
        )
    if runtime.sealed("legacy"):
        raise gdb.GdbError("the runtime is in legacy mode (IA2_EXIT_FORCE_LEGACY): it keeps no records")
    if not runtime.sealed("ready"):
        raise gdb.GdbError(
            f"{_LIBRARY} is loaded but not initialised yet (its constructor runs first of all): nothing is registered; "
            "go on to main"
        )
    return runtime

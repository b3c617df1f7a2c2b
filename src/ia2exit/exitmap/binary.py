"""The binary exit map: the form that the runtime maps (runtime/libia2/map_format.h, which comments each field).

Little-endian, no pointers, tables 8-aligned and sorted, strings once each in byte order, zeros between the tables: one
map has one encoding. The reader checks all of that, so that it refuses whatever this module would not have written.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any, Literal

from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.copies import BUILD_ID_BYTES
from ia2exit.model import (
    KINDS,
    MAP_VERSION,
    MAX_COMPARTMENT,
    SHARED,
    Address,
    Compartment,
    ExitMap,
    MapDestructor,
    Record,
)

MAGIC = b"IA2EXIT\0"
#: `unlisted`: every unlisted object gets a compartment of its own (IA2_MAP_EACH).
EACH = 0xFFFFFFFF
#: Flag of the main program (IA2_MAP_MAIN).
FLAG_MAIN = 1
#: magic, version, header size, total size, checksum, unlisted, counts (compartments, objects, destructors), size of the
#: strings, offsets (compartments, objects, destructors, strings).
HEADER = struct.Struct("<8sIIQIIIIIIQQQQ")
COMPARTMENT = struct.Struct("<II")
OBJECT = struct.Struct(f"<{BUILD_ID_BYTES}sIIIIII")
DESTRUCTOR = struct.Struct("<QIIII")
_CHECKSUM_AT = 24
_REMEDY = "write it again with: ia2exit map --binary"


class BinaryObject(Record, frozen=True, kw_only=True):
    """An object as the binary map knows it: without path, build ID cut to 32 bytes."""

    name: str
    build_id: str | None
    compartment: int
    main: bool
    destructors: list[MapDestructor]


class BinaryMap(Record, frozen=True, kw_only=True):
    """What a binary map holds; compare with :func:`as_binary` of an :class:`~ia2exit.model.ExitMap`."""

    version: int = MAP_VERSION
    unlisted: Literal["each"] | int
    compartments: list[Compartment]
    objects: list[BinaryObject]


def as_binary(exit_map: ExitMap) -> BinaryMap:
    """What of a map the binary form keeps, in its order."""
    objects = [
        BinaryObject(
            name=item.name,
            build_id=(item.build_id or "")[: 2 * BUILD_ID_BYTES] or None,
            compartment=item.compartment,
            main=item.main,
            destructors=item.destructors,
        )
        for item in exit_map.objects
    ]
    return BinaryMap(
        unlisted=exit_map.unlisted, compartments=exit_map.compartments, objects=sorted(objects, key=_sort_key)
    )


def _build_id(item: BinaryObject) -> bytes:
    return bytes.fromhex(item.build_id or "")


def _sort_key(item: BinaryObject) -> tuple[bytes, int, bytes]:
    build_id = _build_id(item)
    return (build_id.ljust(BUILD_ID_BYTES, b"\0"), len(build_id), item.name.encode())


def _runtime_key(item: BinaryObject) -> tuple[bytes, bytes]:
    """What the runtime tells objects apart by."""
    return (_build_id(item), b"" if item.build_id else item.name.encode())


def _destructor_key(item: MapDestructor) -> tuple[int, int]:
    return (int(item.rva), KINDS.index(item.kind))


def _strings(binary: BinaryMap) -> tuple[bytes, dict[str, int]]:
    """The string table and the offset of each string; "" at 0."""
    texts = {item.name for item in binary.compartments} | {item.name for item in binary.objects}
    texts |= {entry.symbol for item in binary.objects for entry in item.destructors if entry.symbol}
    table, offsets = bytearray(b"\0"), {"": 0}
    for text in sorted(texts - {""}):
        offsets[text] = len(table)
        table += text.encode() + b"\0"
    return bytes(table), offsets


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _sealed(data: bytes) -> bytes:
    """The file with its checksum: CRC-32 of all bytes, the field itself zero."""
    zeroed = data[:_CHECKSUM_AT] + bytes(4) + data[_CHECKSUM_AT + 4 :]
    return data[:_CHECKSUM_AT] + struct.pack("<I", zlib.crc32(zeroed)) + data[_CHECKSUM_AT + 4 :]


def write_binary(exit_map: ExitMap | BinaryMap) -> bytes:
    """The binary form of a map that :func:`~ia2exit.exitmap.build_map` made, byte for byte the same each time."""
    binary = as_binary(exit_map) if isinstance(exit_map, ExitMap) else exit_map
    strings, at = _strings(binary)
    compartments = b"".join(COMPARTMENT.pack(item.id, at[item.name]) for item in binary.compartments)
    objects, destructors, first = bytearray(), bytearray(), 0
    for item in binary.objects:
        build_id = _build_id(item)
        count = len(item.destructors)
        flags = FLAG_MAIN if item.main else 0
        objects += OBJECT.pack(build_id, len(build_id), at[item.name], item.compartment, flags, first, count)
        first += count
        for entry in item.destructors:
            kind = KINDS.index(entry.kind) + 1
            destructors += DESTRUCTOR.pack(entry.rva, kind, entry.compartment, at[entry.symbol or ""], 0)
    tables = [_padded(bytes(table)) for table in (compartments, objects, destructors, strings)]
    offsets = [HEADER.size + sum(map(len, tables[:index])) for index in range(len(tables))]
    total = HEADER.size + sum(map(len, tables))
    header = HEADER.pack(
        MAGIC,
        MAP_VERSION,
        HEADER.size,
        total,
        0,
        EACH if binary.unlisted == "each" else binary.unlisted,
        len(binary.compartments),
        len(binary.objects),
        first,
        len(strings),
        *offsets,
    )
    return _sealed(header + b"".join(tables))


class _Reader:
    """Decodes one file; every method raises :class:`Ia2exitError` for what cannot be."""

    def __init__(self, data: bytes, source: str) -> None:
        self.data = data
        self.source = source
        self._header()

    def error(self, text: str) -> Ia2exitError:
        return Ia2exitError(f"{self.source}: binary exit map: {text}; {_REMEDY}")

    def _header(self) -> None:
        if len(self.data) < HEADER.size:
            raise self.error(f"{len(self.data)} bytes, expected at least the {HEADER.size} of the header")
        magic, version, size, total, checksum, self.unlisted, *rest = HEADER.unpack_from(self.data)
        if magic != MAGIC:
            raise self.error(f"begins with {magic!r}, expected {MAGIC!r}")
        if version != MAP_VERSION:
            raise self.error(f"version {version}, expected {MAP_VERSION}")
        if size != HEADER.size:
            raise self.error(f"header of {size} bytes, expected {HEADER.size}")
        if total != len(self.data):
            raise self.error(f"{len(self.data)} bytes, its header says {total}")
        expected = struct.unpack_from("<I", _sealed(self.data), _CHECKSUM_AT)[0]
        if checksum != expected:
            raise self.error(f"checksum {checksum:#010x}, its contents have {expected:#010x}")
        self.counts, self.strings_size, offsets = rest[:3], rest[3], rest[4:]
        sizes = [COMPARTMENT.size, OBJECT.size, DESTRUCTOR.size, 1]
        where = HEADER.size
        names = ("compartments", "objects", "destructors", "strings")
        for name, offset, count, each in zip(names, offsets, [*self.counts, self.strings_size], sizes, strict=True):
            if offset != where:
                raise self.error(f"{name} at offset {offset}, expected {where}")
            where += (count * each + 7) // 8 * 8
        if where != total:
            raise self.error(f"its tables end at {where}, the file at {total}")
        self.offsets = offsets

    def _rows(self, table: int, layout: struct.Struct) -> Iterable[tuple[Any, ...]]:
        start = self.offsets[table]
        return layout.iter_unpack(self.data[start : start + layout.size * self.counts[table]])

    def text(self, offset: int) -> str:
        start = self.offsets[3] + offset
        end = self.data.find(b"\0", start, self.offsets[3] + self.strings_size)
        if offset >= self.strings_size or end < 0:
            raise self.error(f"string {offset} lies outside the {self.strings_size} bytes of strings")
        try:
            return self.data[start:end].decode()
        except UnicodeDecodeError:
            raise self.error(f"string {offset} is not UTF-8") from None

    def compartments(self) -> list[Compartment]:
        found = [Compartment(id=number, name=self.text(name)) for number, name in self._rows(0, COMPARTMENT)]
        ids = [item.id for item in found]
        if ids[:1] != [SHARED] or ids != sorted(set(ids)) or ids[-1] > MAX_COMPARTMENT:
            raise self.error(f"compartments {ids[:4]}…, expected ascending ids from 0 to {MAX_COMPARTMENT}")
        self.ids = set(ids)
        if self.unlisted != EACH:
            self.check_compartment(self.unlisted, "unlisted objects")
        return found

    def check_compartment(self, number: int, what: str) -> None:
        if number not in self.ids:
            raise self.error(f"{what} in compartment {number}, which it does not define")

    def destructors(self) -> list[MapDestructor]:
        found = []
        for rva, kind, compartment, symbol, reserved in self._rows(2, DESTRUCTOR):
            if not 1 <= kind <= len(KINDS):
                raise self.error(f"destructor {rva:#x} of kind {kind}, expected 1 to {len(KINDS)}")
            if reserved:
                raise self.error(f"destructor {rva:#x}: reserved field {reserved}, expected 0")
            self.check_compartment(compartment, f"destructor {rva:#x}")
            found.append(
                MapDestructor(
                    rva=Address(rva),
                    kind=KINDS[kind - 1],
                    symbol=self.text(symbol) or None,
                    compartment=compartment,
                )
            )
        return found

    def objects(self) -> list[BinaryObject]:
        destructors = self.destructors()
        found: list[BinaryObject] = []
        following = 0
        for padded, size, name, compartment, flags, first, count in self._rows(1, OBJECT):
            label = f"object {self.text(name)}"
            build_id: bytes = padded[:size]
            if size > BUILD_ID_BYTES or build_id.ljust(BUILD_ID_BYTES, b"\0") != padded:
                raise self.error(f"{label}: its build ID does not have the {size} bytes that it says")
            if flags & ~FLAG_MAIN:
                raise self.error(f"{label}: unknown flags {flags:#x}")
            self.check_compartment(compartment, label)
            if first != following:
                raise self.error(f"{label}: its destructors begin at {first}, expected {following}")
            following = first + count
            own = destructors[first:following]
            keys = [_destructor_key(entry) for entry in own]
            if len(own) != count or keys != sorted(set(keys)):
                raise self.error(f"{label}: its {count} destructors are not in order")
            found.append(
                BinaryObject(
                    name=self.text(name),
                    build_id=build_id.hex() or None,
                    compartment=compartment,
                    main=bool(flags & FLAG_MAIN),
                    destructors=own,
                )
            )
        if following != len(destructors):
            raise self.error(f"{len(destructors)} destructors, its objects have {following}")
        if [_sort_key(item) for item in found] != sorted(map(_sort_key, found)):
            raise self.error("its objects are not in order")
        if len({_runtime_key(item) for item in found}) != len(found):
            raise self.error("it lists an object twice")
        return found


def read_binary(data: bytes, source: str = "map") -> BinaryMap:
    """Decode and check a binary map; ``source`` stands at the start of messages.

    Raises:
        Ia2exitError: one line that says what is wrong; whatever is accepted encodes to the same bytes again.
    """
    reader = _Reader(data, source)
    compartments = reader.compartments()
    binary = BinaryMap(
        unlisted="each" if reader.unlisted == EACH else reader.unlisted,
        compartments=compartments,
        objects=reader.objects(),
    )
    if write_binary(binary) != data:
        raise reader.error("its strings or the bytes between its tables are not as they are written")
    return binary

"""The binary exit map: Python writes it, Python and C read the same out of it, damage is refused."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ia2exit.errors import Ia2exitError
from ia2exit.exitmap import as_binary, read_binary, write_binary
from ia2exit.exitmap.binary import COMPARTMENT, DESTRUCTOR, HEADER, MAGIC, OBJECT
from ia2exit.model import (
    KINDS,
    MAX_COMPARTMENT,
    Address,
    Compartment,
    ExitMap,
    MapDestructor,
    MapObject,
)

RUNTIME = Path(__file__).parents[2] / "runtime" / "libia2"
CHECKSUM_AT = 24

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def maps(draw: st.DrawFn) -> ExitMap:
    """Any map that ``build_map`` could make, and more."""
    ids = sorted(draw(st.sets(st.integers(1, MAX_COMPARTMENT), max_size=4)) | {0})
    one_of_ids = st.sampled_from(ids)
    entries = st.builds(
        MapDestructor,
        rva=st.integers(0, 2**64 - 1).map(Address),
        kind=st.sampled_from(KINDS),
        symbol=st.none() | texts,
        compartment=one_of_ids,
    )
    objects = st.builds(
        MapObject,
        name=texts,
        path=texts,
        build_id=st.none() | st.binary(min_size=1, max_size=40).map(bytes.hex),
        compartment=one_of_ids,
        decided_by=st.sampled_from(("policy", "note", "default", "unlisted")),
        main=st.booleans(),
        destructors=st.lists(entries, max_size=4, unique_by=lambda item: (item.rva, item.kind)).map(
            lambda found: sorted(found, key=lambda item: (item.rva, KINDS.index(item.kind)))
        ),
    )
    found = draw(
        st.lists(objects, max_size=4, unique_by=lambda item: item.build_id[:64] if item.build_id else (item.name, None))
    )
    return ExitMap(
        unlisted="each" if draw(st.booleans()) else draw(one_of_ids),
        compartments=[Compartment(id=number, name=draw(texts)) for number in ids],
        objects=sorted(found, key=lambda item: (item.build_id or "", item.name)),
    )


SAMPLE = ExitMap(
    unlisted=2,
    compartments=[Compartment(id=0, name="shared"), Compartment(id=2, name="ssl"), Compartment(id=4095, name="äpp")],
    objects=[
        MapObject(
            name="plugin.so",
            path="/opt/plugin.so",
            build_id=None,
            compartment=2,
            decided_by="policy",
            destructors=[],
        ),
        MapObject(
            name="libssl.so.3",
            path="/lib/libssl.so.3",
            build_id="00ff" * 10,
            compartment=2,
            decided_by="policy",
            destructors=[
                MapDestructor(rva=Address(0x1120), kind="fini_array", symbol="__do_global_dtors_aux", compartment=2),
                MapDestructor(rva=Address(0x1120), kind="atexit", symbol=None, compartment=2),
                MapDestructor(rva=Address(2**64 - 1), kind="pthread_key", symbol="_ZN1xD1Ev", compartment=0),
            ],
        ),
        MapObject(
            name="curl",
            path="/usr/bin/curl",
            build_id="ab" * 33,
            compartment=4095,
            decided_by="policy",
            main=True,
            destructors=[MapDestructor(rva=Address(0), kind="fini", symbol="_fini", compartment=4095)],
        ),
    ],
)


def refused(data: bytes) -> str:
    """The one line with which ``data`` is refused."""
    with pytest.raises(Ia2exitError) as caught:
        read_binary(data, "x.bin")
    message = str(caught.value)
    assert message.startswith("x.bin: binary exit map: ")
    assert message.endswith("; write it again with: ia2exit map --binary")
    assert "\n" not in message
    return message


def sealed(data: bytes) -> bytes:
    """``data`` with the checksum that it should have."""
    zeroed = data[:CHECKSUM_AT] + bytes(4) + data[CHECKSUM_AT + 4 :]
    return data[:CHECKSUM_AT] + struct.pack("<I", zlib.crc32(zeroed)) + data[CHECKSUM_AT + 4 :]


@given(maps())
def test_what_is_written_is_read_back(exit_map: ExitMap) -> None:
    assert read_binary(write_binary(exit_map)) == as_binary(exit_map)


@given(maps())
def test_tables_are_sorted_aligned_and_the_same_each_time(exit_map: ExitMap) -> None:
    data = write_binary(exit_map)
    shuffled = ExitMap(
        unlisted=exit_map.unlisted, compartments=exit_map.compartments, objects=list(reversed(exit_map.objects))
    )
    assert write_binary(shuffled) == data
    header = HEADER.unpack_from(data)
    assert all(offset % 8 == 0 for offset in header[-4:])
    keys = [row[:2] for row in OBJECT.iter_unpack(data[header[-3] : header[-3] + OBJECT.size * header[7]])]
    assert keys == sorted(keys)


def test_every_single_bit_flip_is_refused() -> None:
    data = write_binary(SAMPLE)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged))


@given(maps(), st.data())
def test_bit_flips_of_any_map_are_refused(exit_map: ExitMap, data: st.DataObject) -> None:
    damaged = bytearray(write_binary(exit_map))
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    refused(bytes(damaged))


@pytest.mark.parametrize("size", [0, 1, HEADER.size - 1, HEADER.size, len(write_binary(SAMPLE)) - 1])
def test_a_truncated_map_is_refused(size: int) -> None:
    assert f"{size} bytes" in refused(write_binary(SAMPLE)[:size])


def test_bytes_behind_the_map_are_refused() -> None:
    assert "its header says" in refused(write_binary(SAMPLE) + bytes(8))


@given(st.data())
@settings(max_examples=400)
def test_a_forged_checksum_does_not_help(data: st.DataObject) -> None:
    """Whatever is accepted is a map in its one encoding: a damaged one is refused, or it is another valid map."""
    forged = bytearray(write_binary(SAMPLE))
    at = data.draw(st.integers(len(MAGIC), len(forged) - 1))
    forged[at] = data.draw(st.integers(0, 255))
    try:
        found = read_binary(sealed(bytes(forged)))
    except Ia2exitError:
        refused(sealed(bytes(forged)))
    else:
        assert write_binary(found) == sealed(bytes(forged))


def offset_of(table: int, row: int, size: int, field: int) -> int:
    """Offset in SAMPLE's file of a field of a row of a table."""
    start: int = HEADER.unpack_from(write_binary(SAMPLE))[10 + table]
    return start + row * size + field


FORGERIES = [
    ("version", 8, 2, "version 2, expected 1"),
    ("header size", 12, 88, "header of 88 bytes, expected 80"),
    ("unlisted", 28, 7, "unlisted objects in compartment 7, which it does not define"),
    ("a count", 32, 9, "objects at offset 104, expected 152"),
    ("string size", 44, 1 << 20, "its tables end at"),
    ("a compartment id", offset_of(0, 1, COMPARTMENT.size, 0), 4096, "expected ascending ids from 0 to 4095"),
    ("the first id", offset_of(0, 0, COMPARTMENT.size, 0), 1, "expected ascending ids from 0 to 4095"),
    ("a name", offset_of(0, 1, COMPARTMENT.size, 4), 5000, "string 5000 lies outside the"),
    ("a build ID's size", offset_of(1, 1, OBJECT.size, 32), 19, "does not have the 19 bytes that it says"),
    ("an object's compartment", offset_of(1, 1, OBJECT.size, 40), 3, "in compartment 3, which it does not define"),
    ("flags", offset_of(1, 0, OBJECT.size, 44), 2, "unknown flags 0x2"),
    ("a first destructor", offset_of(1, 1, OBJECT.size, 48), 1, "its destructors begin at 1, expected 0"),
    ("a count of destructors", offset_of(1, 2, OBJECT.size, 52), 0, "4 destructors, its objects have 3"),
    ("a kind", offset_of(2, 0, DESTRUCTOR.size, 8), 9, "of kind 9, expected 1 to 8"),
    ("a destructor's compartment", offset_of(2, 0, DESTRUCTOR.size, 12), 3, "in compartment 3, which it does"),
    ("reserved", offset_of(2, 0, DESTRUCTOR.size, 20), 1, "reserved field 1, expected 0"),
    ("order", offset_of(2, 0, DESTRUCTOR.size, 0), 0x1130, "its 3 destructors are not in order"),
    ("a symbol", offset_of(2, 1, DESTRUCTOR.size, 16), 2, "not as they are written"),
]


@pytest.mark.parametrize(("at", "value", "reason"), [row[1:] for row in FORGERIES], ids=[row[0] for row in FORGERIES])
def test_each_forged_field_has_its_reason(at: int, value: int, reason: str) -> None:
    data = bytearray(write_binary(SAMPLE))
    struct.pack_into("<I", data, at, value)
    assert reason in refused(sealed(bytes(data)))


C_SOURCE = r"""
/* Prints a binary exit map by the structs of map_format.h. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ia2_exit.h"
#include "map_format.h"

_Static_assert(IA2_EXIT_FINI_ARRAY == 1 && IA2_EXIT_PTHREAD_KEY == 8, "numbers of kinds");

int main(int argc, char **argv) {
    struct stat status;
    int fd = open(argv[argc - 1], O_RDONLY);
    if (fd < 0 || fstat(fd, &status) != 0) {
        return 1;
    }
    const char *file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED) {
        return 1;
    }
    const struct ia2_map_header *header = (const void *)file;
    const struct ia2_map_compartment *compartments = (const void *)(file + header->compartments);
    const struct ia2_map_object *objects = (const void *)(file + header->objects);
    const struct ia2_map_destructor *destructors = (const void *)(file + header->destructors);
    const char *strings = file + header->strings;
    printf("%s %u %u %" PRIu64 "\n", header->magic, header->version, header->header_size, header->total_size);
    if (header->unlisted == IA2_MAP_EACH) {
        printf("unlisted each\n");
    } else {
        printf("unlisted %u\n", header->unlisted);
    }
    for (uint32_t i = 0; i < header->compartment_count; i++) {
        printf("compartment %u %s\n", compartments[i].id, strings + compartments[i].name);
    }
    for (uint32_t i = 0; i < header->object_count; i++) {
        printf("object %s %u %d ", strings + objects[i].name, objects[i].compartment,
               (objects[i].flags & IA2_MAP_MAIN) != 0);
        for (uint32_t j = 0; j < objects[i].build_id_size; j++) {
            printf("%02x", objects[i].build_id[j]);
        }
        printf("\n");
        for (uint32_t j = 0; j < objects[i].destructor_count; j++) {
            const struct ia2_map_destructor *entry = &destructors[objects[i].first_destructor + j];
            printf("destructor 0x%" PRIx64 " %u %u %s\n", entry->rva, entry->kind, entry->compartment,
                   strings + entry->symbol);
        }
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def c_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that prints a binary map by the C structs."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: apt-get install gcc"
    folder = tmp_path_factory.mktemp("reader")
    source, program = folder / "reader.c", folder / "reader"
    source.write_text(C_SOURCE)
    includes = [f"-I{RUNTIME}", f"-I{RUNTIME}/include"]
    command = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", *includes, str(source), "-o", str(program)]
    subprocess.run(command, check=True, timeout=60)
    return program


def described(exit_map: ExitMap) -> str:
    """What the C program should print, from Python's records."""
    binary = as_binary(exit_map)
    lines = [f"IA2EXIT 1 80 {len(write_binary(exit_map))}", f"unlisted {binary.unlisted}"]
    lines += [f"compartment {item.id} {item.name}" for item in binary.compartments]
    for item in binary.objects:
        lines.append(f"object {item.name} {item.compartment} {int(item.main)} {item.build_id or ''}")
        for entry in item.destructors:
            kind = KINDS.index(entry.kind) + 1
            lines.append(f"destructor {entry.rva} {kind} {entry.compartment} {entry.symbol or ''}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("unlisted", ["each", 0, 2])
def test_c_reads_the_same_map(c_reader: Path, tmp_path: Path, unlisted: str | int) -> None:
    exit_map = ExitMap(
        unlisted="each" if isinstance(unlisted, str) else unlisted,
        compartments=SAMPLE.compartments,
        objects=SAMPLE.objects,
    )
    file = tmp_path / "map.bin"
    file.write_bytes(write_binary(exit_map))
    printed = subprocess.run([c_reader, file], check=True, capture_output=True, timeout=60).stdout.decode()
    assert printed == described(exit_map)

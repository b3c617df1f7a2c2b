"""The two readers of a binary map, Python's and the runtime's, accept and refuse the same files."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_map_binary import CHECKSUM_AT, FORGERIES, SAMPLE, maps, sealed

from ia2exit.errors import Ia2exitError
from ia2exit.exitmap import read_binary, write_binary
from ia2exit.exitmap.binary import HEADER, OBJECT
from ia2exit.model import Compartment, ExitMap, MapObject

RUNTIME = Path(__file__).parents[2] / "runtime" / "libia2"

Check = Callable[[bytes], str | None]


@pytest.fixture(scope="module")
def wrong_in_c(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """What the runtime's reader (map_check.c) says of a file; None where it accepts it."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: apt-get install gcc"
    library = tmp_path_factory.mktemp("check") / "check.so"
    sources = [str(RUNTIME / name) for name in ("map_check.c", "map_tables.c")]
    command = [compiler, "-std=gnu11", "-O2", "-shared", "-fPIC", f"-I{RUNTIME}/include", *sources, "-o", str(library)]
    subprocess.run(command, check=True, timeout=60)
    check = ctypes.CDLL(str(library)).ia2_map_check
    check.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p]
    check.restype = ctypes.c_char_p

    def wrong(data: bytes) -> str | None:
        # 64-bit words, so that the file is aligned as in the runtime; a byte behind each end is not to be touched.
        file = (ctypes.c_uint64 * (len(data) // 8 + 2))()
        ctypes.memmove(file, data, len(data))
        scratch = (ctypes.c_uint8 * (len(data) // 8 + 2))()
        guarded = len(data) // 8 + 1
        scratch[guarded] = 0xA5
        found: bytes | None = check(file, len(data), scratch)
        assert scratch[guarded] == 0xA5
        return found.decode() if found is not None else None

    return wrong


def agree(data: bytes, wrong_in_c: Check) -> None:
    """Both accept ``data`` or both refuse it."""
    in_python: str | None = None
    try:
        read_binary(data)
    except Ia2exitError as error:
        in_python = str(error)
    in_c = wrong_in_c(data)
    assert (in_python is None) == (in_c is None), f"Python: {in_python}, the runtime: {in_c}"


@given(exit_map=maps())
def test_whatever_python_writes_the_runtime_accepts(wrong_in_c: Check, exit_map: ExitMap) -> None:
    assert wrong_in_c(write_binary(exit_map)) is None


@pytest.mark.parametrize(("at", "value"), [row[1:3] for row in FORGERIES], ids=[row[0] for row in FORGERIES])
def test_forged_fields_are_refused_by_both(wrong_in_c: Check, at: int, value: int) -> None:
    data = bytearray(write_binary(SAMPLE))
    struct.pack_into("<I", data, at, value)
    assert wrong_in_c(sealed(bytes(data)))
    agree(sealed(bytes(data)), wrong_in_c)


@pytest.mark.parametrize("repaired", [False, True], ids=["as it is", "with the checksum made right again"])
def test_every_bit_flip(wrong_in_c: Check, repaired: bool) -> None:
    data = write_binary(SAMPLE)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        agree(sealed(bytes(damaged)) if repaired else bytes(damaged), wrong_in_c)


@pytest.mark.parametrize("value", [0x00, 0x01, 0x7F, 0x80, 0xC2, 0xED, 0xF4, 0xFF])
def test_every_byte_with_the_checksum_made_right_again(wrong_in_c: Check, value: int) -> None:
    for at in range(len(write_binary(SAMPLE))):
        damaged = bytearray(write_binary(SAMPLE))
        damaged[at] = value
        agree(sealed(bytes(damaged)), wrong_in_c)


@given(exit_map=maps(), data=st.data())
@settings(max_examples=300)
def test_several_forged_bytes(wrong_in_c: Check, exit_map: ExitMap, data: st.DataObject) -> None:
    forged = bytearray(write_binary(exit_map))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(forged) - 1))
        forged[at] = data.draw(st.integers(0, 255) | st.sampled_from([0, 1, forged[at] ^ 1, (forged[at] + 1) % 256]))
    agree(sealed(bytes(forged)), wrong_in_c)


@given(exit_map=maps(), cut=st.integers(1, 200), repaired=st.booleans())
def test_cut_files(wrong_in_c: Check, exit_map: ExitMap, cut: int, repaired: bool) -> None:
    data = write_binary(exit_map)[:-cut]
    if repaired and len(data) >= HEADER.size:
        data = sealed(data[:16] + struct.pack("<Q", len(data)) + data[24:])
    agree(data, wrong_in_c)


def text_in_place_of_a_name(text: bytes) -> bytes:
    """A map whose one object has these bytes as its name."""
    name = "x" * len(text)
    exit_map = ExitMap(
        unlisted="each",
        compartments=[Compartment(id=0, name="a")],
        objects=[
            MapObject(name=name, path="/x", build_id="01", compartment=0, decided_by="policy", destructors=[]),
        ],
    )
    data = write_binary(exit_map)
    return sealed(data.replace(b"\0" + name.encode() + b"\0", b"\0" + text + b"\0"))


def test_both_know_the_same_utf8(wrong_in_c: Check) -> None:
    """RFC 3629 has limits for the second byte, which depend on the first: around each of them."""
    limits = (0x01, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)
    for first, second in product(range(0x80, 0x100), limits):
        for rest in (b"", b"\x80", b"\x80\xbf", b"\xbf\xbf\xbf", b"\x80\x41", b"\x41", b"\xc0"):
            agree(text_in_place_of_a_name(b"z" + bytes([first, second]) + rest), wrong_in_c)


def test_the_checksum_is_the_one_of_zlib(wrong_in_c: Check) -> None:
    data = write_binary(SAMPLE)
    zeroed = data[:CHECKSUM_AT] + bytes(4) + data[CHECKSUM_AT + 4 :]
    assert struct.unpack_from("<I", data, CHECKSUM_AT)[0] == zlib.crc32(zeroed)
    assert wrong_in_c(data) is None


def test_an_object_may_be_the_main_program(wrong_in_c: Check) -> None:
    data = bytearray(write_binary(SAMPLE))
    flags = HEADER.unpack_from(data)[11] + 44
    assert [struct.unpack_from("<I", data, flags + index * OBJECT.size)[0] for index in range(3)] == [0, 0, 1]
    struct.pack_into("<I", data, flags, 1)
    assert wrong_in_c(sealed(bytes(data))) is None

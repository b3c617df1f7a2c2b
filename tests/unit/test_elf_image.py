"""Reading one ELF file: the same answers as binutils, and one clear error for everything else."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
from elf_building import LIBRARY, build, command, stripped_of_sections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia2exit.elf.constants import DT_FINI, DT_FINI_ARRAY, R_X86_64_RELATIVE
from ia2exit.elf.file import NotLoadableError
from ia2exit.elf.image import ElfImage
from ia2exit.elf.loader import DEFAULT_INTERPRETER
from ia2exit.elf.tables import decode_relr
from ia2exit.errors import Ia2exitError
from ia2exit.scanning.one import scan_object

SYSTEM = sorted({p.resolve() for p in Path(DEFAULT_INTERPRETER).resolve().parent.glob("*.so.*") if p.is_file()})
SAMPLE = random.Random(2).sample(SYSTEM, min(40, len(SYSTEM)))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("image") / "libsmall.so", LIBRARY, "-Wl,-soname,libsmall.so.1")


def _readelf(option: str, path: Path) -> str:
    return command("readelf", option, path, env={**os.environ, "LC_ALL": "C"})


@pytest.mark.parametrize("path", SAMPLE, ids=lambda p: p.name)
def test_dynamic_entries_and_counts_agree_with_readelf(path: Path) -> None:
    image = ElfImage(path)
    dynamic = _readelf("-dW", path)
    assert image.needed == re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert [image.soname] == (re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) or [None])
    assert [image.runpath] == (re.findall(r"\(RUNPATH\).*\[(.*)\]", dynamic) or [None])
    assert [image.build_id] == (re.findall(r"Build ID: (\w+)", _readelf("-nW", path)) or [None])
    symbols = re.findall(r"Symbol table '.dynsym' contains (\d+) entr", _readelf("--dyn-syms", path))
    assert [str(len(image.dynsym))] == (symbols or ["0"])
    relocations = re.findall(r"^[0-9a-f]{16} +[0-9a-f]{16} R_X86", _readelf("-rW", path), re.MULTILINE)
    assert len(image.relocations) >= len(relocations)


@pytest.mark.parametrize("path", SAMPLE[:12], ids=lambda p: p.name)
def test_function_ranges_agree_with_the_unwind_entries_that_readelf_prints(path: Path) -> None:
    printed = re.findall(r"FDE cie=\S+ pc=([0-9a-f]+)\.\.([0-9a-f]+)", _readelf("-wF", path))
    expected = sorted({(int(a, 16), int(b, 16)) for a, b in printed if a != b})
    ranges = [(int(a), int(b)) for a, b in ElfImage(path).functions]
    assert ranges == sorted(set(ranges))
    assert set(ranges) <= set(expected)
    assert {start for start, _ in ranges} == {start for start, _ in expected}


def test_symbols_are_found_by_name_although_linkers_merge_string_tails(tmp_path: Path) -> None:
    image = ElfImage(build(tmp_path / "libtail.so", "int exit_x(void){return 1;} int at_exit_x(void){return 2;}"))
    found = image.dynsym.named({"exit_x", "at_exit_x", "xit_x"})
    assert sorted(found) == ["at_exit_x", "exit_x"]
    assert [image.dynsym.name(i) for name in sorted(found) for i in found[name]] == ["at_exit_x", "exit_x"]


def test_an_object_without_section_headers_reads_the_same(library: Path, tmp_path: Path) -> None:
    whole, bare = ElfImage(library), ElfImage(stripped_of_sections(library, tmp_path / "bare.so"))
    assert bare.sections == []
    assert bare.symtab is None
    assert whole.symtab is not None
    assert (bare.soname, bare.needed, bare.build_id) == (whole.soname, whole.needed, whole.build_id)
    assert len(bare.dynsym) == len(whole.dynsym)
    assert np.array_equal(bare.functions, whole.functions)


def test_packed_relative_relocations_read_like_plain_ones(tmp_path: Path) -> None:
    plain = ElfImage(build(tmp_path / "libplain.so", LIBRARY, "-Wl,-z,nopack-relative-relocs"))
    packed = ElfImage(build(tmp_path / "libpacked.so", LIBRARY, "-Wl,-z,pack-relative-relocs"))
    assert 36 in packed.dynamic
    assert _relative_targets(packed) == _relative_targets(plain)


def _relative_targets(image: ElfImage) -> list[str | None]:
    """Symbols of what RELATIVE relocations in ``.fini_array`` point at."""
    from ia2exit.elf.naming import Naming

    rows = image.relocations
    start = image.dynamic[DT_FINI_ARRAY]
    rows = rows[(rows["type"] == R_X86_64_RELATIVE) & (rows["offset"] >= start) & (rows["offset"] < start + 24)]
    names = Naming(image).functions(rows["addend"].tolist())
    return [names[int(row["addend"])].symbol for row in rows]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60, unique=True))
def test_decoding_relr_undoes_encoding_it(slots: list[int]) -> None:
    offsets = [0x1000 + 8 * slot for slot in sorted(slots)]
    assert decode_relr(np.array(_encode_relr(offsets), dtype=np.uint64)).tolist() == offsets


def _encode_relr(offsets: list[int]) -> list[int]:
    """As lld does (gABI: DT_RELR): an address, then bitmaps of the 63 words that follow."""
    words: list[int] = []
    at = 0
    while at < len(offsets):
        words.append(offsets[at])
        base, at = offsets[at] + 8, at + 1
        while at < len(offsets) and offsets[at] - base < 63 * 8:
            bitmap = 0
            while at < len(offsets) and offsets[at] - base < 63 * 8:
                bitmap |= 1 << ((offsets[at] - base) // 8 + 1)
                at += 1
            words.append(bitmap | 1)
            base += 63 * 8
    return words


def test_types_of_objects(library: Path, tmp_path: Path) -> None:
    main = "int main(void) { return 0; }"
    assert ElfImage(library).type == "shared-object"
    assert ElfImage(build(tmp_path / "pie", main, "-pie", "-fPIE")).type == "pie"
    assert ElfImage(build(tmp_path / "fixed", main, "-no-pie")).type == "executable"
    assert ElfImage(build(tmp_path / "static", main, "-static")).type == "static"
    assert ElfImage(build(tmp_path / "static-pie", main, "-static-pie", "-fPIE")).type == "static-pie"
    assert ElfImage(DEFAULT_INTERPRETER).type == "shared-object"
    libc = next(path for path in SYSTEM if path.name == "libc.so.6")
    assert ElfImage(libc).type == "shared-object", "libc has PT_INTERP and is no program all the same"


def test_memory_beyond_the_file_is_zero_and_outside_is_an_error(tmp_path: Path) -> None:
    image = ElfImage(build(tmp_path / "libbss.so", "char big[100000]; int one = 1;"))
    data = next(s for s in image.loads if s.memsz > s.filesz)
    assert image.read(data.vaddr + data.filesz, 4096) == bytes(4096)
    assert image.offset(data.vaddr + data.filesz) is None
    with pytest.raises(Ia2exitError, match="lie in no PT_LOAD"):
        image.read(data.vaddr + data.memsz - 1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"\x7fELF", "the ELF header is cut off after 4 bytes"),
        (b"\x7fELF\x01\x01\x01" + bytes(11) + b"\x03\x00" + bytes(40), "32-bit ELF for i386, expected 64-bit x86-64"),
        (b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xb7\x00" + bytes(40), "64-bit ELF for AArch64"),
        (b"\x7fELF\x02\x02\x01" + bytes(11) + b"\x00\x16" + bytes(40), "64-bit ELF for s390"),
    ],
)
def test_what_is_no_x86_64_program_is_refused_by_what_it_is(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(Ia2exitError, match=re.escape(message)) as error:
        ElfImage(file)
    assert str(error.value).startswith(f"{file}: ")


def test_relocatable_objects_core_dumps_and_debug_files_are_not_loadable(library: Path, tmp_path: Path) -> None:
    source, relocatable, debug = tmp_path / "one.c", tmp_path / "one.o", tmp_path / "lib.debug"
    source.write_text("int one;")
    command("gcc", "-c", "-o", relocatable, source)
    command("objcopy", "--only-keep-debug", library, debug)
    core = tmp_path / "core"
    core.write_bytes(library.read_bytes()[:16] + b"\x04\x00" + library.read_bytes()[18:])
    for path, word in ((relocatable, "relocatable"), (core, "core dump"), (debug, "debug file")):
        with pytest.raises(NotLoadableError, match=word):
            ElfImage(path)


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, word in (("none", "No such file"), ("pipe", "not a regular file"), ("nul\0", "null byte")):
        with pytest.raises(Ia2exitError, match=word):
            ElfImage(tmp_path / path)
    with pytest.raises(Ia2exitError, match=r"not a regular file|Is a directory"):
        ElfImage(tmp_path)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_an_error_wherever_it_is_cut(library: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = library.read_bytes()
    size = data.draw(st.integers(0, len(content) - 1))
    cut = tmp_path / "cut.so"
    cut.write_bytes(content[:size])
    with pytest.raises(Ia2exitError, match=re.escape(str(cut))):
        scan_object(str(cut), disassemble=True)


def _interesting(content: bytes, image: ElfImage) -> list[int]:
    """Offsets whose bytes steer a reader: headers, dynamic entries, hash and unwind tables, section headers."""
    offsets = list(range(0, 64 + 56 * len(image.segments)))
    for segment in image.segments:
        if segment.type in (2, 4, 0x6474E550):
            offsets += range(segment.offset, segment.offset + segment.filesz)
    for tag in (4, 5, 6, 7, 23, 26, 36, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFE):
        if tag in image.dynamic:
            start = image.offset(image.dynamic[tag]) or 0
            offsets += range(start, min(start + 512, len(content)))
    return offsets + list(range(image._shoff, len(content)))


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_fuzzed_file_is_read_or_refused_and_nothing_else(library: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(library.read_bytes())
    places = _interesting(bytes(content), ElfImage(library))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.sampled_from(places))
        width = data.draw(st.sampled_from([1, 2, 4, 8]))
        value = data.draw(st.sampled_from([0, 1, 0x7F, 0xFF, 0xFFFF, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
        content[at : at + width] = (value % 256**width).to_bytes(width, "little")
    fuzzed = tmp_path / "fuzzed.so"
    fuzzed.write_bytes(content)
    refused: str | None = None
    try:
        scanned = scan_object(str(fuzzed), disassemble=True)
    except Ia2exitError as error:
        refused = str(error)
    else:
        assert all(d.rva is None or d.rva >= 0 for d in scanned.destructors)
    assert refused is None or (refused.startswith(str(fuzzed)) and "\n" not in refused)


def test_the_fixture_has_what_the_fuzzer_aims_at(library: Path) -> None:
    image = ElfImage(library)
    assert DT_FINI in image.dynamic
    assert len(image.functions) > 4
    assert len(_interesting(library.read_bytes(), image)) > 3000

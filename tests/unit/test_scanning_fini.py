"""``.fini_array`` and ``DT_FINI`` are read as ld.so will call them: through every form of relocation."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from elf_building import LIBRARY, build, command, stripped_of_sections

from ia2exit.elf.constants import (
    DT_FINI,
    DT_FINI_ARRAY,
    DT_FINI_ARRAYSZ,
    PT_DYNAMIC,
    R_X86_64_64,
    R_X86_64_IRELATIVE,
    R_X86_64_RELATIVE,
)
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError
from ia2exit.model import Destructor
from ia2exit.scanning.fini import fini_destructors
from ia2exit.scanning.one import scan_object

MAIN = LIBRARY + "int main(void) { return start(); }"
#: An exported destructor: the linker leaves a relocation against its symbol.
EXPORTED = 'void last(void) {} __attribute__((section(".fini_array"), used)) static void (*const entry)(void) = last;'


def _nm(path: Path) -> dict[str, int]:
    return {
        name: int(rva, 16) for rva, name in re.findall(r"^([0-9a-f]+) \w (\w+)$", command("nm", path), re.MULTILINE)
    }


def _tables(path: Path) -> list[Destructor]:
    return scan_object(str(path), disassemble=False).destructors


def _relocation_types(path: Path) -> set[int]:
    """Types of the relocations inside ``.fini_array``."""
    image = ElfImage(path)
    start = image.dynamic[DT_FINI_ARRAY]
    rows = image.relocations
    inside = (rows["offset"] >= start) & (rows["offset"] < start + image.dynamic[DT_FINI_ARRAYSZ])
    return set(rows["type"][inside].tolist())


@pytest.mark.parametrize(
    "flags",
    [
        ["-Wl,-z,nopack-relative-relocs"],
        ["-Wl,-z,pack-relative-relocs"],
    ],
)
def test_a_library_lists_its_array_from_the_end_and_then_dt_fini(tmp_path: Path, flags: list[str]) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY, *flags)
    names = _nm(library)
    found = _tables(library)
    size = ElfImage(library).dynamic[DT_FINI_ARRAYSZ] // 8
    assert [d.index for d in found] == [*reversed(range(size)), None]
    assert [d.kind for d in found] == ["fini_array"] * size + ["fini"]
    assert [d.found for d in found] == ["fini_array"] * size + ["dt_fini"]
    assert {"first", "second"} <= {d.symbol for d in found}
    assert [d.rva for d in found] == [names[str(d.symbol)] for d in found]
    assert found[-1].rva == names["_fini"] == ElfImage(library).dynamic[DT_FINI]
    assert _relocation_types(library) == {R_X86_64_RELATIVE}


def test_the_order_is_the_order_in_which_they_run(tmp_path: Path) -> None:
    program = build(tmp_path / "program", MAIN)
    printed = command(program).split()
    order = [d.symbol for d in _tables(program) if d.symbol in ("first", "second")]
    assert printed == ["handler", *map(str, order)]


def test_the_word_in_the_file_is_not_believed_where_a_relocation_decides(tmp_path: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY, "-Wl,-z,nopack-relative-relocs")
    before = _tables(library)
    image = ElfImage(library)
    offset = image.offset(image.dynamic[DT_FINI_ARRAY], 8)
    assert offset is not None
    data = bytearray(library.read_bytes())
    data[offset : offset + 8] = bytes(8)
    library.write_bytes(data)
    assert _tables(library) == before


def test_an_entry_bound_by_name_says_its_symbol_and_takes_the_own_definition(tmp_path: Path) -> None:
    library = build(tmp_path / "liblast.so", EXPORTED)
    assert R_X86_64_64 in _relocation_types(library)
    last = [d for d in _tables(library) if d.symbol == "last"]
    assert [(d.kind, d.rva, d.symbol_source) for d in last] == [("fini_array", _nm(library)["last"], "import")]


def test_an_entry_with_an_offset_from_its_symbol_is_the_object_s_own(tmp_path: Path) -> None:
    entry = r'.pushsection .fini_array,"aw",@fini_array; .quad last + 1; .popsection'
    library = build(tmp_path / "liblast.so", f'extern "C" void last(void) {{}} __asm__(R"({entry})");', language="cc")
    assert R_X86_64_64 in _relocation_types(library)
    assert _nm(library)["last"] + 1 in [d.rva for d in _tables(library) if d.symbol_source != "import"]


def test_an_entry_bound_to_another_object_is_an_import(tmp_path: Path) -> None:
    source = EXPORTED.replace("void last(void) {}", "extern void last(void);")
    library = build(tmp_path / "libuser.so", source)
    (last,) = [d for d in _tables(library) if d.symbol == "last"]
    assert (last.rva, last.object, last.symbol_source) == (None, None, "import")


def test_an_entry_that_a_resolver_decides_is_listed_without_an_address(tmp_path: Path) -> None:
    source = """
    static void one(void) {}
    static void (*choose(void))(void) { return one; }
    static void chosen(void) __attribute__((ifunc("choose")));
    __attribute__((section(".fini_array"), used)) static void (*const entry)(void) = chosen;
    """
    library = build(tmp_path / "libchosen.so", source)
    assert R_X86_64_IRELATIVE in _relocation_types(library)
    unknown = [d for d in _tables(library) if d.rva is None]
    assert [(d.kind, d.symbol, d.found) for d in unknown] == [("fini_array", None, "fini_array")]


def test_a_program_at_a_fixed_address_needs_no_relocations(tmp_path: Path) -> None:
    program = build(tmp_path / "program", MAIN, "-no-pie", "-fno-pie")
    assert scan_object(str(program), disassemble=False).type == "executable"
    assert _relocation_types(program) == set()
    names = _nm(program)
    assert {(d.symbol, d.rva) for d in _tables(program)} >= {(n, names[n]) for n in ("first", "second", "_fini")}


@pytest.mark.parametrize("flags", [["-static"], ["-static-pie"]])
def test_a_static_program_has_its_tables_all_the_same(tmp_path: Path, flags: list[str]) -> None:
    program = build(tmp_path / "program", MAIN, *flags)
    names = _nm(program)
    found = {(d.kind, d.symbol, d.rva) for d in _tables(program)}
    assert found >= {("fini_array", name, names[name]) for name in ("first", "second")}
    assert ("fini", "_fini", names["_fini"]) in found


def test_a_library_without_section_headers_has_the_same_tables(tmp_path: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY)
    bare = stripped_of_sections(library, tmp_path / "bare.so")
    assert [(d.kind, d.rva, d.index) for d in _tables(bare)] == [(d.kind, d.rva, d.index) for d in _tables(library)]


def test_a_library_without_destructors_has_none(tmp_path: Path) -> None:
    library = build(tmp_path / "libnone.so", "int one(void) { return 1; }", "-nostdlib")
    assert _tables(library) == []


def test_dt_fini_may_be_named_at_link_time(tmp_path: Path) -> None:
    library = build(tmp_path / "libfini.so", "void done(void) {}", "-nostdlib", "-Wl,-fini,done")
    assert [(d.kind, d.symbol, d.rva) for d in _tables(library)] == [("fini", "done", _nm(library)["done"])]


def _with_dynamic(path: Path, tag: int, value: int) -> Path:
    """Change a dynamic entry in place."""
    segment = ElfImage(path).segment(PT_DYNAMIC)
    assert segment is not None
    data = bytearray(path.read_bytes())
    for at in range(segment.offset, segment.offset + segment.filesz, 16):
        if struct.unpack_from("<Q", data, at)[0] == tag:
            struct.pack_into("<Q", data, at + 8, value)
            path.write_bytes(data)
            return path
    raise AssertionError(f"no dynamic entry {tag}")


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (DT_FINI, 0x10, "DT_FINI is 0x10, expected an address in the object's code"),
        (DT_FINI, 1 << 46, "DT_FINI is 0x400000000000, expected an address in the object's code"),
        (DT_FINI_ARRAY, 1 << 46, "lie in no PT_LOAD segment"),
        (DT_FINI_ARRAYSZ, 1 << 40, "lie in no PT_LOAD segment"),
        (DT_FINI_ARRAYSZ, (1 << 64) - 8, "lie in no PT_LOAD segment"),
        (DT_FINI_ARRAY, 0, r"\.fini_array\[\d\] is 0x[0-9a-f]+ and has no relocation, expected one"),
    ],
)
def test_a_table_that_leads_outside_the_code_is_refused(tmp_path: Path, tag: int, value: int, message: str) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY)
    if tag == DT_FINI_ARRAY and value == 0:
        value = ElfImage(library).loads[0].vaddr + 64
    with pytest.raises(Ia2exitError, match=message) as error:
        fini_destructors(ElfImage(_with_dynamic(library, tag, value)))
    assert str(error.value).startswith(f"{library}: ")

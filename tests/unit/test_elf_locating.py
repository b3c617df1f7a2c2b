"""What lies at an address inside an object: as nm and readelf have it, stripped or not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from elf_building import build, command, stripped_of_sections

from ia2exit.elf import debugfiles
from ia2exit.elf.image import ElfImage
from ia2exit.elf.locating import Found, locate

SOURCE = """
int counter = 3;
static char room[100];
const char text[] = "text";
__thread int per_thread = 1;
__thread int per_thread_zero;
char *lend(void) { per_thread++; per_thread_zero++; return room; }
__asm__(".text\\n.globl bare\\nbare:\\n nop\\n ret\\n");
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("locating") / "libroom.so", SOURCE, "-g", "-Wl,--build-id=sha1")


@pytest.fixture(scope="module")
def rvas(library: Path) -> dict[str, int]:
    printed = command("nm", library)
    return {name: int(rva, 16) for rva, name in re.findall(r"^([0-9a-f]+) \w (\S+)", printed, re.MULTILINE)}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of /usr/lib/debug."""
    folder = tmp_path / "debug"
    folder.mkdir()
    monkeypatch.setattr(debugfiles, "DEBUG_ROOT", folder)
    return folder


def test_variables_have_name_offset_and_section(library: Path, rvas: dict[str, int]) -> None:
    wanted = {
        rvas["counter"]: Found("counter", 0, ".data"),
        rvas["counter"] + 3: Found("counter", 3, ".data"),
        rvas["room"] + 99: Found("room", 99, ".bss"),
        rvas["text"] + 1: Found("text", 1, ".rodata"),
    }
    assert locate(ElfImage(library), wanted, "data") == wanted


def test_code_has_name_offset_and_section(library: Path, rvas: dict[str, int]) -> None:
    wanted = {rvas["lend"]: Found("lend", 0, ".text"), rvas["lend"] + 5: Found("lend", 5, ".text")}
    assert locate(ElfImage(library), wanted, "code") == wanted


def test_a_label_of_assembler_code_names_its_place_only(library: Path, rvas: dict[str, int]) -> None:
    at = rvas["bare"]
    found = locate(ElfImage(library), [at, at + 1], "code")
    assert found == {at: Found("bare", 0, ".text"), at + 1: Found(None, None, ".text")}


@pytest.mark.parametrize("symbol", ["_edata", "__bss_start"])
def test_what_the_linker_marks_is_no_variable(tmp_path: Path, symbol: str) -> None:
    program = build(tmp_path / "marks", "int main(void) { return 0; }")
    (rva,) = re.findall(rf"^([0-9a-f]+) \w {symbol}$", command("nm", program), re.MULTILINE)
    assert locate(ElfImage(program), [int(rva, 16)], "data")[int(rva, 16)].symbol != symbol


def test_thread_local_variables_are_at_no_address_of_the_object(library: Path, rvas: dict[str, int]) -> None:
    found = locate(ElfImage(library), [rvas["per_thread"], rvas["per_thread_zero"]], "data")
    assert {place.symbol for place in found.values()} == {None}


def test_an_address_outside_has_nothing(library: Path) -> None:
    assert locate(ElfImage(library), [0x7FFFFFFF], "data") == {0x7FFFFFFF: Found(None, None, None)}


def test_a_stripped_object_is_named_by_its_debug_file(
    library: Path, rvas: dict[str, int], tmp_path: Path, root: Path
) -> None:
    stripped = tmp_path / "libroom.so"
    command("strip", "-o", stripped, library)
    hidden, exported = rvas["room"] + 8, rvas["counter"] + 1
    found = locate(ElfImage(stripped), [hidden, exported], "data")
    assert found == {hidden: Found(None, None, ".bss"), exported: Found("counter", 1, ".data")}
    identity = ElfImage(library).build_id
    assert identity is not None
    debug = root / ".build-id" / identity[:2] / f"{identity[2:]}.debug"
    debug.parent.mkdir(parents=True)
    command("objcopy", "--only-keep-debug", library, debug)
    assert locate(ElfImage(stripped), [hidden], "data") == {hidden: Found("room", 8, ".bss")}


def test_without_section_headers_there_are_exported_names(library: Path, rvas: dict[str, int], tmp_path: Path) -> None:
    bare = ElfImage(stripped_of_sections(library, tmp_path / "libroom.so"))
    assert locate(bare, [rvas["counter"]], "data") == {rvas["counter"]: Found("counter", 0, None)}


def test_a_copied_variable_has_its_name_without_the_version(tmp_path: Path) -> None:
    source = '#include <stdio.h>\nint main(void) { return fprintf(stdout, "") + (stdout == NULL); }'
    program = build(tmp_path / "copies", source, "-no-pie", "-fno-pie")
    (rva,) = re.findall(r"^([0-9a-f]+) B stdout@", command("nm", program), re.MULTILINE)
    at = int(rva, 16)
    assert locate(ElfImage(program), [at + 4], "data") == {at + 4: Found("stdout", 4, ".bss")}

"""Names for addresses: as nm has them, and from debug files where the object itself was stripped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from elf_building import LIBRARY, build, command

from ia2exit.elf import debugfiles
from ia2exit.elf.demangle import demangle
from ia2exit.elf.image import ElfImage
from ia2exit.elf.naming import Naming

MAIN = LIBRARY + "int main(void) { return start(); }"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("naming") / "libsmall.so", LIBRARY, "-g", "-Wl,--build-id=sha1")


def _nm(path: Path, *flags: str) -> dict[str, int]:
    """Functions and where they start."""
    printed = command("nm", *flags, path)
    return {name: int(rva, 16) for rva, name in re.findall(r"^([0-9a-f]+) [tTwW] ([^@\s]+)", printed, re.MULTILINE)}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of /usr/lib/debug."""
    folder = tmp_path / "debug"
    folder.mkdir()
    monkeypatch.setattr(debugfiles, "DEBUG_ROOT", folder)
    return folder


def _stripped(library: Path, tmp_path: Path) -> Path:
    target = tmp_path / "libsmall.so"
    command("strip", "-o", target, library)
    return target


def test_functions_have_the_names_that_nm_prints(library: Path) -> None:
    expected = _nm(library)
    names = Naming(ElfImage(library)).functions(expected.values())
    for name in ("first", "second", "handler", "twice", "start", "atexit"):
        assert names[expected[name]] == (name, "symtab")


def test_a_call_site_is_named_after_the_function_around_it(library: Path) -> None:
    at = _nm(library)["start"]
    assert Naming(ElfImage(library)).holding([at, at + 3, 0]) == {at: "start", at + 3: "start"}


def test_a_stripped_object_has_its_exported_names_only(library: Path, tmp_path: Path, root: Path) -> None:
    rvas = _nm(library)
    names = Naming(ElfImage(_stripped(library, tmp_path))).functions([rvas["twice"], rvas["first"]])
    assert names == {rvas["twice"]: ("twice", "dynsym")}


def test_a_debug_file_is_found_by_build_id(library: Path, tmp_path: Path, root: Path) -> None:
    stripped = _stripped(library, tmp_path)
    identity = ElfImage(library).build_id
    assert identity is not None
    place = root / ".build-id" / identity[:2] / f"{identity[2:]}.debug"
    place.parent.mkdir(parents=True)
    command("objcopy", "--only-keep-debug", library, place)
    rva = _nm(library)["first"]
    assert Naming(ElfImage(stripped)).functions([rva]) == {rva: ("first", "debug-file")}


def test_a_debug_file_of_another_build_is_not_believed(library: Path, tmp_path: Path, root: Path) -> None:
    other = build(tmp_path / "libother.so", LIBRARY + "int more;", "-g", "-Wl,--build-id=sha1")
    identity = ElfImage(library).build_id
    assert identity is not None
    place = root / ".build-id" / identity[:2] / f"{identity[2:]}.debug"
    place.parent.mkdir(parents=True)
    command("objcopy", "--only-keep-debug", other, place)
    assert Naming(ElfImage(_stripped(library, tmp_path))).functions([_nm(library)["first"]]) == {}


@pytest.mark.parametrize("damage", [False, True])
def test_a_debug_file_is_found_by_link_and_checksum(library: Path, tmp_path: Path, root: Path, damage: bool) -> None:
    stripped = _stripped(library, tmp_path)
    debug = tmp_path / "libsmall.debug"
    command("objcopy", "--only-keep-debug", library, debug)
    command("objcopy", f"--add-gnu-debuglink={debug}", stripped)
    (tmp_path / ".debug").mkdir()
    content = debug.read_bytes()
    (tmp_path / ".debug" / debug.name).write_bytes(content + b"x" if damage else content)
    debug.unlink()
    rva = _nm(library)["first"]
    assert (rva in Naming(ElfImage(stripped)).functions([rva])) is not damage


@pytest.mark.parametrize("damage", [False, True])
def test_mini_debuginfo_inside_the_object_is_read(library: Path, tmp_path: Path, root: Path, damage: bool) -> None:
    stripped, mini = _stripped(library, tmp_path), tmp_path / "mini"
    command("objcopy", "-S", "--keep-symbol=first", library, mini)
    command("xz", mini)
    packed = mini.with_suffix(".xz")
    if damage:
        packed.write_bytes(packed.read_bytes()[:-40])
    command("objcopy", f"--add-section=.gnu_debugdata={packed}", stripped)
    rva = _nm(library)["first"]
    found = Naming(ElfImage(stripped)).functions([rva])
    assert found == ({} if damage else {rva: ("first", "debug-file")})


@pytest.mark.parametrize("flags", [["-g"], ["-g", "-gz=zlib"], ["-g", "-gdwarf-4"]])
def test_dwarf_names_functions_where_there_is_no_symbol_table(tmp_path: Path, root: Path, flags: list[str]) -> None:
    whole = build(tmp_path / "program", MAIN, *flags)
    rvas = _nm(whole)
    content = bytearray(whole.read_bytes())
    image = ElfImage(whole)
    at = next(i for i, section in enumerate(image.sections) if section.name == ".symtab")
    start = int.from_bytes(content[40:48], "little") + 64 * at + 4
    content[start : start + 4] = (1).to_bytes(4, "little")  # from SHT_SYMTAB to SHT_PROGBITS
    bare = tmp_path / "bare"
    bare.write_bytes(content)
    found = Naming(ElfImage(bare)).functions([rvas["handler"], rvas["main"]])
    assert found == {rvas["handler"]: ("handler", "dwarf"), rvas["main"]: ("main", "dwarf")}


def test_the_complete_destructor_is_preferred_among_symbols_of_one_address(tmp_path: Path) -> None:
    source = "struct T { ~T(); int *p; }; T::~T() { delete p; }"
    library = build(tmp_path / "libclass.so", source, language="cc")
    rva = _nm(library)["_ZN1TD1Ev"]
    assert rva == _nm(library)["_ZN1TD2Ev"]
    assert Naming(ElfImage(library)).functions([rva])[rva].symbol == "_ZN1TD1Ev"


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("_ZNSt8ios_base4InitD1Ev", "std::ios_base::Init::~Init()"),
        ("_ZNSt8ios_base4InitD1Ev@GLIBCXX_3.4", "std::ios_base::Init::~Init()"),
        ("_ZZ4mainENKUlvE_clEv", "main::'lambda'()::operator()() const"),
        ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
        ("main", None),
        ("_Z", None),
        ("_ZNSt8ios_base4InitD1E" + "x" * 5000, None),
        ("", None),
    ],
)
def test_demangling(symbol: str, name: str | None) -> None:
    assert demangle(symbol) == name

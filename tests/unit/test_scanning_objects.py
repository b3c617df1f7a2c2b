"""What ``scan`` says of one object: whether it can be covered, its names, and where imported functions live."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from elf_building import LIBRARY, build, command

import ia2exit
from ia2exit.elf import debugfiles
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError
from ia2exit.model import Destructor, ScannedObject
from ia2exit.scanning.one import scan_object

MAIN = LIBRARY + "int main(void) { return start(); }"
MUSL = "/lib/ld-musl-x86_64.so.1"


def _scan(path: Path) -> ScannedObject:
    return scan_object(str(path), disassemble=False)


# Coverage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "kind"),
    [(["-pie", "-fPIE"], "pie"), (["-no-pie"], "executable"), (["-shared", "-fPIC"], "shared-object")],
)
def test_a_glibc_object_can_be_covered(tmp_path: Path, flags: list[str], kind: str) -> None:
    scanned = _scan(build(tmp_path / "object", MAIN, *flags))
    assert (scanned.type, scanned.coverable, scanned.why_not) == (kind, True, None)


@pytest.mark.parametrize(
    ("flags", "kind", "reason"),
    [
        (["-static"], "static", "static program"),
        (["-static-pie"], "static-pie", "static PIE"),
        ([f"-Wl,--dynamic-linker={MUSL}"], "pie", f"its dynamic linker {MUSL} is musl's"),
        (["-Wl,--dynamic-linker=/no/such/ld.so"], "pie", "its dynamic linker /no/such/ld.so cannot be read (No such"),
        (["-Wl,--dynamic-linker=/bin/sh"], "pie", "its dynamic linker /bin/sh is not glibc's"),
    ],
)
def test_a_program_that_no_glibc_loads_cannot_be_covered(
    tmp_path: Path, flags: list[str], kind: str, reason: str
) -> None:
    program = build(tmp_path / "program", MAIN, *flags)
    (scanned,) = ia2exit.scan(program, disassemble=False).objects
    assert (scanned.type, scanned.coverable) == (kind, False)
    assert scanned.why_not is not None
    assert scanned.why_not.startswith(reason)
    assert {"first", "second"} <= {d.symbol for d in scanned.destructors}


@pytest.mark.parametrize(("mode", "reason"), [(0o4755, "setuid"), (0o2755, "setgid"), (0o2745, None), (0o755, None)])
def test_a_program_that_runs_with_more_rights_cannot_be_covered(tmp_path: Path, mode: int, reason: str | None) -> None:
    program = build(tmp_path / "program", MAIN)
    program.chmod(mode)
    assert program.stat().st_mode & 0o7777 == mode
    scanned = _scan(program)
    assert scanned.coverable is (reason is None)
    assert (scanned.why_not or "").startswith(reason or "")
    assert ia2exit.scan(program, disassemble=False).objects[0].why_not == scanned.why_not


def test_a_setuid_library_can_be_covered(tmp_path: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY)
    library.chmod(0o4755)
    assert _scan(library).coverable


def test_a_library_for_musl_cannot_be_covered(tmp_path: Path) -> None:
    build(tmp_path / "libother.so", "int other(void) { return 1; }", "-Wl,-soname,libc.musl-x86_64.so.1")
    library = build(tmp_path / "libuser.so", LIBRARY, "-Wl,--no-as-needed", tmp_path / "libother.so")
    (scanned,) = ia2exit.scan(library, dependencies=False, disassemble=False).objects
    assert (scanned.coverable, scanned.why_not) == (False, "linked against musl: only glibc programs can be covered")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({4: 1, 18: 3}, "32-bit ELF for i386"),
        ({4: 1}, "32-bit ELF for x86-64"),
        ({18: 183}, "64-bit ELF for AArch64"),
        ({5: 2, 18: 0, 19: 22}, "64-bit ELF for s390"),
    ],
)
def test_an_object_for_another_machine_is_refused_by_its_name(
    tmp_path: Path, changes: dict[int, int], what: str
) -> None:
    data = bytearray(build(tmp_path / "libsmall.so", LIBRARY).read_bytes())
    for at, value in changes.items():
        data[at] = value
    (tmp_path / "other.so").write_bytes(data)
    with pytest.raises(Ia2exitError) as error:
        ia2exit.scan(tmp_path / "other.so")
    assert str(error.value) == f"{tmp_path}/other.so: {what}, expected 64-bit x86-64; leave it out"


# Facts ---------------------------------------------------------------------------------------------------------


def test_build_id_soname_and_dependencies_are_what_readelf_prints(tmp_path: Path) -> None:
    flags = ("-Wl,-soname,libsmall.so.1", "-Wl,--build-id=sha1", "-Wl,--no-as-needed", "-lm", "-lz")
    scanned = _scan(library := build(tmp_path / "libsmall.so", LIBRARY, *flags))
    printed = command("readelf", "-dnW", library)
    assert scanned.build_id == re.findall(r"Build ID: (\w+)", printed)[0]
    assert scanned.needed == re.findall(r"\(NEEDED\).*\[(.*)\]", printed)
    assert len(scanned.needed) == 3
    assert scanned.soname == "libsmall.so.1"
    assert scanned.interpreter is None


def test_a_file_without_build_id_soname_and_dependencies_says_so(tmp_path: Path) -> None:
    scanned = _scan(build(tmp_path / "libnone.so", "int one;", "-nostdlib", "-Wl,--build-id=none"))
    assert (scanned.build_id, scanned.soname, scanned.needed) == (None, None, [])


@pytest.mark.parametrize(
    ("source", "defines"),
    [
        ("void *malloc(unsigned long size) { return (void *)size; }", True),
        ("static void *malloc(unsigned long s) { return 0; } void *f(void) { return malloc(1); }", False),
        ("#include <stdlib.h>\nvoid *f(void) { return malloc(1); }", False),
        ("int my_malloc(void) { return 1; }", False),
    ],
)
def test_an_allocator_is_known_by_its_exported_malloc(tmp_path: Path, source: str, defines: bool) -> None:
    library = build(tmp_path / "libmine.so", source, "-w", "-fno-builtin")
    assert _scan(library).defines_malloc is defines


def test_of_a_program_and_its_libraries_only_libc_and_its_loader_may_define_malloc(tmp_path: Path) -> None:
    objects = ia2exit.scan(build(tmp_path / "program", MAIN, "-lm"), disassemble=False).objects
    assert {o.soname for o in objects if o.defines_malloc} - {"ld-linux-x86-64.so.2"} == {"libc.so.6"}


# Names ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def debug_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of /usr/lib/debug."""
    folder = tmp_path / "debug"
    folder.mkdir()
    monkeypatch.setattr(debugfiles, "DEBUG_ROOT", folder)
    return folder


def _sources(path: Path) -> dict[str | None, str | None]:
    """Symbol -> where it came from, of the entries of ``.fini_array``."""
    return {d.symbol: d.symbol_source for d in _scan(path).destructors if d.kind == "fini_array"}


def _stripped(path: Path) -> Path:
    target = path.with_name("stripped.so")
    command("strip", "-o", target, path)
    return target


def _rows(path: Path, **changes: object) -> list[tuple[object, ...]]:
    return [(d.kind, d.rva, d.index, changes.get("symbol", d.symbol)) for d in _scan(path).destructors]


def test_names_come_from_the_symbol_table(tmp_path: Path, debug_root: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY)
    assert _sources(library)["first"] == "symtab"


def test_a_stripped_library_has_the_same_destructors_without_names(tmp_path: Path, debug_root: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY)
    stripped = _stripped(library)
    assert _rows(stripped) == _rows(library, symbol=None)


def test_names_come_from_exported_symbols_in_a_stripped_library(tmp_path: Path, debug_root: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY.replace("static void first", "void first"), "-Wl,-Bsymbolic")
    found = {d.symbol: d.symbol_source for d in _scan(_stripped(library)).destructors}
    assert found["first"] == "dynsym"
    assert "second" not in found


def test_names_come_from_a_debug_file_by_build_id(tmp_path: Path, debug_root: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY, "-g", "-Wl,--build-id=sha1")
    identity = ElfImage(library).build_id
    assert identity is not None
    place = debug_root / ".build-id" / identity[:2] / f"{identity[2:]}.debug"
    place.parent.mkdir(parents=True)
    command("objcopy", "--only-keep-debug", library, place)
    stripped = _stripped(library)
    assert _sources(stripped)["first"] == "debug-file"
    place.unlink()
    assert "first" not in _sources(stripped)


def test_names_come_from_a_debug_file_by_link(tmp_path: Path, debug_root: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY, "-g", "-Wl,--build-id=none")
    debug = tmp_path / "small.debug"
    command("objcopy", "--only-keep-debug", library, debug)
    stripped = _stripped(library)
    command("objcopy", f"--add-gnu-debuglink={debug}", stripped)
    assert _sources(stripped)["first"] == "debug-file"


def test_names_come_from_mini_debuginfo(tmp_path: Path, debug_root: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY)
    mini = tmp_path / "mini"
    command("objcopy", "--only-keep-debug", library, mini)
    command("xz", mini)
    stripped = _stripped(library)
    command("objcopy", f"--add-section=.gnu_debugdata={mini}.xz", stripped)
    assert _sources(stripped)["first"] == "debug-file"


def test_names_come_from_dwarf_where_there_is_no_symbol_table(tmp_path: Path, debug_root: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY, "-g")
    bare = tmp_path / "bare.so"
    command("objcopy", "--strip-all", "--keep-section=.debug_*", library, bare)
    assert ElfImage(bare).symtab is None
    assert _sources(bare)["first"] == "dwarf"


CPP = """
#include <cstdio>
namespace shop { struct Till { ~Till() { std::puts("closed"); } }; }
static shop::Till till;
namespace shop { __attribute__((destructor)) void sweep(int) {} }
"""


def test_names_of_cpp_functions_are_demangled_and_the_symbol_kept(tmp_path: Path) -> None:
    library = build(tmp_path / "libshop.so", CPP, language="cc")
    found = {d.symbol: d for d in scan_object(str(library), disassemble=True).destructors}
    assert found["_ZN4shop5sweepEi"].name == "shop::sweep(int)"
    till = found["_ZN4shop4TillD2Ev"] if "_ZN4shop4TillD2Ev" in found else found["_ZN4shop4TillD1Ev"]
    assert (till.kind, till.name) == ("cxa_atexit", "shop::Till::~Till()")


# Imported functions --------------------------------------------------------------------------------------------

STRING = '#include <string>\nstd::string word("a word that is too long for the small buffer");\n'


def _imported(objects: list[ScannedObject], path: Path) -> list[Destructor]:
    (scanned,) = [o for o in objects if o.path == str(path)]
    return [d for d in scanned.destructors if d.kind == "cxa_atexit"]


def _value_in(library: Path, symbol: str) -> int:
    printed = command("nm", "-D", library)
    return int(re.findall(rf"^([0-9a-f]+) \w {re.escape(symbol)}@", printed, re.MULTILINE)[0], 16)


@pytest.mark.parametrize("folder", [False, True])
def test_a_registered_function_of_another_object_is_resolved_to_that_object(tmp_path: Path, folder: bool) -> None:
    library = build(tmp_path / "libwords.so", STRING, language="cc")
    objects = ia2exit.scan(tmp_path if folder else library).objects
    (destructor,) = _imported(objects, library)
    libstdcxx = Path(command("g++", "-print-file-name=libstdc++.so.6").strip())
    assert destructor.object == "libstdc++.so.6"
    assert destructor.symbol is not None
    assert destructor.name is not None
    assert destructor.name.endswith("::~basic_string()")
    assert destructor.rva == _value_in(libstdcxx, destructor.symbol)


def test_without_dependencies_an_imported_function_stays_a_name(tmp_path: Path) -> None:
    library = build(tmp_path / "libwords.so", STRING, language="cc")
    (destructor,) = _imported(ia2exit.scan(library, dependencies=False).objects, library)
    assert (destructor.rva, destructor.object, destructor.symbol_source) == (None, None, "import")


def test_an_exported_function_is_bound_to_the_first_object_that_defines_it(tmp_path: Path) -> None:
    """The program's own definition comes first in ld.so's look-up order, also for the library's reference."""
    entry = '__attribute__((section(".fini_array"), used)) static void (*const entry)(void) = last;'
    library = build(tmp_path / "liblast.so", f"void last(void) {{}} {entry} int value(void) {{ return 1; }}")
    source = "int value(void); void last(void) {} int main(void) { return value(); }"
    program = build(tmp_path / "program", source, library, f"-Wl,-rpath,{tmp_path}", "-rdynamic")
    objects = {o.path: o for o in ia2exit.scan(program, disassemble=False).objects}
    (bound,) = [d for d in objects[str(library)].destructors if d.symbol == "last"]
    at = int(re.findall(r"^([0-9a-f]+) T last$", command("nm", program), re.MULTILINE)[0], 16)
    assert (bound.object, bound.rva) == ("program", at)
    alone = ia2exit.scan(library, disassemble=False).objects[0]
    (own,) = [d for d in alone.destructors if d.symbol == "last"]
    own_at = int(re.findall(r"^([0-9a-f]+) T last$", command("nm", library), re.MULTILINE)[0], 16)
    assert (own.object, own.rva) == (None, own_at)


def test_a_damaged_name_is_shown_with_escapes(tmp_path: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY, "-Wl,-soname,libodd.so")
    data = library.read_bytes().replace(b"libodd.so\0", b"lib\xff\x1bd.so\0")
    library.write_bytes(data)
    scanned = _scan(library)
    assert scanned.soname == "lib\\xff\x1bd.so"

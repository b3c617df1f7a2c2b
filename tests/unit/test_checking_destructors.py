"""``check``, group ldd: destructors and claims of notes, beside the entry of their object. Each thing, broken once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from checked_programs import MAIN, ONE, POLICY, TWO, changed, entry, found, library, linked, mapped, program_of
from elf_building import build

import ia2exit
from ia2exit.checking import CheckResult, Finding
from ia2exit.model import Address, ExitMap, MapDestructor, MapObject

replace = msgspec.structs.replace


def check(program: Path, exit_map: ExitMap) -> CheckResult:
    return ia2exit.check(program, exit_map, only="ldd")


def only(result: CheckResult, name: str) -> Finding:
    """The one finding."""
    (one,) = result.findings
    assert one.name == name
    return one


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return program_of(tmp_path)


# Notes ---------------------------------------------------------------------------------------------------------

CLAIMS = '#include "ia2_exit_note.h"\nIA2_EXIT_COMPARTMENT(7);\n'


def test_a_note_that_claims_another_compartment_is_an_error(tmp_path: Path) -> None:
    program = program_of(tmp_path, two=CLAIMS + TWO)
    one = only(check(program, mapped(program)), "note")
    assert one.severity == "error"
    assert one.object.endswith("libtwo.so")
    assert (one.expected, one.found) == ("compartment 3 (two)", "compartment 7")
    agreeing = program_of(tmp_path, two=CLAIMS.replace("7", "3") + TWO)
    assert check(agreeing, mapped(agreeing)).findings == []


def test_a_claim_that_the_map_has_and_the_object_has_not_is_an_error(tmp_path: Path) -> None:
    """Without a build ID nothing else tells that the object was built anew."""
    unlisted = POLICY.split("[compartments.two]")[0]
    two = library(tmp_path, "libtwo.so", CLAIMS + TWO, "-Wl,--build-id=none")
    program = linked(tmp_path, MAIN, library(tmp_path, "libone.so", ONE), two)
    exit_map = mapped(program, policy=unlisted)
    assert [one[0] for one in found(check(program, exit_map))] == ["no-build-id"]
    library(tmp_path, "libtwo.so", TWO, "-Wl,--build-id=none")
    (one,) = (one for one in check(program, exit_map).findings if one.name == "note")
    assert one.found == "no claim"


def test_a_note_that_gives_a_destructor_to_another_is_an_error(tmp_path: Path) -> None:
    source = '#include "ia2_exit.h"\nstatic void f(void) {}\nIA2_EXIT_DESTRUCTOR(f, IA2_EXIT_ATEXIT, 2);\n'
    program = program_of(tmp_path, two=source + TWO)
    one = only(check(program, mapped(program)), "note")
    assert one.what.startswith("the owner of atexit 0x")
    assert (one.expected, one.found) == (
        "compartment 2 (one), which its note claims",
        "compartment 3 (two) in the map",
    )


# Destructors ---------------------------------------------------------------------------------------------------


def with_destructors(item: MapObject, destructors: list[MapDestructor]) -> MapObject:
    return replace(item, destructors=destructors)


@pytest.mark.parametrize("kind", ["fini_array", "fini", "atexit"])
def test_a_destructor_that_the_map_lacks_is_new(program: Path, kind: str) -> None:
    exit_map = changed(
        mapped(program),
        "libone.so",
        lambda item: with_destructors(item, [one for one in item.destructors if one.kind != kind]),
    )
    one = only(check(program, exit_map), "destructor-new")
    assert one.severity == "error"
    assert kind in one.what


def test_a_destructor_that_the_object_lacks_is_gone(program: Path) -> None:
    stale = MapDestructor(rva=Address(0x1000), kind="atexit", symbol="stale", compartment=2)
    exit_map = changed(mapped(program), "libone.so", lambda item: with_destructors(item, [stale, *item.destructors]))
    one = only(check(program, exit_map), "destructor-gone")
    assert (one.severity, one.what) == ("error", "atexit 0x1000 stale")


def test_only_its_destructors_tell_that_an_object_without_build_id_changed(tmp_path: Path) -> None:
    one = library(tmp_path, "libone.so", ONE, "-Wl,--build-id=none")
    program = linked(tmp_path, MAIN, one, library(tmp_path, "libtwo.so", TWO))
    exit_map = mapped(program)
    library(tmp_path, "libone.so", "void one(void) {}", "-Wl,--build-id=none")
    assert {name for name, _, _ in found(check(program, exit_map))} >= {"no-build-id", "destructor-gone"}


def test_a_destructor_with_an_owner_that_nobody_named_is_an_error(program: Path) -> None:
    def given_away(item: MapObject) -> MapObject:
        first, *rest = item.destructors
        return with_destructors(item, [replace(first, compartment=3), *rest])

    one = only(check(program, changed(mapped(program), "libone.so", given_away)), "destructor-owner")
    assert (one.expected, one.found) == ("compartment 2 (one), its object's", "compartment 3 (two) in the map")


LENT = "void ended(int status, void *argument) { (void)status; (void)argument; } void two(void) {}"
LENDING = "int on_exit(void (*)(int, void *), void *); void ended(int, void *); void lend(void) { on_exit(ended, 0); }"


def test_a_function_that_another_object_registers_by_on_exit_is_its_holders(tmp_path: Path) -> None:
    program = program_of(tmp_path, two=LENT, main=LENDING + MAIN)
    exit_map = mapped(program)
    assert "on_exit" in {one.kind for one in entry(exit_map, "libtwo.so").destructors}
    assert check(program, exit_map).findings == []
    without = changed(exit_map, "libtwo.so", lambda item: with_destructors(item, item.destructors[:-1]))
    dropped = entry(exit_map, "libtwo.so").destructors[-1]
    assert only(check(program, without), "destructor-new").what.startswith(f"{dropped.kind} {dropped.rva}")


def test_such_a_function_is_not_gone_while_its_registrar_is_not_looked_at(tmp_path: Path) -> None:
    program = program_of(tmp_path, two=LENT)
    plugin = library(tmp_path, "libplugin.so", LENDING, tmp_path / "libtwo.so", f"-Wl,-rpath,{tmp_path}")
    exit_map = mapped(program, plugin)
    assert "on_exit" in {one.kind for one in entry(exit_map, "libtwo.so").destructors}
    assert [name for name, _, _ in found(check(program, exit_map))] == ["not-loaded"]
    without = changed(exit_map, "libplugin.so", lambda _: None)
    assert [name for name, _, _ in found(check(program, without))] == ["destructor-gone"]


INLINE = """
struct Ends { ~Ends(); };
inline Ends::~Ends() { asm volatile(""); }
inline Ends ends;
extern "C" void NAME() { (void)&ends; }
"""


def test_a_library_by_itself_may_register_what_its_program_has_elsewhere(tmp_path: Path) -> None:
    """An inline variable's destructor is another object's in the program, and so in no entry of its own."""
    one, two = (
        build(tmp_path / f"lib{name}.so", INLINE.replace("NAME", name), f"-Wl,-soname,lib{name}.so", language="cc")
        for name in ("one", "two")
    )
    exit_map = mapped(linked(tmp_path, MAIN, one, two))
    assert check(tmp_path / "program", exit_map).findings == []
    assert check(two, exit_map).findings == []
    without = changed(exit_map, "libtwo.so", lambda item: with_destructors(item, []))
    assert only(check(two, without), "destructor-new").what.startswith("fini_array 0x")

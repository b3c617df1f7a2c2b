"""Which files a scan takes: a program's own objects, folders with anything in them, files that need each other."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from elf_building import LIBRARY, build, command, distribution_programs

import ia2exit
from ia2exit.elf.loader import DEFAULT_INTERPRETER
from ia2exit.errors import Ia2exitError
from ia2exit.model import ScanResult

MAIN = "int value(void); int main(void) { return value(); }"
VALUE = "int value(void) { return 1; }"


def _paths(result: ScanResult) -> list[str]:
    return [scanned.path for scanned in result.objects]


def _scan(*paths: Path, dependencies: bool | None = None) -> ScanResult:
    return ia2exit.scan(paths, disassemble=False, dependencies=dependencies)


# A program with all it needs -----------------------------------------------------------------------------------


def _ld_so_lists(program: Path) -> set[str]:
    """Files that ld.so would load; it stops before the program's first instruction."""
    printed = command(program, env={**os.environ, "LD_TRACE_LOADED_OBJECTS": "1"})
    return {
        os.path.realpath(path) for path in re.findall(r"(?:^\t|=> )(/[^=\n]*) \(0x[0-9a-f]+\)$", printed, re.MULTILINE)
    }


def test_forty_programs_have_the_objects_that_ld_so_lists() -> None:
    programs = distribution_programs(40, seed=11)
    assert len(programs) >= 30
    for program in programs:
        result = _scan(program)
        assert result.objects[0].path == str(program)
        assert {os.path.realpath(path) for path in _paths(result)[1:]} == _ld_so_lists(program), program


def test_what_two_programs_share_is_scanned_once(tmp_path: Path) -> None:
    one = build(tmp_path / "one", LIBRARY + "int main(void) { return 0; }")
    two = build(tmp_path / "two", LIBRARY + "int main(void) { return 1; }")
    paths = _paths(_scan(one, two))
    assert paths[0] == str(one)
    assert paths[-1] == str(two)
    assert len({os.path.realpath(path) for path in paths}) == len(paths)


def test_a_file_named_twice_or_through_a_link_is_scanned_once(tmp_path: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY)
    (tmp_path / "link.so").symlink_to(library)
    assert _paths(_scan(library, tmp_path / "link.so", tmp_path, dependencies=False)) == [str(library)]


def test_without_dependencies_only_the_file_is_read(tmp_path: Path) -> None:
    program = build(tmp_path / "program", MAIN, build(tmp_path / "libvalue.so", VALUE))
    assert _paths(_scan(program, dependencies=False)) == [str(program)]


# Dependencies that are missing, or were named ------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """``libuser.so`` needs ``libvalue.so.1``, which lies where ld.so does not look."""
    (tmp_path / "value").mkdir()
    value = build(tmp_path / "value" / "libvalue.so", VALUE, "-Wl,-soname,libvalue.so.1")
    user = build(tmp_path / "libuser.so", "int value(void); int use(void) { return value(); }", value)
    return user, value


def test_a_missing_dependency_names_who_needs_it(pair: tuple[Path, Path]) -> None:
    user, _ = pair
    with pytest.raises(Ia2exitError) as error:
        _scan(user)
    message = str(error.value)
    assert message.startswith(f"{user}: needs libvalue.so.1, but ld.so's search finds no such file; ")
    assert "--no-dependencies" in message
    assert "\n" not in message


def test_a_missing_dependency_of_a_dependency_names_both(pair: tuple[Path, Path], tmp_path: Path) -> None:
    flags = (f"-Wl,-rpath,{tmp_path}", "-Wl,--allow-shlib-undefined")
    program = build(tmp_path / "program", "int use(void); int main(void) { return use(); }", pair[0], *flags)
    with pytest.raises(Ia2exitError) as error:
        _scan(program)
    assert str(error.value).startswith(f"{pair[0]}: needs libvalue.so.1, which {program} needs in turn, but")


@pytest.mark.parametrize("order", [1, -1])
def test_files_that_are_named_satisfy_each_other(pair: tuple[Path, Path], order: int) -> None:
    paths = _paths(_scan(*pair[::order]))
    assert set(map(str, pair)) <= set(paths)
    assert len(set(paths)) == len(paths)


def test_a_named_file_satisfies_a_dependency_by_its_file_name(tmp_path: Path) -> None:
    (tmp_path / "value").mkdir()
    value = build(tmp_path / "value" / "libvalue.so", VALUE)
    user = build(
        tmp_path / "libuser.so", "int value(void); int use(void) { return value(); }", "-L", value.parent, "-lvalue"
    )
    assert set(map(str, (user, value))) <= set(_paths(_scan(user, value)))


def test_what_ld_so_finds_comes_before_what_was_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    found = build(tmp_path / "libvalue.so.1", VALUE, "-Wl,-soname,libvalue.so.1")
    flags = (f"-Wl,-rpath,{tmp_path}", "-Wl,--allow-shlib-undefined")
    program = build(tmp_path / "program", MAIN, found, *flags)
    paths = _paths(_scan(program, pair[1]))
    assert paths.index(str(found)) < paths.index(DEFAULT_INTERPRETER) < paths.index(str(pair[1]))


def test_functions_are_bound_to_the_file_that_was_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    entry = 'extern int value(void); __attribute__((section(".fini_array"), used)) static void *entry = value;'
    user = build(tmp_path / "libentry.so", entry, pair[1])
    (bound,) = [d for d in _scan(user, pair[1]).objects[0].destructors if d.symbol == "value"]
    assert bound.object == "libvalue.so.1"
    assert bound.rva is not None


def test_a_bad_file_among_those_named_is_told_as_itself(pair: tuple[Path, Path], tmp_path: Path) -> None:
    bad = tmp_path / "libvalue.so.1"
    bad.write_bytes(b"no library")
    with pytest.raises(Ia2exitError, match=r"libvalue\.so\.1: not an ELF file") as error:
        _scan(bad, *pair)
    assert str(error.value).startswith(str(bad))


# Folders -------------------------------------------------------------------------------------------------------


@pytest.fixture
def junk(tmp_path: Path) -> Path:
    """A folder with two good libraries and much else."""
    folder = tmp_path / "junk"
    (folder / "below").mkdir(parents=True)
    good = build(folder / "below" / "libgood.so", LIBRARY)
    build(folder / "libalso.so", LIBRARY)
    command("gcc", "-c", "-o", folder / "small.o", folder / "libalso.so.c")
    command("ar", "rc", folder / "libsmall.a", folder / "small.o")
    content = good.read_bytes()
    (folder / "cut.so").write_bytes(content[:3000])
    (folder / "other.so").write_bytes(content[:4] + b"\x01" + content[5:])
    (folder / "four").write_bytes(content[:4])
    (folder / "empty").touch()
    (folder / "script").write_text("#!/bin/sh\nexit 1\n")
    (folder / "link.so").symlink_to(good)
    (folder / "below" / "loop").symlink_to("..")
    (folder / "self").symlink_to("self")
    (folder / "dangling").symlink_to("/no/such/file")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.mark.parametrize("dependencies", [None, True, False])
def test_a_folder_s_good_files_are_scanned_and_its_bad_ones_counted(junk: Path, dependencies: bool | None) -> None:
    result = ia2exit.scan(junk, disassemble=False, dependencies=dependencies)
    inside = [path for path in _paths(result) if path.startswith(str(junk))]
    assert inside == [f"{junk}/below/libgood.so", f"{junk}/libalso.so"]
    assert sorted(problem.path for problem in result.problems) == [
        f"{junk}/{name}" for name in ("cut.so", "four", "other.so")
    ]
    for problem in result.problems:
        assert problem.message.startswith(f"{problem.path}: ")
        assert "\n" not in problem.message
    assert (len(_paths(result)) > 2) is bool(dependencies)


def test_a_folder_s_file_whose_dependency_is_missing_is_scanned_all_the_same(pair: tuple[Path, Path]) -> None:
    user, _ = pair
    assert str(user) in _paths(_scan(user.parent))


def test_with_dependencies_a_missing_one_is_a_problem_of_the_file_that_needs_it(pair: tuple[Path, Path]) -> None:
    user, value = pair
    result = _scan(user.parent, dependencies=True)
    assert [problem.path for problem in result.problems] == [str(user)]
    assert "needs libvalue.so.1" in result.problems[0].message
    assert str(value) in _paths(result)


def test_a_folder_with_nothing_to_scan_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(Ia2exitError, match="no ELF program or shared object below it"):
        _scan(tmp_path)


def test_names_that_are_no_utf8_are_scanned_and_shown_with_escapes(tmp_path: Path) -> None:
    library = build(tmp_path / "libsmall.so", LIBRARY)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/lib\xff.so"))
    library.rename(odd)
    assert _paths(_scan(tmp_path)) == [f"{tmp_path}/lib\\xff.so"]
    assert _paths(_scan(odd))[0] == f"{tmp_path}/lib\\xff.so"


# Named files that cannot be used -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut.so", "a segment ends at byte 0x"),
        ("other.so", "32-bit ELF for x86-64, expected 64-bit x86-64"),
        ("four", "the ELF header is cut off after 4 bytes of 64; the file is truncated: copy it again"),
        ("empty", "not an ELF file (empty)"),
        ("script", "not an ELF file but a script for /bin/sh"),
        ("small.o", "ELF file of a relocatable object, expected a program or a shared object"),
        ("libsmall.a", "not an ELF file but an archive of relocatable objects"),
        ("fifo", "not a regular file"),
        ("self", "Too many levels of symbolic links"),
        ("dangling", "No such file or directory"),
        ("below/libgood.so/", "Not a directory"),
        ("a\0b", "embedded null byte"),
    ],
)
@pytest.mark.parametrize("dependencies", [None, False])
def test_a_named_file_that_cannot_be_used_is_one_line(
    junk: Path, name: str, message: str, dependencies: bool | None
) -> None:
    with pytest.raises(Ia2exitError) as error:
        ia2exit.scan(f"{junk}/{name}", dependencies=dependencies)
    assert str(error.value).startswith(f"{junk}/{name}: {message}")
    assert error.value.status == 2


def test_a_core_dump_is_called_one(junk: Path) -> None:
    content = (junk / "libalso.so").read_bytes()
    (junk / "core").write_bytes(content[:16] + b"\x04" + content[17:])
    with pytest.raises(Ia2exitError, match="ELF file of a core dump, expected a program or a shared object"):
        _scan(junk / "core")


def test_an_empty_name_is_shown_as_one() -> None:
    with pytest.raises(Ia2exitError, match=r"^'': No such file or directory"):
        ia2exit.scan("")

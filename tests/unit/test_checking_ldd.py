"""``check``, group ldd: what ld.so will load, its destructors and notes, against the map. Each thing, broken once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest
from checked_programs import MAIN, ONE, POLICY, TWO, changed, entry, found, library, linked, mapped, program_of
from elf_building import build
from runtime_running import RUNTIME

import ia2exit
from ia2exit.checking import CheckResult, Finding
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap import as_binary, write_binary
from ia2exit.model import ExitMap

replace = msgspec.structs.replace


def check(program: Path, exit_map: ExitMap | Path, *plugins: Path) -> CheckResult:
    return ia2exit.check(program, exit_map, plugins=plugins, only="ldd")


def only(result: CheckResult, name: str) -> Finding:
    """The one finding that is wrong."""
    (one,) = (one for one in result.findings if one.severity != "info")
    assert one.name == name
    return one


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return program_of(tmp_path)


def test_a_fresh_map_agrees_in_both_forms(program: Path, tmp_path: Path) -> None:
    exit_map = mapped(program)
    result = check(program, exit_map)
    assert result.findings == []
    assert (result.agrees, result.groups, result.objects) == (True, ["ldd"], 5)
    assert result.destructors > 0
    binary = tmp_path / "map"
    binary.write_bytes(write_binary(exit_map))
    assert check(program, binary).findings == []


# Objects -------------------------------------------------------------------------------------------------------


def test_an_object_that_the_map_lacks_is_missing(program: Path) -> None:
    one = only(check(program, changed(mapped(program), "libtwo.so", lambda _: None)), "missing")
    assert one.severity == "error"
    assert one.object == str(program.parent / "libtwo.so")
    assert one.what == f"it loads, needed by {program}"
    assert one.found == "none; the runtime would put it into compartment 0 (shared)"


def test_an_object_that_was_rebuilt_has_another_build_id(program: Path) -> None:
    exit_map = mapped(program)
    library(program.parent, "libtwo.so", TWO + "int changed(void) { return 1; }")
    one = only(check(program, exit_map), "build-id")
    assert one.severity == "error"
    assert one.what == "it changed on disk since the map was made"
    assert one.expected == f"build ID {entry(exit_map, 'libtwo.so').build_id}"
    assert one.found.startswith("build ID ")
    assert one.found != one.expected
    assert "ia2exit map" in str(one.remedy)


def test_an_object_that_lost_its_build_id_is_no_longer_known(program: Path) -> None:
    exit_map = mapped(program)
    library(program.parent, "libtwo.so", TWO, "-Wl,--build-id=none")
    assert ("build-id", "error", "libtwo.so") in found(check(program, exit_map))


def test_a_binary_map_tells_a_rebuilt_object_by_its_name(program: Path, tmp_path: Path) -> None:
    (tmp_path / "map").write_bytes(write_binary(mapped(program)))
    library(program.parent, "libtwo.so", TWO + "int changed(void) { return 1; }")
    assert only(check(program, tmp_path / "map"), "build-id").object.endswith("libtwo.so")


def test_another_file_of_that_soname_is_told_with_both_paths(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exit_map = mapped(program)
    other = program.parent / "other"
    other.mkdir()
    library(other, "libtwo.so", TWO + "int changed(void) { return 1; }")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(other))  # DT_RUNPATH comes after it
    one = only(check(program, exit_map), "other-path")
    assert one.severity == "error"
    assert one.expected.startswith(str(program.parent / "libtwo.so"))
    assert one.found.startswith(str(other / "libtwo.so"))
    assert "LD_LIBRARY_PATH" in str(one.remedy)


def test_a_copy_elsewhere_is_only_a_warning(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exit_map = mapped(program)
    other = program.parent / "other"
    other.mkdir()
    shutil.copy(program.parent / "libtwo.so", other)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(other))
    result = check(program, exit_map)
    assert only(result, "other-path").severity == "warning"
    assert result.agrees


def test_a_link_to_the_mapped_file_is_that_file(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exit_map = mapped(program)
    (program.parent / "other").mkdir()
    (program.parent / "other" / "libtwo.so").symlink_to(program.parent / "libtwo.so")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(program.parent / "other"))
    assert check(program, exit_map).findings == []


def test_an_object_without_build_id_is_known_by_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = library(tmp_path, "libtwo.so", TWO, "-Wl,--build-id=none")
    program = linked(tmp_path, MAIN, library(tmp_path, "libone.so", ONE), two)
    exit_map = mapped(program)
    result = check(program, exit_map)
    assert only(result, "no-build-id").severity == "warning"
    assert result.agrees
    (tmp_path / "other").mkdir()
    shutil.copy(two, tmp_path / "other")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "other"))
    assert found(check(program, exit_map)) == [
        ("no-build-id", "warning", "libtwo.so"),
        ("other-path", "error", "libtwo.so"),
    ]


def test_two_objects_with_one_build_id_cannot_be_told_apart(tmp_path: Path) -> None:
    ones = [
        library(tmp_path, name, source, "-Wl,--build-id=0x1234")
        for name, source in (("libone.so", "void one(void) {}"), ("libtwo.so", TWO))
    ]
    program = linked(tmp_path, MAIN, *ones)
    policy = POLICY.replace('objects = ["libone.so"]', 'objects = ["libone.so", "libtwo.so"]').split(
        "[compartments.two]"
    )
    exit_map = mapped(program, policy=policy[0])
    result = check(program, exit_map)
    assert ("one-build-id", "error", "libtwo.so") in found(result)
    (one,) = (one for one in result.findings if one.name == "one-build-id")
    assert f"in {tmp_path}/libone.so, too" in one.found


def test_a_copy_that_loads_beside_its_original_is_a_warning(tmp_path: Path) -> None:
    one = build(tmp_path / "libone.so", ONE)
    shutil.copy(one, tmp_path / "libcopy.so")
    program = linked(tmp_path, "int main(void) { return 0; }", one, tmp_path / "libcopy.so")
    policy = 'version = 1\nunlisted = "shared"\n'
    assert ("one-build-id", "warning") in {one[:2] for one in found(check(program, mapped(program, policy=policy)))}


# Entries of the map --------------------------------------------------------------------------------------------


def test_an_entry_that_nothing_loads_is_a_warning_until_it_is_named(program: Path) -> None:
    plugin = library(program.parent, "libplugin.so", "void plugged(void) {}")
    exit_map = mapped(program, plugin)
    result = check(program, exit_map)
    assert only(result, "not-loaded").object == str(plugin)
    assert result.agrees
    assert check(program, exit_map, plugin).findings == []


def test_a_named_plugin_must_be_in_the_map_like_any_other(program: Path) -> None:
    plugin = library(program.parent, "libplugin.so", "void plugged(void) {}")
    assert only(check(program, mapped(program), plugin), "missing").object == str(plugin)


def test_an_entry_whose_file_is_gone_or_rebuilt_is_an_error(program: Path) -> None:
    plugin = library(program.parent, "libplugin.so", "void plugged(void) {}")
    exit_map = mapped(program, plugin)
    library(program.parent, "libplugin.so", "void plugged(void) {} int changed;")
    one = only(check(program, exit_map), "gone")
    assert one.severity == "error"
    assert "its file has build ID" in one.found
    plugin.unlink()
    assert only(check(program, exit_map), "gone").found == "it cannot: No such file or directory"


def test_a_library_by_itself_need_not_load_the_rest_of_the_map(program: Path) -> None:
    result = check(program.parent / "libone.so", mapped(program))
    assert (result.findings, result.objects) == ([], 3)


# ld.so ---------------------------------------------------------------------------------------------------------


def test_a_dependency_that_ld_so_does_not_find_is_an_error(tmp_path: Path) -> None:
    """The file that was named stands in for it; ld.so does not know of that."""
    two = library(tmp_path, "libtwo.so", TWO)
    program = build(tmp_path / "program", "void two(void); int main(void) { two(); }", two)
    policy = POLICY.replace("libone.so", "libtwo.so").split("[compartments.two]")[0]
    one = only(check(program, mapped(program, two, policy=policy), two), "ld-so")
    assert (one.severity, one.expected) == ("error", "it loads")
    assert one.found.startswith("it does not: libtwo.so: cannot open shared object file")


def interpreted(folder: Path, text: str) -> Path:
    """A program with an ld.so of its own, which prints ``text`` and fails where that is empty."""
    body = f"return puts({text}) < 0;" if text else "return 127;"
    source = f'#include <stdio.h>\nconst char mark[] = "GLIBC_PRIVATE";\nint main(void) {{ {body} }}'
    ld_so = build(folder / "loader", source, "-static")
    return build(folder / "program", "int main(void) { return 0; }", f"-Wl,--dynamic-linker={ld_so}")


def test_what_ld_so_loads_besides_is_an_error(tmp_path: Path) -> None:
    extra = library(tmp_path, "libextra.so", "int extra;")
    text = f'"\\tlibextra.so => {extra} (0x1)\\n\\tlibc.so.6 => /nowhere/libc.so.6 (0x2)"'
    program = interpreted(tmp_path, text)
    findings = check(program, mapped(program, policy="version = 1\n")).findings
    said = {(one.expected, one.found) for one in findings if one.name == "ld-so"}
    assert (f"no {extra}", "ld.so loads it") in said
    assert ("no /nowhere/libc.so.6", "ld.so loads it") in said
    assert any(expected.endswith("libc.so.6 among what it loads") for expected, _ in said)


def test_an_ld_so_that_gives_no_list_is_a_warning(tmp_path: Path) -> None:
    program = interpreted(tmp_path, "")
    result = check(program, mapped(program, policy="version = 1\n"))
    one = only(result, "ld-so")
    assert (one.severity, one.found) == ("warning", "not to be had: exit status 127")


# The runtime ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "where"),
    [
        (["runtime", "one", "two"], None),
        (["one", "runtime", "two"], "DT_NEEDED number 2, after libone.so"),
        (["one", "two"], "not in it"),
    ],
)
def test_the_runtime_comes_first_where_it_is_linked(tmp_path: Path, order: list[str], where: str | None) -> None:
    needs_it: list[str | Path] = (
        ["-Wl,--no-as-needed", RUNTIME, f"-Wl,-rpath,{RUNTIME.parent}"] if "runtime" not in order else []
    )
    files: dict[str, str | Path] = {
        "runtime": RUNTIME,
        "one": library(tmp_path, "libone.so", ONE, *needs_it),
        "two": library(tmp_path, "libtwo.so", TWO),
    }
    program = linked(tmp_path, MAIN, *(files[name] for name in order), f"-Wl,-rpath,{RUNTIME.parent}")
    result = check(program, mapped(program))
    if where is None:
        assert result.findings == []
    else:
        assert only(result, "runtime-first").found == where


# What cannot be used -------------------------------------------------------------------------------------------


def refused(program: Path, exit_map: ExitMap) -> str:
    with pytest.raises(Ia2exitError) as caught:
        check(program, exit_map)
    return str(caught.value)


def test_a_map_that_lists_two_objects_with_one_build_id_is_refused(program: Path) -> None:
    exit_map = mapped(program)
    build_id = entry(exit_map, "libone.so").build_id
    twice = changed(exit_map, "libtwo.so", lambda item: replace(item, build_id=build_id))
    line = refused(program, twice)
    assert line.startswith("map: exit map: ")
    assert f"have the same build ID {build_id}, expected one entry for each object; write it again" in line


def test_a_map_that_lists_two_objects_of_one_name_without_build_id_is_refused(program: Path) -> None:
    exit_map = mapped(program)
    bare = changed(exit_map, "libone.so", lambda item: replace(item, build_id=None, name="libtwo.so"))
    assert "have the same name libtwo.so and no build ID" in refused(
        program, changed(bare, "libtwo.so", lambda item: replace(item, build_id=None))
    )


def test_a_map_with_a_compartment_that_it_does_not_define_is_refused(program: Path) -> None:
    exit_map = changed(mapped(program), "libtwo.so", lambda item: replace(item, compartment=9))
    assert "object libtwo.so in compartment 9, which it does not define" in refused(program, exit_map)
    assert "unlisted objects in compartment 9" in refused(program, replace(mapped(program), unlisted=9))


def test_a_program_that_cannot_start_or_be_covered_is_refused(program: Path, tmp_path: Path) -> None:
    exit_map = mapped(program)
    static = build(tmp_path / "static", "int main(void) { return 0; }", "-static")
    assert "the runtime cannot cover it (static program" in refused(static, exit_map)
    os.unlink(program.parent / "libtwo.so")  # noqa: PTH108
    assert f"{program}: needs libtwo.so" in refused(program, exit_map)


def test_a_long_build_id_is_compared_as_far_as_the_runtime_does(tmp_path: Path) -> None:
    two = library(tmp_path, "libtwo.so", TWO, f"-Wl,--build-id=0x{'ab' * 40}")
    program = linked(tmp_path, MAIN, library(tmp_path, "libone.so", ONE), two)
    exit_map = mapped(program)
    (tmp_path / "map").write_bytes(write_binary(as_binary(exit_map)))
    assert check(program, tmp_path / "map").findings == []

"""Notes inside objects, from the macros and from ``map --note``: by gcc and clang, read by ``scan`` and ``map``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import ia2exit
from ia2exit.cli import main
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap import read_map
from ia2exit.exitmap.note import write_note
from ia2exit.model import Address, Compartment, ExitMap, MapDestructor, MapObject, ScannedObject

SOURCES = Path(__file__).parent / "note_fixtures"
INCLUDE = Path(__file__).parents[2] / "runtime" / "libia2" / "include"
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
LANGUAGES = {"c": ["-std=c11", "-xc"], "c++": ["-std=c++17", "-xc++"]}
COMPILERS = {
    "gcc": {"c": "gcc", "c++": "g++"},
    "clang": {"c": "clang", "c++": "clang++"},
}
KINDS = {
    "shared": ["-fPIC", "-shared"],
    "pie": ["-fPIE", "-pie", "-DPROGRAM"],
    "fixed": ["-fno-pie", "-no-pie", "-DPROGRAM"],
}
#: What the linker must never need for a note, and the flags that would lose an unwanted section.
LINK = ["-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections,-z,text"]
LINK_TIME = {"gcc": ["-flto"], "clang": ["-flto", "-fuse-ld=lld"]}

IN_C = {
    ("exported", "atexit", 3),
    ("hidden", "on_exit", 4095),
    ("local", "cxa_atexit", 4),
    ("attributed", "quick_exit", 0),
}
IN_CXX = {
    ("exported()", "atexit", 3),
    ("hidden(int, void*)", "on_exit", 4095),
    ("local(void*)", "cxa_atexit", 4),
    ("attributed()", "quick_exit", 0),
    ("(anonymous namespace)::hidden_by_namespace()", "pthread_key", 6),
    ("outer::qualified()", "thread_atexit", 7),
}


def compiler(family: str, language: str) -> str:
    name = COMPILERS[family][language]
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed: apt-get install {family}")
    return name


def compile_with(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a compiler on what may include the headers."""
    return subprocess.run([*command, f"-I{INCLUDE}"], capture_output=True, text=True, timeout=120, check=False)


def build(*command: str | Path) -> None:
    """Compile; a diagnosis of the compiler is the test's message."""
    done = compile_with(*command)
    assert done.returncode == 0, done.stderr


def scanned(path: Path) -> ScannedObject:
    (found,) = ia2exit.scan(path, dependencies=False).objects
    return found


def markers(path: Path) -> int:
    """How many notes of the object say that it was built with ia2_exit_note.h."""
    return sum((note.owner, note.type, note.description) == (b"IA2", 3, b"") for note in ElfImage(path).notes())


def noted(found: ScannedObject) -> set[tuple[str | None, str, int]]:
    """(name, kind, compartment) of what the note lists."""
    return {
        (item.name or item.symbol, item.kind, item.claimed) for item in found.destructors if item.claimed is not None
    }


@pytest.mark.parametrize("optimise", ["-O0", "-O1", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("language", list(LANGUAGES))
@pytest.mark.parametrize("family", list(COMPILERS))
def test_macros_are_read_back(tmp_path: Path, family: str, language: str, kind: str, optimise: str) -> None:
    out = tmp_path / "out"
    flags = [*LANGUAGES[language], *STRICT, *KINDS[kind], optimise, *LINK]
    build(compiler(family, language), *flags, SOURCES / "notes.c", "-o", out)
    found = scanned(out)
    assert markers(out) == 1
    assert found.claimed == 3
    assert noted(found) == (IN_C if language == "c" else IN_CXX)


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("language", list(LANGUAGES))
@pytest.mark.parametrize("family", list(COMPILERS))
def test_macros_survive_link_time_optimisation(
    tmp_path: Path, family: str, language: str, kind: str, optimise: str
) -> None:
    if family == "clang" and shutil.which("ld.lld") is None:
        pytest.skip("ld.lld is not installed: apt-get install lld")
    out = tmp_path / "out"
    flags = [*LANGUAGES[language], *STRICT, *KINDS[kind], optimise, *LINK, *LINK_TIME[family]]
    build(compiler(family, language), *flags, SOURCES / "notes.c", "-o", out)
    found = scanned(out)
    assert markers(out) == 1
    assert found.claimed == 3
    assert {item[1:] for item in noted(found)} == {item[1:] for item in (IN_C if language == "c" else IN_CXX)}


@pytest.mark.parametrize("family", list(COMPILERS))
def test_the_header_alone_marks_an_object_unless_asked_not_to(tmp_path: Path, family: str) -> None:
    """Nothing refers to the marker: every section that is not used is dropped, and the file does nothing else."""
    source = tmp_path / "only.c"
    source.write_text('#include "ia2_exit_note.h"\nint used(void);\nint used(void) { return 1; }\n')
    flags = [*STRICT, "-fPIC", "-shared", *LINK]
    for more, count in ([], 1), (LINK_TIME[family], 1), (["-DIA2_EXIT_UNMARKED"], 0):
        out = tmp_path / "out"
        build(compiler(family, "c"), *flags, *more, source, "-o", out)
        assert markers(out) == count
        scanned(out)


def test_macros_of_c_survive_a_partition_for_each_function(tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["-std=c11", "-O2", "-flto", "-flto-partition=max", *KINDS["shared"], *LINK]
    build(compiler("gcc", "c"), *flags, SOURCES / "notes.c", "-o", out)
    assert {item[1:] for item in noted(scanned(out))} == {item[1:] for item in IN_C}


@pytest.mark.parametrize("line", ["IA2_EXIT_COMPARTMENT(4096);", "IA2_EXIT_COMPARTMENT(-1);"])
@pytest.mark.parametrize("language", list(LANGUAGES))
def test_an_impossible_compartment_does_not_compile(tmp_path: Path, language: str, line: str) -> None:
    source = tmp_path / "bad.c"
    source.write_text(f'#include "ia2_exit.h"\n{line}\n')
    done = compile_with(compiler("gcc", language), *LANGUAGES[language], "-c", source, "-o", tmp_path / "bad.o")
    assert done.returncode != 0
    assert "a compartment is a number from 0 to 4095" in done.stderr


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_an_impossible_kind_does_not_compile(tmp_path: Path, language: str) -> None:
    source = tmp_path / "bad.c"
    source.write_text('#include "ia2_exit.h"\nstatic void f(void) {}\nIA2_EXIT_DESTRUCTOR(f, 9, 1);\n')
    done = compile_with(compiler("gcc", language), *LANGUAGES[language], "-c", source, "-o", tmp_path / "bad.o")
    assert done.returncode != 0
    assert "kind is one of enum ia2_exit_kind" in done.stderr


def test_two_claims_in_one_object_are_refused(tmp_path: Path) -> None:
    source, out = tmp_path / "two.c", tmp_path / "two.so"
    source.write_text('#include "ia2_exit.h"\nIA2_EXIT_COMPARTMENT(1);\nIA2_EXIT_COMPARTMENT(2);\n')
    build(compiler("gcc", "c"), "-shared", "-fPIC", source, "-o", out)
    with pytest.raises(Ia2exitError, match="claims compartment 1 and compartment 2, expected one"):
        ia2exit.scan(out, dependencies=False)


def test_shared_data_has_pages_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"-Wl,-T,{INCLUDE / 'ia2_shared.ld'}"
    build(compiler("gcc", "c"), "-std=c11", "-fPIC", "-shared", SOURCES / "notes.c", script, "-o", out)
    section = ElfImage(out).section(".ia2.shared")
    assert section is not None
    assert section.address % 4096 == 0
    assert section.size == 4096


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A library without notes, and beside it a policy that puts it into compartment 9."""
    out = tmp_path / "libplain.so"
    build(compiler("gcc", "c"), "-O1", "-fPIC", "-shared", SOURCES / "library.c", "-o", out)
    (tmp_path / "policy.toml").write_text('version = 1\n[compartments.lib]\nid = 9\nobjects = ["libplain.so"]\n')
    return out


@pytest.mark.parametrize("family", list(COMPILERS))
def test_a_written_note_is_assembled_linked_and_read_back(
    plain: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    note, again, assembled = plain.with_name("note.S"), plain.with_name("again.so"), plain.with_name("note.o")
    policy = plain.with_name("policy.toml")
    assert main(["map", "-q", "-p", str(policy), "--note", str(plain), "-o", str(note)]) == 0
    assert capsys.readouterr().err == (
        f"ia2exit: {plain}: 1 of 6 destructors are not in the note (exported: exported);"
        " name them in their source with IA2_EXIT_DESTRUCTOR\n"
    )
    build(compiler(family, "c"), "-c", note, "-o", assembled)
    build("gcc", "-O1", "-fPIC", "-shared", "-Wl,-z,text", SOURCES / "library.c", assembled, "-o", again)
    found = scanned(again)
    assert found.claimed == 9
    # static functions have no name that another file could use, `exported` can be replaced by another object's
    assert noted(found) >= {("hidden", "atexit", 9), ("linux", "quick_exit", 9)}
    assert {name for name, _, _ in noted(found)} <= {"hidden", "linux", "_fini"}
    exports = ElfImage(again).dynsym
    (exported,) = exports.named({"exported"})["exported"]
    assert exports.entries["other"][exported] == 0  # the note has not changed its visibility


def test_a_map_made_from_a_linked_note_says_who_decided(plain: Path) -> None:
    policy, note, again = plain.with_name("policy.toml"), plain.with_name("note.S"), plain.with_name("libagain.so")
    assert main(["map", "-q", "-p", str(policy), "--note", str(plain), "-o", str(note)]) == 0
    build("gcc", "-O1", "-fPIC", "-shared", SOURCES / "library.c", note, "-o", again)
    output = plain.with_name("map.json")
    assert main(["map", "-q", str(again), "-o", str(output)]) == 0
    exit_map = read_map(output)
    assert isinstance(exit_map, ExitMap)
    (item,) = [item for item in exit_map.objects if item.name == "libagain.so"]
    assert (item.compartment, item.decided_by) == (9, "note")
    assert {entry.compartment for entry in item.destructors} == {9}


def test_a_written_note_keeps_cet_marks_and_a_stack_that_is_not_executable(plain: Path) -> None:
    note, assembled = plain.with_name("note.S"), plain.with_name("note.o")
    policy = str(plain.with_name("policy.toml"))
    assert main(["map", "-q", "-p", policy, "--note", str(plain), "-o", str(note)]) == 0
    build("gcc", "-c", note, "-o", assembled)
    marks = subprocess.run(
        ["readelf", "-nSW", assembled], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "x86 feature: IBT, SHSTK" in marks
    assert ".note.GNU-stack" in marks


def test_names_that_cannot_be_referenced_are_left_out_with_the_reason(plain: Path) -> None:
    def entry(rva: int, symbol: str | None) -> MapDestructor:
        return MapDestructor(rva=Address(rva), kind="atexit", symbol=symbol, compartment=9)

    item = MapObject(
        name="lib*/plain.so",
        path=str(plain),
        build_id=None,
        compartment=9,
        decided_by="policy",
        destructors=[
            entry(1, "hidden"),
            entry(2, "exported"),
            entry(3, None),
            entry(4, 'quo"te'),
            entry(5, "two words"),
        ],
    )
    note = write_note(item, [Compartment(id=9, name="lib")])
    assert note.entries == 1
    assert note.left_out == {
        "exported": ["exported"],
        "no symbol": ["0x3"],
        "a name that assembler cannot spell": ['quo"te', "two words"],
    }
    assert "of lib* /plain.so, written" in note.text


def test_a_number_that_may_change_is_pointed_out(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = plain.with_name("policy.toml")
    policy.write_text('version = 1\n[compartments.lib]\nobjects = ["libplain.so"]\n')
    assert main(["map", "-q", "-p", str(policy), "--note", str(plain)]) == 0
    assert f"compartment 1 was numbered automatically and may change; write its id into {policy}" in (
        capsys.readouterr().err
    )

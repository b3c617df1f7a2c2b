"""libia2_audit.so: what it adds to the preload, what stays the same, what is said where it is missing or another's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_running import AUDIT, FIXTURES, LIMIT, RUNTIME, Outcome, Ways, build, library, run, run_covered, same

from ia2exit.events import Fault, Object, Register

SOURCES = FIXTURES.parents[2] / "runtime"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return build(folder, "loads.c")


@pytest.fixture(scope="module")
def plugin(folder: Path) -> Path:
    return library(folder, "plugin.c", "plugin.so", "-DWITH_ATEXIT")


@pytest.fixture(autouse=True)
def audited() -> Iterator[None]:
    Ways.audited = True
    yield
    Ways.audited = False


def audit_module(folder: Path, **changed: str) -> Path:
    """The audit module with other values of its header's macros, under its own name in a folder of its own."""
    folder.mkdir()
    header = (SOURCES / "audit" / "ia2_audit.h").read_text()
    for name, value in changed.items():
        line = next(line for line in header.splitlines() if line.startswith(f"#define {name} "))
        header = header.replace(line, f"#define {name} {value}")
    (folder / "ia2_audit.h").write_text(header)
    shutil.copy(SOURCES / "audit" / "audit.c", folder)
    own = [SOURCES / "libia2" / name for name in ("dynamic.c", "peek.c", "symbols.c", "system.c")]
    flags = ["-shared", "-fPIC", "-O2", "-nostdlib", "-ffreestanding", "-fvisibility=hidden", "-fno-stack-protector"]
    includes = [f"-I{folder}", f"-I{SOURCES / 'libia2'}", f"-I{SOURCES / 'libia2' / 'include'}"]
    output = folder / AUDIT.name
    command: list[str | Path] = [
        "gcc",
        "-D_GNU_SOURCE",
        "-DIA2_EXIT_UNMARKED",
        *flags,
        *includes,
        folder / "audit.c",
        *own,
        "-o",
        output,
    ]
    subprocess.run(command, timeout=LIMIT, check=True)
    return output


def run_with_module(command: list[str | Path], module: Path | None, **more: str) -> Outcome:
    variables = {"IA2_EXIT_AUDIT": "1", **more}
    if module is not None:
        variables["LD_AUDIT"] = str(module)
    Ways.audited = False
    return run_covered(command, **variables)


def ran(outcome: Outcome) -> list[tuple[str | None, int | None, str]]:
    return [(event.function.object, event.function.rva, event.kind) for event in outcome.entered]


# ---- what it adds ----


def test_an_object_is_known_before_its_constructors_run(program: Path, plugin: Path) -> None:
    outcome = same([program, "staying", plugin])
    order = [
        type(event).__name__ if isinstance(event, Object) else event.kind
        for event in outcome.events
        if (isinstance(event, Object) and event.path == str(plugin))
        or (isinstance(event, Register) and event.function.object == str(plugin))
    ]
    assert order == ["fini_array", "fini_array", "fini", "Object", "cxa_atexit"]


def test_an_object_that_glibc_loads_is_known_at_once(program: Path) -> None:
    outcome = same([program, "converting"])
    names = [
        Path(event.path).name if isinstance(event, Object) else "handler"
        for event in outcome.events
        if (isinstance(event, Object) and event.when == "load")
        or (isinstance(event, Register) and event.kind == "cxa_atexit" and event.function.object == str(program))
    ]
    assert names == ["ISO8859-15.so", "handler"]
    Ways.audited = False
    late = same([program, "converting"])
    assert ran(late) == ran(outcome)


def test_a_constructor_that_changes_its_own_array_is_noticed(program: Path, folder: Path) -> None:
    """Without the module the array is first looked at when the constructor has run."""
    rewriting = library(folder, "rewriting.c", "rewriting.so")
    command: list[str | Path] = [program, "staying", rewriting]
    seen = run_covered(command)
    assert [event.what for event in seen.events if isinstance(event, Fault)] == [
        "an entry of .fini_array was changed after the object was loaded"
    ]
    assert seen.stdout == b"instead\n", "observed, it is what would have run without us"
    stopped = run_covered(command, IA2_EXIT_MODE="enforce", IA2_EXIT_BACKEND="mprotect")
    assert stopped.status != 3
    assert stopped.stdout == b""
    Ways.audited = False
    assert run_covered(command).faults == []


def test_what_could_not_be_loaded_is_forgotten(program: Path, plugin: Path, folder: Path) -> None:
    source = folder / "failing.c"
    source.write_text("extern int nobody_has_this(void);\nint call(void) { return nobody_has_this(); }\n")
    failing = folder / "failing.so"
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", failing], timeout=LIMIT, check=True)
    outcome = same([program, "failing", failing, plugin])
    assert outcome.status == 3
    paths = [event.path for event in outcome.events if isinstance(event, Object) and event.when != "start"]
    assert str(failing) not in paths, "none of its destructors could ever run"
    assert paths.count(str(plugin)) == 100
    assert outcome.counters.ran == len(outcome.entered)


# ---- what stays the same ----

PROGRAMS = [
    ["/usr/bin/python3", "-c", "import ssl, sqlite3, ctypes, lzma"],
    ["/usr/bin/openssl", "version"],
    ["/usr/bin/git", "--version"],
    ["/usr/bin/perl", "-MPOSIX", "-MSocket", "-e", "1"],
]


@pytest.mark.parametrize("command", PROGRAMS, ids=lambda command: Path(command[0]).name)
def test_the_same_destructors_in_the_same_order(command: list[str], tmp_path: Path) -> None:
    assert Path(command[0]).exists(), "install the packages in tests/apt-packages.txt"
    outcomes = []
    for audit in (False, True):
        trace = tmp_path / f"trace-{audit}"
        Ways.audited = audit
        done = run(list(command), IA2_TRACE_EXIT=str(trace), **Ways.environment())
        outcomes.append(Outcome(done.status, done.stdout, done.stderr, trace.read_bytes().splitlines()))
    preloaded, audited = outcomes
    assert [start.audit for start in (*preloaded.starts, *audited.starts)] == [False, True]
    assert ran(audited) == ran(preloaded)
    assert len(ran(audited)) > 3
    assert (audited.status, audited.stdout, audited.faults) == (preloaded.status, preloaded.stdout, [])


@pytest.mark.parametrize("follow", [False, True])
def test_children_get_it_when_they_are_followed(follow: bool) -> None:
    variables = {"IA2_EXIT_FOLLOW": "1"} if follow else {}
    other = "/nowhere/another module.so"
    seen = run(["/usr/bin/env"], **{**Ways.environment(), **variables, "LD_AUDIT": f"{other}:{AUDIT}"})
    lines = seen.stdout.decode().splitlines()
    assert f"LD_AUDIT={other}:{AUDIT}" in lines if follow else f"LD_AUDIT={other}" in lines


# ---- what is missing, or another's ----


def test_a_module_of_another_version_is_of_no_use(program: Path, plugin: Path, tmp_path: Path) -> None:
    module = audit_module(tmp_path / "other", IA2_AUDIT_ABI="99u")
    outcome = run_with_module([program, "staying", plugin], module)
    first, second = outcome.stderr.decode().splitlines()
    assert first == (
        "libia2_audit.so: is of another version than libia2.so, so objects that come by dlopen are learnt of late: "
        "take both from one build"
    )
    assert second.startswith("libia2.so: ")
    assert "libia2_audit.so does not answer" in second
    assert outcome.status == 3
    assert [start.audit for start in outcome.starts] == [False]
    assert ran(outcome) == ran(run_covered([program, "staying", plugin]))


def test_the_same_module_of_the_same_version_is_heard(program: Path, plugin: Path, tmp_path: Path) -> None:
    """The control of the test above: its module differs in that number only."""
    outcome = run_with_module([program, "staying", plugin], audit_module(tmp_path / "same"))
    assert (outcome.status, outcome.stderr, outcome.faults) == (3, b"", [])
    assert [start.audit for start in outcome.starts] == [True]


def test_a_preload_that_lost_its_module_says_so(program: Path, plugin: Path) -> None:
    outcome = run_with_module([program, "staying", plugin], None)
    (line,) = outcome.stderr.decode().splitlines()
    assert line.startswith("libia2.so: ")
    assert "libia2_audit.so does not answer: " in line
    (fault,) = [event for event in outcome.events if isinstance(event, Fault)]
    assert fault.what == "libia2_audit.so does not answer"
    assert outcome.status == 3


def test_a_module_without_the_runtime_says_so(program: Path, plugin: Path) -> None:
    vanilla = run([program, "staying", plugin])
    outcome = run([program, "staying", plugin], LD_AUDIT=str(AUDIT))
    assert outcome.stderr.decode() == (
        "libia2_audit.so: libia2.so is not loaded, so nothing is done: name it in LD_PRELOAD, or link with it\n"
    )
    assert (outcome.status, outcome.stdout) == (vanilla.status, vanilla.stdout)


def test_it_brings_nothing_into_its_namespace() -> None:
    """No libc: that would cost each start more than all else."""
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    with AUDIT.open("rb") as stream:
        image = ELFFile(stream)
        dynamic, symbols = (image.get_section_by_name(name) for name in (".dynamic", ".dynsym"))
        assert isinstance(dynamic, DynamicSection)
        assert isinstance(symbols, SymbolTableSection)
        tags = {tag.entry.d_tag for tag in dynamic.iter_tags()}
        exported = {symbol.name for symbol in symbols.iter_symbols() if symbol.name}
    assert not tags & {"DT_NEEDED", "DT_INIT", "DT_INIT_ARRAY", "DT_FINI", "DT_FINI_ARRAY"}
    assert exported == {"la_version", "la_objopen", "la_activity", "la_objclose"}
    assert os.access(RUNTIME, os.R_OK)

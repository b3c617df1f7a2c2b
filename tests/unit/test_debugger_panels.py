"""What our gdb commands show, in a process and in a core file."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from debugging import BACKENDS, CLOSING, HAS_KEYS, LIMIT, build, commands, gdb, script, sourced, stripped
from runtime_running import RUNTIME

from ia2exit.pkru import decode, right

TRACED = {"IA2_TRACE_EXIT": "/dev/null", "IA2_EXIT_MODE": "observe"}


@pytest.fixture(scope="module")
def debugged() -> Path:
    return build()


class Panel:
    """One destructor as it is shown."""

    def __init__(self, text: str) -> None:
        found = re.search(r"PKRU +before (\S+)  wanted (\S+)  after (\S+)\n((?: {4}\S.*\n)+)  register +(.*)", text)
        assert found, text
        self.before, self.wanted, self.after = (int(value, 16) for value in found.groups()[:3])
        rows = [re.split(r" {2,}", line.strip()) for line in found[4].splitlines()]
        assert rows[0] == ["key", "memory", "before", "wanted", "after"]
        self.keys = {number: row for row in rows[1:] for number in _numbers(row[0])}
        self.register = found[5]


def _numbers(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


@pytest.mark.debugger
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_rights_of_a_destructor_are_shown_and_decoded_by_key(debugged: Path, backend: str) -> None:
    said = sourced([debugged], "break-destructor library_bye", "run", IA2_EXIT_BACKEND=backend, **TRACED)
    panel = Panel(said)
    assert sorted(panel.keys) == list(range(16))
    for key, row in panel.keys.items():
        assert row[2:] == [right(value, key) for value in (panel.before, panel.wanted, panel.after)]
    (owner,) = (key for key, row in panel.keys.items() if row[1] == "2 (libdebugged.so)")
    (other,) = (key for key, row in panel.keys.items() if row[1] == "1 (debugged)")
    assert panel.keys[0][1:] == ["shared", "read-write", "read-write", "read-write"]
    assert panel.keys[owner][2:] == ["none", "read-write", "none"]
    assert panel.keys[other][2:] == ["none", "none", "none"]
    if backend == "pku":
        assert panel.register == f"{panel.wanted:#010x}: wanted"
        assert [row[2:] for row in panel.keys.values() if row[1] == "the runtime's own"] == [["none"] * 3]
    else:
        assert panel.register.startswith("none: the values above are virtual")
        assert (panel.before, panel.wanted, panel.after) == (0xFFFFFFFC, 0xFFFFFFCC, 0xFFFFFFFC)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_wanted_is_known_before_the_runtime_has_worked_it_out(debugged: Path, backend: str) -> None:
    stops = ["set breakpoint pending on", "break ia2_run_destructor", "break-destructor"]
    said = sourced([debugged], *stops, "run", "continue", IA2_EXIT_BACKEND=backend, **TRACED)
    early, late = said.split("destructor 6: cxa_atexit library_bye")[0], said.partition("first instruction")[2]
    assert "not run yet" in early
    assert "running" in late
    assert Panel(early).keys == Panel(late).keys
    assert (Panel(early).before, Panel(early).wanted) == (Panel(late).before, Panel(late).wanted)
    if backend == "pku":
        assert ": before" in Panel(early).register


@pytest.mark.parametrize("backend", BACKENDS)
def test_owner_registrar_and_source_line_are_shown(debugged: Path, backend: str) -> None:
    said = sourced([debugged], "break-destructor own_bye", "run", IA2_EXIT_BACKEND=backend, **TRACED)
    assert re.search(r"destructor \d+: cxa_atexit own_bye \(debugged\+0x\w+, debugged\.c:\d+\), running\n", said)
    assert re.search(r"  owner +1 \(debugged\)\n  registered  at main\+0x\w+ \(debugged\+0x\w+\)\n", said)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compartments_are_listed_with_what_is_open_now(debugged: Path, backend: str) -> None:
    lines = ["break main", "run", "info compartments", "break-destructor library_bye", "continue", "info compartments"]
    before, _, during = sourced([debugged], *lines, IA2_EXIT_BACKEND=backend, **TRACED).partition("first instruction")
    assert f"backend {backend}" in before
    assert "before the exit phase, all memory is open" in before
    assert "in the exit phase" in during
    table = {row[1]: row for row in (re.split(r" {2,}", line.strip()) for line in during.splitlines()) if len(row) == 6}
    assert table["shared"][3] == "read-write"
    assert "libc.so.6" in table["shared"][5]
    assert table["libdebugged.so"][3] == "read-write"
    assert table["debugged"][3] == ("none" if backend in CLOSING else "read-write")
    assert table["debugged"][4] == ("1 of 1" if backend in CLOSING else "-")


@pytest.mark.parametrize("backend", BACKENDS)
def test_records_are_listed_filtered_and_counted(debugged: Path, backend: str) -> None:
    lines = ["break-destructor library_last", "run", "info exit-records", "echo ====\\n", "info exit-records own_*"]
    said = sourced([debugged], *lines, IA2_EXIT_BACKEND=backend, **TRACED)
    every, _, some = said.partition("====")
    assert re.search(
        r"^\* +\d+ +running +cxa_atexit +library_last +libdebugged\.so +2 \(libdebugged\.so\)", every, re.M
    )
    assert re.search(r"^ +\d+ +done +cxa_atexit +library_bye ", every, re.M)
    assert re.search(r"^ +\d+ +live +fini_array ", every, re.M)
    assert re.search(r"^7 records: 4 live, 1 running, 2 done; \d+ free slots$", every, re.M)
    assert "library_" not in some
    assert some.rstrip().splitlines()[-1].startswith("1 of 7 records")


def test_states_and_kinds_filter_records_too(debugged: Path) -> None:
    lines = ["break-destructor library_last", "run", "echo ====\\n", "info exit-records done", "info exit-records fini"]
    said = sourced([debugged], *lines, **TRACED).partition("====")[2]
    assert re.findall(r"^(\d of \d) records", said, re.M) == ["2 of 7", "2 of 7"]


def test_any_record_can_be_shown_by_its_number(debugged: Path) -> None:
    said = sourced([debugged], "break main", "run", "info destructor 1", "info destructor 99", "info destructor x")
    assert "destructor 1: fini_array" in said
    assert "by nobody: it is in its object's dynamic section" in said
    assert "info destructor: 99: no such record; info exit-records shows them" in said
    assert "info destructor: x: expected the number of a record; info exit-records shows them" in said


LOOKING = ["info compartments", "info exit-records", "info destructor"]


def test_without_a_process_each_command_says_so(debugged: Path) -> None:
    assert sourced([debugged], *LOOKING).count("no program runs and there is no core file") == 3


def test_without_the_runtime_each_command_says_so(debugged: Path) -> None:
    said = gdb(*commands(f"source {script()}", "break main", "run", *LOOKING), "--args", debugged)
    assert said.count("libia2.so is not loaded in this process") == 3


def test_before_its_constructor_each_command_says_so(debugged: Path) -> None:
    stop = ["set breakpoint pending on", "break initialise", "run", "delete", *LOOKING]
    assert sourced([debugged], *stop).count("libia2.so is loaded but not initialised yet") == 3


def test_in_legacy_mode_each_command_says_so(debugged: Path) -> None:
    said = sourced([debugged], "break main", "run", *LOOKING, IA2_EXIT_FORCE_LEGACY="1")
    assert said.count("the runtime is in legacy mode (IA2_EXIT_FORCE_LEGACY): it keeps no records") == 3


def test_without_debugging_information_each_command_says_what_is_missing(debugged: Path, tmp_path: Path) -> None:
    copy = stripped(tmp_path)
    said = sourced([debugged], "break main", "run", *LOOKING, "continue", LD_PRELOAD=str(copy))
    assert said.count(f"{copy}: no debugging information of ia2_sealed: it was stripped") == 3
    assert "exited with code 03" in said


def core_of(debugged: Path, folder: Path, backend: str) -> Path:
    """The core file of the program, ended in a destructor by a violation."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    variables = {"LD_PRELOAD": str(RUNTIME), "IA2_EXIT_BACKEND": backend, "IA2_EXIT_MODE": "enforce"}
    if pattern == "core":
        given = " ".join(f"{name}={value}" for name, value in variables.items())  # not for the shell itself
        done = subprocess.run(
            ["/bin/sh", "-c", f'ulimit -c unlimited && exec env {given} "{debugged}" scribble'],
            cwd=folder,
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == -signal.SIGSEGV
        return next(folder.glob("core*"))
    core = folder / "core"
    sourced([debugged, "scribble"], "break-destructor scribble", "run", f"generate-core-file {core}", **variables)
    return core


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, reason="core files are forbidden here")
@pytest.mark.parametrize("backend", CLOSING)
def test_a_core_file_shows_the_same(debugged: Path, tmp_path: Path, backend: str) -> None:
    core = core_of(debugged, tmp_path, backend)
    lines = [*LOOKING, "info symbol $pc"]
    said = gdb(*commands(f"source {script()}"), "-core", core, debugged, *commands(*lines))
    assert f"backend {backend}" in said
    assert re.search(r"^\* +\d+ +running +cxa_atexit +scribble +libdebugged\.so +2 \(libdebugged\.so\)", said, re.M)
    assert re.search(r"destructor \d+: cxa_atexit scribble \(libdebugged\.so\+0x\w+, debugged_library\.c:\d+\)", said)
    panel = Panel(said)
    (owner,) = (key for key, row in panel.keys.items() if row[1] == "2 (libdebugged.so)")
    assert decode(panel.wanted)[owner] == "read-write"
    assert decode(panel.after)[owner] == "none"
    assert "core file" in panel.register or backend != "pku"


def test_keys_are_tested_where_there_are_any() -> None:
    assert ("pku" in BACKENDS) == HAS_KEYS

"""`ia2exit run` on a library that plunders its program: each mode, and what the report says of it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from running_programs import build, run

import ia2exit

POLICY = """version = 1
[compartments.castle]
objects = ["@main"]
[compartments.thief]
objects = ["libplunder.so"]
"""


@pytest.fixture(scope="module")
def hoard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hoard")
    library = build(folder, "plunder.c", "-shared", "-fPIC", "-pthread", name="libplunder.so")
    (folder / "policy.toml").write_text(POLICY)
    return build(folder, "hoard.c", library, f"-Wl,-rpath,{folder}")


@pytest.fixture(scope="module")
def policy(hoard: Path) -> Path:
    return hoard.parent / "policy.toml"


def test_a_policy_is_enforced_and_the_culprit_named(hoard: Path, policy: Path) -> None:
    done = run([hoard, "write"], "-p", policy, "--backend", "mprotect")
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, b"")
    text = done.stderr.decode()
    assert "mode enforce, backend mprotect" in text
    assert "ia2exit: violation: plunder of libplunder.so wrote to treasure of hoard, compartment castle\n" in text
    assert "registered at plunder_later+0x" in text
    assert "treasure+0x8 (hoard+0x" in text
    assert f".data of {hoard}, compartment castle" in text
    assert "the program was ended (mode enforce)" in text
    assert 'objects = ["@main", "libplunder.so"]' in text


@pytest.mark.parametrize(
    ("mode", "action", "written"), [("observe", "opened", b"7\n"), ("contain", "abandoned", b"0\n")]
)
def test_the_other_modes_go_on(hoard: Path, policy: Path, mode: str, action: str, written: bytes) -> None:
    done = run([hoard, "write"], "-p", policy, "--backend", "mprotect", "--mode", mode)
    assert (done.returncode, done.stdout) == (3, written)
    result = ia2exit.run([str(hoard), "write"], policy=policy, backend="mprotect", mode=mode)  # type: ignore[arg-type]
    (violation,) = result.violations
    assert (violation.action, violation.access, violation.victim_name) == (action, "write", "castle")


def test_a_system_call_is_named(hoard: Path, policy: Path) -> None:
    text = run([hoard, "syscall"], "-p", policy, "--backend", "mprotect").stderr.decode()
    assert "by the system call read (0) made at" in text
    assert "treasure (hoard+0x" in text


@pytest.mark.parametrize("backend", ["none", "mprotect"])
@pytest.mark.parametrize(("way", "number"), [("null", signal.SIGSEGV), ("abort", signal.SIGABRT)])
def test_a_destructor_that_dies_by_itself_is_named(hoard: Path, backend: str, way: str, number: signal.Signals) -> None:
    done = run([hoard, way], "--mode", "observe", "--backend", backend)
    assert done.returncode == -number
    text = done.stderr.decode()
    assert f"({number.name}) in destructor #1 plunder of libplunder.so\n" in text
    assert "registered at plunder_later+0x" in text
    assert "violation" not in text


@pytest.mark.parametrize("backend", ["none", "mprotect"])
def test_a_destructor_that_hangs_is_named_with_all_threads(hoard: Path, backend: str) -> None:
    result = ia2exit.run([str(hoard), "hang"], mode="observe", backend=backend, timeout=1.0)  # type: ignore[arg-type]
    assert result.timed_out
    (fault,) = result.faults
    assert fault.destructor is not None
    assert fault.destructor.function.name == "plunder"
    assert "plunder" in [frame.name for frame in fault.stack]
    (thread,) = fault.threads
    assert "wait_for_ever" in [frame.name for frame in thread.stack]


def test_opening_everything_is_said(hoard: Path, policy: Path) -> None:
    done = run([hoard, "write"], "-p", policy, IA2_EXIT_ALLOW_ALL="1")
    assert (done.returncode, done.stdout) == (3, b"7\n")
    assert "WARNING" in done.stderr.decode()
    assert "IA2_EXIT_ALLOW_ALL=1: all memory was open" in done.stderr.decode()
    assert "not in the table" not in done.stderr.decode(), "they are"


def test_the_old_path_is_said(hoard: Path, policy: Path) -> None:
    done = run([hoard, "write"], "-p", policy, IA2_EXIT_FORCE_LEGACY="1")
    assert (done.returncode, done.stdout) == (3, b"7\n")
    assert "IA2_EXIT_FORCE_LEGACY=1: all memory was open" in done.stderr.decode()


def test_counters_are_shown_on_request(hoard: Path) -> None:
    text = run([hoard], IA2_DIAG_EXIT="1").stderr.decode()
    outcomes = ("ran", "success", "fallback", "violation", "contained", "unenforced", "bypassed", "unfinished")
    tallies = ("unknown", "foreign", "vague", "bystander", "switches", "wrpkru", "mprotect")
    for names in (outcomes, tallies):
        assert re.search(rf"^  compartment +{' +'.join(names)}$", text, re.M)
    assert re.search(r"^  total +6 +6 +0 +0 +0 +0 +0 +0$", text, re.M)


def test_parked_threads_leave_nothing_unenforced(hoard: Path, policy: Path) -> None:
    result = ia2exit.run([str(hoard)], policy=policy, backend="mprotect", park_threads=True)
    assert [row.unenforced for row in result.destructors if row.unenforced] == []


def test_objects_of_the_map_that_never_load_are_named_once(hoard: Path, policy: Path, tmp_path: Path) -> None:
    own_id = "-Wl,--build-id=0x0102030405060708"  # it is the same source
    other = build(tmp_path, "plunder.c", "-shared", "-fPIC", "-pthread", own_id, name="libother.so")
    made = ia2exit.build_map(str(policy), [str(hoard), str(other)])
    result = ia2exit.run([str(hoard)], map=made, backend="none", mode="observe")
    assert [note for note in result.notes if "never loaded" in note] == [
        "the exit map lists what was never loaded: libother.so"
    ]
    complete = ia2exit.run([str(hoard)], policy=policy, backend="none", mode="observe")
    assert complete.notes == []

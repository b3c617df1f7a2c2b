"""Programs that close every descriptor, change folder or root: never an event in one of their own files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from runtime_running import LIMIT, RUNTIME, Outcome, build

from ia2exit.events import End


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("descriptors"), "descriptors.c")


def run(program: Path, scenario: str, folder: Path, target: str) -> Outcome:
    """Run with ``folder`` as the current one; standard error leads to the file ``trace`` there, too."""
    inner = folder / "inner"
    inner.mkdir()
    with (folder / "trace").open("ab") as stream:
        done = subprocess.run(
            [program, scenario, inner],
            env={"LD_PRELOAD": str(RUNTIME), "IA2_TRACE_EXIT": target.replace("N", str(stream.fileno()))},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            pass_fds=[stream.fileno()],
            timeout=LIMIT,
            check=False,
        )
    lines = (folder / "trace").read_bytes().splitlines()
    return Outcome(done.returncode, b"", b"", lines)


def complete(outcome: Outcome) -> bool:
    return isinstance(outcome.events[-1], End)


@pytest.mark.parametrize("scenario", ["daemon", "one-by-one"])
@pytest.mark.parametrize("target", ["1", "fd:N", "trace"])
def test_a_program_that_opens_its_own_files_everywhere_gets_no_event_in_them(
    program: Path, tmp_path: Path, scenario: str, target: str
) -> None:
    outcome = run(program, scenario, tmp_path, target)
    assert outcome.status == 7
    assert (tmp_path / "inner" / "database").read_bytes() == b""
    assert outcome.starts
    assert complete(outcome) == (target == "trace"), "a path is opened again, a descriptor is gone"


def test_a_relative_path_outlives_a_change_of_folder(program: Path, tmp_path: Path) -> None:
    outcome = run(program, "chdir", tmp_path, "trace")
    assert outcome.status == 7
    assert complete(outcome)
    assert outcome.counters.lost == 0


def test_a_change_of_root_does_not_matter_while_the_descriptor_is_open(program: Path, tmp_path: Path) -> None:
    outcome = run(program, "chroot", tmp_path, "trace")
    assert outcome.status == 7
    assert complete(outcome)


def test_after_a_change_of_root_no_file_of_that_name_is_made_or_used(program: Path, tmp_path: Path) -> None:
    """The path leads elsewhere now: lines are lost rather than written to another file."""
    inner = tmp_path / "inner"
    elsewhere = inner / tmp_path.relative_to("/")
    original = run(program, "chroot-close", tmp_path, "trace")
    assert original.status == 7
    assert not complete(original)
    assert not elsewhere.exists()


def test_the_program_keeps_the_low_numbers(tmp_path: Path) -> None:
    """Scripts and servers rely on the next free number: 3 is theirs."""
    for given in ({}, {"LD_PRELOAD": str(RUNTIME), "IA2_TRACE_EXIT": str(tmp_path / "trace")}):
        done = subprocess.run(
            ["/usr/bin/perl", "-e", 'open(my $f, "<", "/dev/null"); print fileno($f)'],
            env=given,
            capture_output=True,
            timeout=LIMIT,
            check=True,
        )
        assert done.stdout == b"3"


def test_the_programs_children_do_not_inherit_the_trace(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/ls", "/proc/self/fd"],
        env={"LD_PRELOAD": str(RUNTIME), "IA2_TRACE_EXIT": str(tmp_path / "trace"), "IA2_EXIT_FOLLOW": "0"},
        capture_output=True,
        timeout=LIMIT,
        check=True,
    )
    own = [int(number) for number in done.stdout.split()]
    assert max(own) > 200, "ls itself sees the trace"
    script = subprocess.run(
        ["/bin/sh", "-c", "/bin/ls /proc/self/fd; exit 0"],
        env={"LD_PRELOAD": str(RUNTIME), "IA2_TRACE_EXIT": str(tmp_path / "trace")},
        capture_output=True,
        timeout=LIMIT,
        check=True,
    )
    assert max(int(number) for number in script.stdout.split()) < 10

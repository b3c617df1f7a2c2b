"""What ld.so itself does, with the host's glibc and with another (``IA2EXIT_GLIBC``, tests/glibcs/outside.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ia2exit.events import AnyEvent, Enter, Fault, Start
from ia2exit.native import runtime_path
from ia2exit.running.trace import parse

from .known import PATCHED, Glibc, entering

RUNTIME = Path(runtime_path())
BUILD = RUNTIME.parent
BED = BUILD / "tests" / "dl_debug_test" / "dl_debug_test"
#: Programs whose destructors are of every kind, or of many libraries.
COMMANDS: dict[str, list[str | Path]] = {
    "the-test-bed": [BED],
    "openssl": ["openssl", "version"],
    "curl": ["curl", "--version"],
    "python": [Path(sys.executable).resolve(), "-c", "import ssl, sqlite3, decimal"],
    "gdb": ["gdb", "-nx", "-batch", "-ex", "python import json"],
}
#: Seconds until a program that hangs is ended.
LIMIT = 60


@dataclass(frozen=True)
class Run:
    """What a program under the runtime left behind."""

    status: int
    stdout: bytes
    events: list[AnyEvent]

    @property
    def start(self) -> Start:
        """The first line."""
        (found,) = (event for event in self.events if isinstance(event, Start))
        return found

    def destructors(self, but_of: Glibc) -> list[tuple[str, str, int]]:
        """Object, kind and RVA of each, in the order in which they ran; without those of the glibc itself."""
        places = [(event.function, event.kind) for event in self.events if isinstance(event, Enter)]
        found = [(Path(place.object or "").name, kind, place.rva or 0) for place, kind in places]
        return [one for one in found if not (but_of.libraries / one[0]).is_file()]


@pytest.fixture(scope="module")
def glibc() -> Glibc:
    """The other one."""
    folder = Path(os.environ["IA2EXIT_GLIBC"])
    return Glibc(folder.name.partition("-")[0], folder)


def watch(before: Sequence[str | Path], command: Sequence[str | Path], trace: Path, backend: str) -> Run:
    """Run a command under the runtime, with ``before`` before it."""
    trace.unlink(missing_ok=True)
    given = {"LD_PRELOAD": str(RUNTIME), "IA2_TRACE_EXIT": str(trace), "IA2_EXIT_BACKEND": backend}
    done = subprocess.run(
        [*before, "env", *(f"{name}={value}" for name, value in given.items()), *command],
        env={"PATH": "/usr/bin:/bin", "HOME": str(trace.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    events = [parse(line) for line in trace.read_bytes().splitlines()] if trace.exists() else []
    assert events, done.stderr.decode()
    assert [event for event in events if isinstance(event, Fault)] == []
    return Run(done.returncode, done.stdout, events)


@pytest.mark.parametrize("backend", ["none", "mprotect"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_destructors_run_in_the_same_order(glibc: Glibc, tmp_path: Path, command: str, backend: str) -> None:
    """By each backend, in the same order, and by the way that this glibc has."""
    ours = watch(entering(glibc), COMMANDS[command], tmp_path / "trace", backend)
    theirs = watch([], COMMANDS[command], tmp_path / "trace", backend)
    assert (ours.start.glibc, theirs.start.fini_by) == (glibc.version, "pointers")
    assert ours.start.fini_by == ("patched" if glibc.name == PATCHED else "pointers")
    assert ours.status == theirs.status == 0
    one, other = ours.destructors(but_of=glibc), theirs.destructors(but_of=glibc)
    assert one
    assert one == other


def test_it_runs_by_the_command_line_of_ld_so_as_well(glibc: Glibc, tmp_path: Path) -> None:
    """There PT_INTERP is not asked, and the program's own name is that of ld.so."""
    entered = watch(entering(glibc), [BED], tmp_path / "trace", "mprotect")
    folders = f"{glibc.libraries}:{BUILD}"
    by_line = watch([], [glibc.loader, "--library-path", folders, BED], tmp_path / "trace", "mprotect")
    assert (by_line.status, by_line.stdout) == (entered.status, entered.stdout)
    assert by_line.start.glibc == glibc.version
    assert by_line.start.program == str(BED)
    assert by_line.destructors(but_of=glibc) == entered.destructors(but_of=glibc)

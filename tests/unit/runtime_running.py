"""Programs from runtime_fixtures/, built for a test and run with and without libia2.so."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ia2exit.events import AnyEvent, Counters, Enter, Fault, Start
from ia2exit.running.trace import parse

FIXTURES = Path(__file__).parent / "runtime_fixtures"
BUILD = Path(os.environ.get("IA2EXIT_LIBDIR", Path(__file__).resolve().parents[2] / "build")).resolve()
RUNTIME = BUILD / "libia2.so"
AUDIT = BUILD / "libia2_audit.so"
HEADERS = FIXTURES.parents[2] / "runtime" / "libia2" / "include"
#: Seconds until a program that hangs is ended.
LIMIT = 60


class Ways:
    """How the runtime comes into the programs that are run here: with the audit module or without (conftest.py)."""

    audited = False

    @classmethod
    def environment(cls) -> dict[str, str]:
        """The variables for ld.so."""
        audit = {"LD_AUDIT": str(AUDIT), "IA2_EXIT_AUDIT": "1"} if cls.audited else {}
        return {"LD_PRELOAD": str(RUNTIME), **audit}


def build(folder: Path, source: str, *flags: str | Path, name: str | None = None) -> Path:
    """Compile a fixture into ``folder``; ``flags`` follow the source, so libraries may stand among them."""
    compiler = "g++" if source.endswith(".cpp") else "gcc"
    output = folder / (name or Path(source).stem)
    subprocess.run(
        [compiler, "-g", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{HEADERS}", FIXTURES / source, *flags, "-o", output],
        timeout=LIMIT,
        check=True,
    )
    return output


def library(folder: Path, source: str, name: str, *flags: str | Path) -> Path:
    """The same, as a shared object."""
    return build(folder, source, "-shared", "-fPIC", *flags, name=name)


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    status: int
    stdout: bytes
    stderr: bytes
    #: The runtime's lines, without their ends.
    lines: list[bytes] = field(default_factory=list)

    @property
    def events(self) -> list[AnyEvent]:
        """The lines, decoded."""
        return [parse(line) for line in self.lines]

    @property
    def entered(self) -> list[Enter]:
        """What ran, in the order of the trace."""
        return [event for event in self.events if isinstance(event, Enter)]

    @property
    def counters(self) -> Counters:
        """The counters of the one process that wrote any."""
        (found,) = (event for event in self.events if isinstance(event, Counters))
        return found

    @property
    def faults(self) -> list[str]:
        """What must not be there."""
        return [f"{event.what}: {event.detail}" for event in self.events if isinstance(event, Fault)]

    @property
    def starts(self) -> list[Start]:
        """One for each process, or process image, that wrote anything."""
        return [event for event in self.events if isinstance(event, Start)]


def run(command: Sequence[str | Path], **environment: str) -> Outcome:
    """Run a command with nothing in its environment but PATH and ``environment``."""
    done = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_covered(command: Sequence[str | Path], **environment: str) -> Outcome:
    """The same under the runtime, with a trace beside the program."""
    trace = Path(command[0]).parent / "trace"
    trace.unlink(missing_ok=True)
    given = {**Ways.environment(), "IA2_TRACE_EXIT": str(trace), **environment}
    done = run(command, **given)
    lines = trace.read_bytes().splitlines() if trace.exists() else []
    return Outcome(done.status, done.stdout, done.stderr, lines)


def same(command: Sequence[str | Path], **environment: str) -> Outcome:
    """Run a command without the runtime, under it untraced, and under it traced: the program must not see a difference.

    Returns the traced run. No event may be a fault, no line may be lost.
    """
    vanilla = run(command)
    untraced = run(command, **Ways.environment())
    traced = run_covered(command, **environment)
    for other in (untraced, traced):
        assert (other.status, other.stdout, other.stderr) == (vanilla.status, vanilla.stdout, vanilla.stderr)
    assert traced.faults == []
    assert {start.audit for start in traced.starts} == {Ways.audited}
    return traced


def tool(name: str) -> str:
    """Path of a program that tests need; tests/apt-packages.txt brings it."""
    found = shutil.which(name)
    assert found, f"{name} is missing; install the packages in tests/apt-packages.txt"
    return found

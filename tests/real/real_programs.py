"""The programs of programs.toml, how they are run, and what every trace of one must be like."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from ia2exit import events
from ia2exit.native import runtime_library
from ia2exit.running import Process, trace

HERE = Path(__file__).parent
SCHEMA = json.loads((Path(events.__file__).parent / "schemas" / "events.schema.json").read_bytes())
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
#: What the user preloads, by name of the case.
PRELOADS = {"": None, "jemalloc": LIBRARIES / "libjemalloc.so.2", "asan": LIBRARIES / "libasan.so.8"}
#: Seconds that one run may take.
LIMIT = 60
#: `ia2exit` with something to be preloaded into the program alone, not into Python before it.
LATER = """
import os, sys
os.environ["LD_PRELOAD"] = sys.argv.pop(1)
from ia2exit.cli import entry
sys.exit(entry())
"""


class Normalise(msgspec.Struct, forbid_unknown_fields=True):
    """Something that a program prints differently each time."""

    pattern: str
    put: str
    why: str


class Program(msgspec.Struct, forbid_unknown_fields=True):
    """A row of programs.toml; its head says what the members mean."""

    command: list[str]
    stdin: str = ""
    status: int = 0
    signal: str | None = None
    min_objects: int = 1
    min_loaded: int = 0
    kinds: set[str] = set()
    children: set[str] = set()
    replaced_by: str | None = None
    left: bool = False
    threads: bool = False
    deaf: bool = False
    closes_stderr: bool = False
    plugins: list[str] = []
    normalise: list[Normalise] = []
    not_with: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """The program itself."""
        return Path(self.command[0])

    @property
    def expected(self) -> int:
        """Its exit status as :mod:`subprocess` gives it."""
        return -signal.Signals[self.signal] if self.signal else self.status

    def normal(self, text: bytes) -> bytes:
        """Its output without what it prints differently each time."""
        for rule in self.normalise:
            text = re.sub(rule.pattern.encode(), rule.put.encode(), text)
        return text


PROGRAMS = msgspec.convert(tomllib.loads((HERE / "programs.toml").read_text()), dict[str, Program])


def require(*paths: Path | None) -> None:
    """Skip where something is not there (in CI that is a failure)."""
    for path in paths:
        if path is not None and not path.exists():
            pytest.skip(f"{path} is not there: install the packages of tests/real/apt-packages.txt")


def run(
    program: Program,
    before: Sequence[str | Path],
    folder: Path,
    preloaded: Sequence[Path] = (),
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program in an empty folder with a small environment and ``variables``, ``before`` before its command."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONPATH": str(Path(events.__file__).parent.parent),
        "IA2EXIT_LIBDIR": str(runtime_library().parent),
        "ASAN_OPTIONS": "detect_leaks=0",  # leaks of the distribution's programs, reported with addresses
    }
    environment |= variables or {}
    if preloaded:
        environment["LD_PRELOAD"] = ":".join(map(str, preloaded))
    return subprocess.run(
        [*before, *program.command],
        input=program.stdin.encode(),
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )


@dataclass(frozen=True)
class Covered:
    """A run under the runtime."""

    done: subprocess.CompletedProcess[bytes]
    #: The lines of its trace, with their ends.
    lines: list[bytes]
    report: str

    @property
    def events(self) -> list[events.AnyEvent]:
        """The lines, decoded."""
        return [trace.parse(line) for line in self.lines]


def run_covered(
    program: Program,
    options: Sequence[str | Path],
    folder: Path,
    preloaded: Sequence[Path] = (),
    variables: Mapping[str, str] | None = None,
) -> Covered:
    """The same under ``ia2exit run`` with ``options``; trace and report are written beside ``folder``.

    Here ``preloaded`` is what the program alone gets.
    """
    kept, report = folder.with_name("events.jsonl"), folder.with_name("report")
    for path in (kept, report):
        path.unlink(missing_ok=True)
    start = ["-c", LATER, ":".join(map(str, preloaded))] if preloaded else ["-m", "ia2exit"]
    before = [sys.executable, *start, "run", *options, "--trace", kept, "--report", report, "--"]
    done = run(program, before, folder, variables=variables)
    assert kept.exists(), done
    return Covered(done, kept.read_bytes().splitlines(keepends=True), report.read_text())


def check_same(
    program: Program, vanilla: subprocess.CompletedProcess[bytes], covered: Covered, *, said: int = 0
) -> None:
    """The program behaved as the table says, and under the runtime as without it.

    Args:
        program: its row of the table.
        vanilla: the run without the runtime.
        covered: the run under it.
        said: lines on standard error that the runtime wrote itself.
    """
    ours = covered.done
    assert vanilla.returncode == program.expected, vanilla
    assert ours.returncode == vanilla.returncode, (ours, covered.report)
    assert program.normal(ours.stdout) == program.normal(vanilla.stdout)
    lines = ours.stderr.splitlines(keepends=True)
    theirs = [line for line in lines if not line.startswith(b"libia2.so: ")]
    assert program.normal(b"".join(theirs)) == program.normal(vanilla.stderr)
    assert len(lines) - len(theirs) == said, ours.stderr


@cache
def _validator(event: str) -> Draft202012Validator:
    """A validator for events of one kind (that each line is of one kind only, tests/unit proves for the schema)."""
    kind = next(
        name
        for name, part in SCHEMA["$defs"].items()
        if [event] == part.get("properties", {}).get("event", {}).get("enum")
    )
    return Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]})


def check_lines(lines: Sequence[bytes]) -> Process:
    """Every line obeys the schema, and all of them are one process's. Returns what they add up to."""
    for line in lines:
        assert len(line) <= 4096, "an event is one write of at most PIPE_BUF bytes"
        document = json.loads(line)
        _validator(document["event"]).validate(document)
    found = trace.read(lines)
    assert (found.malformed, found.truncated, len(found.processes)) == (0, False, 1)
    process = found.processes[0]
    if process.counters:
        parts = ("success", "fallback", "violation", "contained", "unenforced", "unfinished")
        assert process.counters.ran == sum(getattr(process.counters, part) for part in parts)
        assert process.counters.ran == len(process.destructors)
        assert process.counters.lost == 0
    return process

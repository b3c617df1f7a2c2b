"""Unmodified programs of the distribution behave under the runtime as they do without it (programs.toml)."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from ia2exit import events
from ia2exit.native import runtime_library
from ia2exit.running import trace

HERE = Path(__file__).parent
SCHEMA = json.loads((Path(events.__file__).parent / "schemas" / "events.schema.json").read_bytes())
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
#: What the user preloads, by name of the case.
PRELOADS = {"": None, "jemalloc": LIBRARIES / "libjemalloc.so.2", "asan": LIBRARIES / "libasan.so.8"}
#: Seconds that one run may take.
LIMIT = 60


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
    normalise: list[Normalise] = []
    not_with: dict[str, str] = {}


PROGRAMS = msgspec.convert(tomllib.loads((HERE / "programs.toml").read_text()), dict[str, Program])


@cache
def validator(event: str) -> Draft202012Validator:
    """A validator for events of one kind (that each line is of one kind only, tests/unit proves for the schema)."""
    kind = next(
        name for name, part in SCHEMA["$defs"].items() if [event] == part["properties"].get("event", {}).get("enum")
    )
    return Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]})


def run(program: Program, before: list[str], folder: Path, preload: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program in an empty folder with a small environment."""
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
    library = PRELOADS[preload]
    if library:
        environment["LD_PRELOAD"] = str(library)
    return subprocess.run(
        [*before, *program.command],
        input=program.stdin.encode(),
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )


def same_each_time(program: Program, text: bytes) -> bytes:
    """The output without what the program itself prints differently each time."""
    for rule in program.normalise:
        text = re.sub(rule.pattern.encode(), rule.put.encode(), text)
    return text


@pytest.fixture
def needs(request: pytest.FixtureRequest) -> None:
    """Skip where the program, or what is to be preloaded, is not there (in CI that is a failure)."""
    name, preload = request.node.callspec.params["name"], request.node.callspec.params["preload"]
    for path in (Path(PROGRAMS[name].command[0]), PRELOADS[preload]):
        if path is not None and not path.exists():
            pytest.skip(f"{path} is not there: install the packages of tests/real/apt-packages.txt")


def cases() -> list[object]:
    """All programs with nothing preloaded, with jemalloc and with libasan."""
    return [
        pytest.param(name, preload, id=f"{name}-{preload}" if preload else name)
        for preload in PRELOADS
        for name, program in PROGRAMS.items()
        if preload not in program.not_with
    ]


@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize(("name", "preload"), cases())
def test_same_as_without_us(name: str, preload: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]
    vanilla = run(program, [], tmp_path / "run", preload)
    kept, report = tmp_path / "events.jsonl", tmp_path / "report"
    us = [sys.executable, "-m", "ia2exit", "run", "--trace", str(kept), "--report", str(report), "--"]
    ours = run(program, us, tmp_path / "run", preload)

    assert vanilla.returncode == (-signal.Signals[program.signal] if program.signal else program.status), vanilla
    assert ours.returncode == vanilla.returncode, ours
    assert same_each_time(program, ours.stdout) == same_each_time(program, vanilla.stdout)
    assert same_each_time(program, ours.stderr) == same_each_time(program, vanilla.stderr)
    check_trace(program, kept.read_bytes().splitlines(keepends=True))
    check_report(program, report.read_text())


def check_trace(program: Program, lines: list[bytes]) -> None:
    """Every line obeys the schema, and the events are those that the table expects."""
    for line in lines:
        assert len(line) <= 4096, "an event is one write of at most PIPE_BUF bytes"
        document = json.loads(line)
        validator(document["event"]).validate(document)
    found = trace.read(lines)
    assert (found.malformed, found.truncated, len(found.processes)) == (0, False, 1)
    process = found.processes[0]
    objects = [event for event in process.objects if event.when != "unload"]
    assert len(objects) >= program.min_objects
    assert sum(event.when == "load" for event in objects) >= program.min_loaded
    assert {row.kind for row in process.destructors} >= program.kinds
    assert not process.faults
    assert (process.missed > 0) == program.left
    assert [row.order for row in process.destructors] == list(range(1, len(process.destructors) + 1))
    if process.counters:
        parts = ("success", "fallback", "violation", "contained", "unenforced")
        assert process.counters.ran == sum(getattr(process.counters, part) for part in parts)
        assert process.counters.ran == len(process.destructors)
        assert process.counters.lost == 0


def check_report(program: Program, report: str) -> None:
    """The report says what became of a program that did not simply exit."""
    assert report
    for child in program.children:
        assert re.search(rf"not followed \(.*\b{child}\b.*\); use --follow", report), report
    if program.replaced_by:
        assert f"replaced itself by {program.replaced_by}, which was not followed; use --follow" in report
    if program.signal:
        assert f"was ended by {program.signal}" in report

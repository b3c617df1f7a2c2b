"""Streams whose memory is a compartment's: buffers, cookies, environment strings. The same bytes as without us.

What stdio flushes it flushes for whoever printed, in whoever's destructor; the last of it after all destructors.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest

from ia2exit.events import Enter

from .watching import CONTAIN, CONTROL, ENFORCE, OBSERVE, Way, build, check_unnoticed, kept, library, run

STATUS = 7
OUTPUTS = ["full", "line", "library-full", "library-line", "unbuffered", "file", "cookie", "cookie-static"]
INPUTS = ["input", "cookie-input"]
CHILDREN = ["system", "popen", "spawn", "spawnp", "fork", "vfork", "exec"]

CASES = [(stream, action) for stream in OUTPUTS for action in ("none", "print", "flush", "flush-all", "fill", "close")]
CASES += [(stream, action) for stream in INPUTS for action in ("none", "read", "close")]
CASES += [(stream, action) for stream in ("full", "library-line") for action in [*CHILDREN, "warn"]]

every_case = pytest.mark.parametrize(("stream", "action"), CASES)


@pytest.fixture(scope="module")
def folder() -> Path:
    return kept("streams")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return build(folder, "streams.c", library(folder, "streams_library.c", name="libstreams.so"))


@every_case
def test_the_program_prints_something_of_each_part(program: Path, tmp_path: Path, stream: str, action: str) -> None:
    """The control: every part of the program speaks, so that silence would be seen."""
    outcome = run([program, stream, action], tmp_path)
    assert outcome.status == (4 if action == "exec" else STATUS)
    # Once the stream is closed that main prints to, nothing more comes out of it.
    closed = action == "close" and stream not in {"file", "cookie", "cookie-static", *INPUTS}
    assert (b"main prints last" in outcome.stdout) == (not closed and action != "exec")
    if action in CHILDREN:
        assert b": a static string of main\n" in outcome.stdout
    if action == "warn":
        assert outcome.stderr.count(b"Permission denied") == 2


@cache
def file_without(program: Path, stream: str, action: str) -> bytes | None:
    """What the program leaves in its file without us; None where it makes none."""
    with tempfile.TemporaryDirectory() as folder:
        run([program, stream, action], Path(folder))
        written = Path(folder) / "written"
        return written.read_bytes() if written.exists() else None


@every_case
@pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
def test_the_same_bytes(program: Path, tmp_path: Path, stream: str, action: str, way: Way) -> None:
    command: list[str | Path] = [program, stream, action]
    written = tmp_path / "written"
    without = file_without(program, stream, action)
    outcome = check_unnoticed(command, way, tmp_path / "trace")
    assert {event.unenforced for event in outcome.of(Enter)} == {None}, "closed it was, where anything is"
    assert (written.read_bytes() if written.exists() else None) == without
    assert (without is not None) == (stream == "file")

"""Traces: kept whole and valid, read with what is wrong counted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from running_programs import build, run

import ia2exit
from ia2exit import events
from ia2exit.running import trace

SCHEMA = json.loads((Path(events.__file__).parent / "schemas" / "events.schema.json").read_bytes())


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The events of a real run."""
    folder = tmp_path_factory.mktemp("trace")
    program = build(folder, "exits.c")
    done = run([program, "slow"], "--trace", folder / "kept")
    assert done.returncode == 4
    assert f"events are in {folder / 'kept'}".encode() in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["exits", "kept"]
    return (folder / "kept").read_bytes().splitlines(keepends=True)


def read(lines: list[bytes]) -> trace.Trace:
    return trace.read(io.BytesIO(b"".join(lines)))


def test_a_kept_trace_is_valid_and_whole(lines: list[bytes]) -> None:
    validator = Draft202012Validator(SCHEMA)
    documents = [json.loads(line) for line in lines]
    assert [str(error) for document in documents for error in validator.iter_errors(document)] == []
    assert (documents[0]["event"], documents[-1]["event"]) == ("start", "end")
    found = read(lines)
    assert (found.malformed, found.truncated, len(found.processes)) == (0, False, 1)


def test_a_trace_cut_in_mid_line_is_used_up_to_there(lines: list[bytes]) -> None:
    whole = read(lines).processes[0]
    for cut in (1, 20, len(lines[-1]) - 2):
        found = read([*lines[:-1], lines[-1][:cut]])
        assert (found.malformed, found.truncated) == (0, True)
        assert found.processes[0].destructors == whole.destructors
        assert found.processes[0].end is None


def test_every_cut_leaves_a_readable_rest(lines: list[bytes]) -> None:
    for number in range(len(lines)):
        found = read(lines[:number])
        assert (found.malformed, found.truncated) == (0, False)
        assert len(found.processes) == min(number, 1)


def test_lines_that_are_no_events_are_counted_and_the_rest_used(lines: list[bytes]) -> None:
    bad = [b"\n", b"not json\n", b'{"event":"nothing","pid":1,"tid":1,"t":1}\n', b"\xff\xfe\n", b'{"event":"end"}\n']
    found = read([lines[0], *bad, *lines[1:]])
    assert found.malformed == len(bad)
    assert found.why is not None
    assert found.why.startswith("line 2: ")
    assert found.processes == read(lines).processes


def test_an_older_trace_is_replaced_only_by_a_run(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("before")
    assert run(["no-such-program"], "--trace", kept).returncode == 2
    assert kept.read_text() == "before"
    assert ia2exit.run(["true"], trace=kept).trace == str(kept)
    assert read(kept.read_bytes().splitlines(keepends=True)).processes[0].end is not None
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]

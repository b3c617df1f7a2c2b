"""``ia2exit check`` on the command line: exit status, table, JSON and its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from checked_programs import mapped, program_of
from jsonschema import Draft202012Validator

import ia2exit
from ia2exit.checking import CheckResult, schema
from ia2exit.cli import main
from ia2exit.model import from_json, to_json

FILE = Path(ia2exit.__file__).parent / "schemas" / "check.schema.json"
VALIDATOR = Draft202012Validator(json.loads(FILE.read_bytes()))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program whose libtwo.so refers to data of libone.so."""
    use = "extern int counter; void two(void) { counter++; }"
    path = program_of(tmp_path, one="int counter = 1; void one(void) {}", two=use)
    (tmp_path / "map.json").write_bytes(to_json(mapped(path)))
    return path


def check(program: Path, *arguments: str) -> int:
    return main(["check", str(program), "--map", str(program.parent / "map.json"), *arguments])


def test_a_disagreement_is_exit_status_1_and_a_table(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(program) == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    words = " ".join(printed.out.split())
    assert words.startswith(f"crossing data {program.parent}/libtwo.so"[:30])
    assert "counter, data of libone.so, compartment 2 (one)" in words
    assert "expected: only its own compartment's code, and compartment 3 (two) is another" in words
    assert "found: libtwo.so refers to it" in words
    assert "--allow 'counter@libone.so'" in words
    first, last = printed.out.splitlines()[-2:]
    assert first == f"ia2exit: {program} does not agree with {program.parent}/map.json (ldd, symbols)"
    assert last.startswith("ia2exit: 5 objects, ")
    assert last.endswith(" compared: 1 crossing, 2 notes (-v shows notes)")


def test_agreement_is_exit_status_0_and_two_lines(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(program, "--allow", "counter@libone.so") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ia2exit: {program} agrees with {program.parent}/map.json (ldd, symbols)"
    assert lines[1].endswith(" compared: 2 notes, 1 allowed (-v shows notes)")
    assert check(program, "--only", "ldd") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" destructors compared: nothing found")


def test_verbose_shows_what_may_cross(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(program)
    assert "functions" not in capsys.readouterr().out
    check(program, "-v")
    assert "functions" in capsys.readouterr().out


def test_a_remedy_that_is_the_same_as_above_is_told_once(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exit_map = mapped(program)
    none = msgspec.structs.replace(exit_map, objects=[])
    (program.parent / "map.json").write_bytes(to_json(none))
    assert check(program, "--only", "ldd") == 1
    out = capsys.readouterr().out
    assert out.count("-> write the map again") == 1
    assert out.count("-> as above") == 4


def test_json_follows_the_schema_and_reads_back(program: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert check(program, "--json") == 1
    printed = capfdbinary.readouterr()
    assert printed.err == b""
    VALIDATOR.validate(json.loads(printed.out))
    result = from_json(printed.out, CheckResult)
    assert result == ia2exit.check(program, program.parent / "map.json")
    assert not result.agrees


def test_the_schema_is_what_the_records_say() -> None:
    assert FILE.read_bytes() == schema.text(), f"run: python -m ia2exit.checking.schema > {FILE.name}"
    Draft202012Validator.check_schema(json.loads(FILE.read_bytes()))


def test_every_member_is_needed_and_no_other_is_taken(program: Path) -> None:
    document: dict[str, Any] = json.loads(to_json(ia2exit.check(program, program.parent / "map.json")))
    VALIDATOR.validate(document)
    for member in document:
        assert not VALIDATOR.is_valid({key: value for key, value in document.items() if key != member}), member
    first = document["findings"][0]
    for member in first:
        less = {key: value for key, value in first.items() if key != member}
        assert not VALIDATOR.is_valid({**document, "findings": [less]}), member
    assert not VALIDATOR.is_valid({**document, "later": 1})
    assert not VALIDATOR.is_valid({**document, "findings": [{**first, "severity": "grave"}]})
    assert not VALIDATOR.is_valid({**document, "version": 2})


def line_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line on standard error of a command that fails with status 2."""
    assert main(["check", *map(str, arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("ia2exit: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("ia2exit: ").rstrip("\n")


def test_mistakes_get_one_line(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exit_map, nowhere = program.parent / "map.json", program.parent / "nowhere"
    assert line_of(capsys, program) == (
        f"{program}: no map to check it against; add --map MAP (ia2exit map writes one)"
    )
    assert line_of(capsys, program, "--map", nowhere).startswith(f"{nowhere}: cannot be read")
    assert line_of(capsys, program, "--map", program).startswith(f"{program}: expected an exit map in JSON or binary")
    assert line_of(capsys, nowhere, "--map", exit_map).startswith(f"{nowhere}: No such file or directory")
    assert line_of(capsys, program, nowhere, "--map", exit_map).startswith(f"{nowhere}: No such file or directory")
    assert line_of(capsys, program, "--map", exit_map, "--only", "trace") == (
        "--only trace: no trace, expected one; add --trace FILE"
    )
    assert line_of(capsys, program, "--map", exit_map, "--only", "ldd", "--trace", nowhere) == (
        "--only ldd: the trace would not be looked at; leave --trace or --only out"
    )
    assert line_of(capsys, program, "--map", exit_map, "--only", "ldd", "--allow", "a@b") == (
        "--only ldd: no symbol is looked at, so none can be allowed; leave --allow or --only out"
    )
    assert line_of(capsys, program, "--map", exit_map, "--allow", "a") == (
        '--allow "a": expected SYMBOL@OBJECT; write counter@libfoo.so.*'
    )


def test_help_names_the_groups_and_what_the_exit_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Groups: ldd compares what ld.so will load" in text
    assert "Exit status: 0 where all agree, 1 where there is an error or a crossing, 2 for input" in text

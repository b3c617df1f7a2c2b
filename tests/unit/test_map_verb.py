"""``ia2exit map``: files are written whole or not at all, the same bytes each time, and each mistake is one line."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import ia2exit
from ia2exit.cli import main
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap import as_binary, read_binary, read_map, write_output
from ia2exit.model import ExitMap

SCHEMA = json.loads((Path(__file__).parents[2] / "src/ia2exit/schemas/map.schema.json").read_text())
#: A program of every Debian: dynamic, with libc.
PROGRAM = shutil.which("cat") or "/bin/cat"
PACKAGES = {"PYTHONPATH": str(Path(ia2exit.__file__).parents[1])}


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "cat.toml"
    path.write_text('version = 1\nunlisted = "shared"\n[compartments.app]\nobjects = ["@main"]\n')
    return path


def test_a_map_is_written_and_read_back(tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "map.json"
    assert main(["map", "-p", str(policy), PROGRAM, "-o", str(output)]) == 0
    jsonschema.validate(json.loads(output.read_text()), SCHEMA)
    exit_map = read_map(output)
    assert isinstance(exit_map, ExitMap)
    assert exit_map == ia2exit.build_map(policy, PROGRAM)
    assert [item.name for item in exit_map.objects if item.main] == ["cat"]
    assert exit_map.unlisted == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "    1  app " in printed.err
    assert "cat (program)" in printed.err
    assert f"{output}: {output.stat().st_size:,} bytes written" in printed.err


def test_the_binary_form_holds_the_same(tmp_path: Path, policy: Path) -> None:
    output = tmp_path / "map.bin"
    assert main(["map", "-q", "--binary", "-p", str(policy), PROGRAM, "-o", str(output)]) == 0
    assert read_binary(output.read_bytes()) == as_binary(ia2exit.build_map(policy, PROGRAM))
    assert read_map(output) == read_binary(output.read_bytes())


@pytest.mark.parametrize("form", [[], ["--binary"], ["--note"]])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, policy: Path, form: list[str]) -> None:
    written = []
    for seed in ("1", "2"):
        output = tmp_path / f"map{seed}"
        command = [sys.executable, "-m", "ia2exit", "map", "-q", *form, "-p", str(policy), PROGRAM, "-o", str(output)]
        environment = os.environ | PACKAGES | {"PYTHONHASHSEED": seed}
        subprocess.run(command, env=environment, check=True, timeout=60)
        written.append(output.read_bytes())
    assert written[0] == written[1]
    assert written[0]


def test_without_an_output_file_the_map_goes_to_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["map", "-q", PROGRAM]) == 0
    printed = capfdbinary.readouterr()
    assert json.loads(printed.out)["version"] == 1
    assert printed.err == b""


def test_show_prints_the_summary_of_either_form(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ([], ["--binary"]):
        output = tmp_path / "map"
        assert main(["map", *form, "-p", str(policy), PROGRAM, "-o", str(output)]) == 0
        said = capsys.readouterr().err
        assert main(["map", "--show", str(output)]) == 0
        shown = capsys.readouterr().out
        assert "cat (program)" in shown
        assert said.startswith(shown)


def line_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line on standard error of a command that fails with status 2 and writes nothing."""
    assert main(["map", *map(str, arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("ia2exit: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("ia2exit: ").rstrip("\n")


def test_a_failed_map_leaves_an_older_one_alone(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "map.json"
    output.write_text("older")
    policy.write_text('version = 1\n[compartments.a]\nobjects = ["libnosuch.so.9"]\n')
    before = sorted(tmp_path.iterdir())
    assert 'no loaded object matches "libnosuch.so.9"' in line_of(capsys, "-p", policy, PROGRAM, "-o", output)
    assert output.read_text() == "older"
    assert sorted(tmp_path.iterdir()) == before


def test_mistakes_on_the_command_line_get_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = tmp_path / "nowhere" / "map.json"
    assert line_of(capsys) == "no PATH: expected a program, a shared object or a folder; name one"
    assert line_of(capsys, tmp_path / "none").startswith(f"{tmp_path}/none: ")
    assert line_of(capsys, PROGRAM, "-o", nowhere) == (
        f"{nowhere}: cannot be written (No such file or directory); choose another -o"
    )
    assert line_of(capsys, "-p", tmp_path / "none.toml", PROGRAM).startswith(f"{tmp_path}/none.toml: cannot be read")
    assert line_of(capsys, "--show", tmp_path / "none", PROGRAM) == (
        "--show FILE: takes no PATH, -p or -o; give the map alone"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(PROGRAM, folder)
    assert line_of(capsys, "--note", folder) == (
        f"{folder}: expected one object to write a note for; name a file first, not a folder"
    )


def test_a_program_that_cannot_be_covered_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, program = tmp_path / "static.c", tmp_path / "static"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static", source, "-o", program], check=True, timeout=60)
    line = line_of(capsys, program)
    assert line.startswith(f"{program}: the runtime cannot cover it (static program: ")
    assert line.endswith("expected a glibc program or shared object; name another")


def test_a_binary_map_does_not_go_to_a_terminal() -> None:
    controller, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ia2exit", "map", "--binary", PROGRAM],
            stdout=terminal,
            stderr=subprocess.PIPE,
            env=os.environ | PACKAGES,
            timeout=60,
            check=False,
        )
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.returncode == 2
    assert done.stderr == b"ia2exit: --binary: standard output is a terminal, expected a file; add -o FILE\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "x.json: expected an exit map in JSON or binary: "),
        (b"{", "x.json: expected an exit map in JSON or binary: "),
        (b"[]", "x.json: exit map: no version, expected version 1; write it again with: ia2exit map"),
        (b'{"version": 2}', "x.json: exit map: version 2, expected version 1; write it again with: ia2exit map"),
        (b'{"version": 1}', "x.json: exit map: Object missing required field `unlisted`; write it again"),
        (b"IA2EXIT\0", "x.json: binary exit map: 8 bytes, expected at least the 80 of the header; write it again"),
        (b"\xff\xfe", "x.json: expected an exit map in JSON or binary: "),
    ],
)
def test_a_file_that_is_no_map_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.json").write_bytes(content)
    with pytest.raises(Ia2exitError) as caught:
        read_map("x.json")
    assert str(caught.value).startswith(reason)


def test_output_goes_through_links_and_into_devices_and_keeps_permissions(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_output(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640
    write_output("/dev/null", b"gone")
    assert sorted(tmp_path.iterdir()) == [link, target]

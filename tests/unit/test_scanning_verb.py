"""``ia2exit scan`` as a user meets it: JSON, lines in a pipe, a table on a terminal, exit statuses, messages."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from elf_building import LIBRARY, build, command

import ia2exit
from ia2exit.model import ScanResult, from_json

MAIN = LIBRARY + "int main(void) { return start(); }"
CPP = '#include <string>\nstd::string word("a word that is too long for the small buffer");\n'


def _verb(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "ia2exit", "scan", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "100", **environment}
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=False, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program, a C and a C++ library, and one file that is cut off."""
    folder = tmp_path_factory.mktemp("verb")
    build(folder / "program", MAIN)
    build(folder / "libsmall.so", LIBRARY)
    content = build(folder / "libwords.so", CPP, language="cc").read_bytes()
    (folder / "cut.so").write_bytes(content[:3000])
    return folder


# JSON ----------------------------------------------------------------------------------------------------------


def _schema() -> dict[str, object]:
    text = resources.files("ia2exit").joinpath("schemas/scan.schema.json").read_text()
    schema: dict[str, object] = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


@pytest.mark.parametrize(
    "paths", [["."], ["program"], ["libwords.so", "--no-dependencies"], ["program", "--no-disassembly"]]
)
def test_json_follows_the_schema_and_decodes_to_what_scan_returned(folder: Path, paths: list[str]) -> None:
    arguments = [word if word.startswith("--") else folder / word for word in paths]
    done = _verb("--json", *arguments)
    assert done.returncode == 0
    jsonschema.Draft202012Validator(_schema()).validate(json.loads(done.stdout))
    expected = ia2exit.scan(
        folder / paths[0],
        dependencies=False if "--no-dependencies" in paths else None,
        disassemble="--no-disassembly" not in paths,
    )
    assert from_json(done.stdout, ScanResult) == expected
    assert any(scanned.destructors for scanned in expected.objects)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(version=2),
        lambda data: data.update(extra=1),
        lambda data: data["objects"][0].pop("defines_malloc"),
        lambda data: data["objects"][0].update(type="library"),
        lambda data: data["objects"][0]["destructors"][0].update(kind="exit"),
        lambda data: data["objects"][0]["destructors"][0].update(rva=16),
        lambda data: data["objects"][0]["destructors"][0].update(index=-1),
    ],
)
def test_the_schema_refuses_what_scan_never_prints(folder: Path, change: object) -> None:
    data = json.loads(_verb("--json", "--no-dependencies", folder / "program").stdout)
    assert callable(change)
    change(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(_schema()).validate(data)


def test_objects_of_the_distribution_follow_the_schema() -> None:
    done = _verb("--json", sys.executable, "/usr/bin/ld", "/usr/bin/env")
    jsonschema.Draft202012Validator(_schema()).validate(json.loads(done.stdout))
    kinds = {d.kind for scanned in from_json(done.stdout, ScanResult).objects for d in scanned.destructors}
    assert {"fini_array", "fini", "cxa_atexit"} <= kinds


@pytest.mark.parametrize("options", [[], ["--json"], ["--json", "--no-disassembly"]])
def test_one_process_or_several_print_the_same_bytes(folder: Path, options: list[str]) -> None:
    runs = [("1", "1"), ("2", "2"), ("2", "3")]
    one, two, again = (
        _verb("--jobs", jobs, folder, "/usr/bin/ld", *options, PYTHONHASHSEED=seed) for jobs, seed in runs
    )
    assert one.returncode == two.returncode == 0
    assert one.stdout == two.stdout == again.stdout
    assert "libwords.so" in one.stdout


# Text ----------------------------------------------------------------------------------------------------------


def test_lines_in_a_pipe_are_plain_and_aligned_one_for_each_destructor(folder: Path) -> None:
    done = _verb(folder)
    heading, *rows = done.stdout.splitlines()
    assert heading.split() == ["OBJECT", "KIND", "RVA", "FUNCTION", "FOUND"]
    assert "\x1b" not in done.stdout + done.stderr
    result = ia2exit.scan(folder)
    assert len(rows) == sum(max(1, len(scanned.destructors)) for scanned in result.objects)
    at = heading.index("KIND")
    assert {row[at - 1] for row in rows} == {" "}
    assert {row[at:].split()[0] for row in rows} == {d.kind for o in result.objects for d in o.destructors}
    assert re.search(r"libsmall\.so +atexit +0x\w+ +handler +(call|jmp) atexit at 0x\w+ in start$", done.stdout, re.M)
    assert re.search(
        r"libwords\.so +cxa_atexit +0x\w+ +std::\S+<.*>::~basic_string\(\) in libstdc\+\+\.so\.6 ", done.stdout
    )


def test_without_disassembly_only_tables_are_read(folder: Path) -> None:
    rows = _verb("--no-disassembly", "--no-dependencies", folder / "libwords.so").stdout.splitlines()[1:]
    assert rows
    assert {row.split()[1] for row in rows} == {"fini_array", "fini"}


def test_an_object_that_cannot_be_covered_says_why(tmp_path: Path) -> None:
    done = _verb("--no-disassembly", build(tmp_path / "program", MAIN, "-static"))
    assert re.search(
        r" \(cannot be covered\) +static program: no ld\.so, so no library can be preloaded\n", done.stdout
    )
    assert ", 1 object that cannot be covered," in done.stderr
    assert done.returncode == 0


def test_bad_files_of_a_folder_are_listed_and_counted_on_standard_error(folder: Path) -> None:
    done = _verb(folder)
    bad, summary = done.stderr.splitlines()
    assert re.fullmatch(rf"ia2exit: {folder}/cut\.so: a segment ends at byte 0x\w+, the file at 0xbb8; .*", bad)
    assert re.fullmatch(r"ia2exit: 3 objects, \d+ destructors \(.*\), 1 bad file, \d+\.\d s", summary)
    assert "cut.so" not in done.stdout
    assert done.returncode == 0


def test_a_name_cannot_steer_the_terminal_nor_break_a_line(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "lib\x1b[31m\nred.so"
    odd.write_bytes((folder / "libsmall.so").read_bytes())
    done = _verb("--no-disassembly", "--no-dependencies", odd)
    assert "lib\\x1b[31m\\nred.so" in done.stdout
    assert "\x1b" not in done.stdout
    assert all(line.count("fini") for line in done.stdout.splitlines()[1:])


def test_a_locale_without_utf8_is_no_reason_to_stop(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "libé.so"
    odd.write_bytes((folder / "libsmall.so").read_bytes())
    done = _verb("--no-disassembly", "--no-dependencies", odd, PYTHONIOENCODING="ascii")
    assert "lib\\xe9.so" in done.stdout
    assert done.returncode == 0


def test_a_reader_that_goes_away_gets_no_traceback(folder: Path) -> None:
    words = [sys.executable, "-m", "ia2exit", "scan", "--no-disassembly", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 141


def _on_a_terminal(*arguments: str | Path) -> tuple[str, int]:
    """What the verb writes to a terminal of 120 columns, and its exit status."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "ia2exit", "scan", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    written = b""
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        try:
            while block := os.read(ours, 65536):
                written += block
        except OSError:  # EIO: the other side has closed
            pass
        finally:
            os.close(ours)
    return written.decode(), process.returncode


def test_a_terminal_gets_a_table_and_a_progress_bar(folder: Path) -> None:
    written, status = _on_a_terminal(folder)
    assert status == 0
    assert "\x1b[" in written
    assert "scanning" in written
    assert "4/4" in written
    assert "shared-object" in written
    assert "handler" in written


# Messages and statuses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cut.so", "program.c", "none", "libsmall.so/"])
@pytest.mark.parametrize("options", [[], ["--json"], ["--no-disassembly"], ["--no-dependencies", "--jobs", "2"]])
def test_a_bad_file_by_name_is_one_line_and_status_2(folder: Path, name: str, options: list[str]) -> None:
    done = _verb(f"{folder}/{name}", folder / "program", *options)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"ia2exit: {re.escape(f'{folder}/{name}')}: [^\n]+\n", done.stderr)


def test_a_missing_dependency_is_one_line_and_status_2(tmp_path: Path) -> None:
    value = build(tmp_path / "libvalue.so", "int value(void) { return 1; }", "-Wl,-soname,libno-such.so.7")
    program = build(tmp_path / "program", "int value(void); int main(void) { return value(); }", value)
    value.unlink()
    done = _verb(program)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"ia2exit: {program}: needs libno-such.so.7, but ld.so's search finds no such file; ")
    assert done.stderr.count("\n") == 1


def test_a_table_that_leads_nowhere_is_one_line_and_status_2(folder: Path, tmp_path: Path) -> None:
    """Damage that only the scan itself finds, after all files have been opened."""
    data = bytearray((folder / "libsmall.so").read_bytes())
    printed = command("readelf", "-dW", folder / "libsmall.so")
    (fini,) = re.findall(r"\(FINI\) +(0x[0-9a-f]+)", printed)
    entry = (13).to_bytes(8, "little") + int(fini, 16).to_bytes(8, "little")
    at = data.index(entry)
    data[at + 8 : at + 16] = (8).to_bytes(8, "little")
    bad = tmp_path / "libbad.so"
    bad.write_bytes(data)
    done = _verb(bad)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"ia2exit: {bad}: DT_FINI is 0x8, expected an address in the object's code; .*\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: PATH"),
        (["--jobs", "0", "."], "argument -j/--jobs: '0' is no number of processes, expected 1 or more"),
        (["--jobs", "two", "."], "argument -j/--jobs: 'two' is no number of processes, expected 1 or more"),
        (["--dependencies", "--no-dependencies", "."], "not allowed with argument"),
    ],
)
def test_a_bad_command_line_says_what_is_wrong(arguments: list[str], message: str) -> None:
    done = _verb(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr

"""``ia2exit doctor`` as a user meets it, on this machine, whatever it has."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import ia2exit
from ia2exit.examining import Diagnosis
from ia2exit.model import from_json

SCHEMA = json.loads((Path(ia2exit.__file__).parent / "schemas" / "doctor.schema.json").read_bytes())
VERB = [sys.executable, "-m", "ia2exit", "doctor"]
GROUPS = ["backends", "keys", "kernel", "libc", "debugging", "guest"]


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The verb in a pipe."""
    merged = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | environment
    return subprocess.run([*VERB, *arguments], capture_output=True, text=True, timeout=120, check=False, env=merged)


def diagnosed(**environment: str) -> Diagnosis:
    """What it says as JSON, checked against the schema, and its exit status against what it says."""
    done = doctor("--json", **environment)
    assert done.stderr == ""
    Draft202012Validator(SCHEMA).validate(json.loads(done.stdout))
    diagnosis = from_json(done.stdout, Diagnosis)
    assert done.returncode == (0 if diagnosis.closes else 1)
    return diagnosis


@pytest.fixture(scope="module")
def here() -> Diagnosis:
    """Of the machine that the tests run on."""
    return diagnosed()


def test_the_function_says_what_the_verb_says(here: Diagnosis) -> None:
    assert ia2exit.doctor() == here


def test_memory_can_be_closed_where_these_tests_run(here: Diagnosis) -> None:
    assert "mprotect" in here.closes
    assert here.auto == here.closes[0]


def test_keys_are_used_where_the_machine_has_them_and_nowhere_else(here: Diagnosis) -> None:
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    assert flags is not None
    if "ospke" not in flags[1].split():
        assert "pku" not in here.closes
        assert here.compartments == 0
    assert ("pku" in here.closes) == (here.compartments > 0)
    assert (here.auto_why is None) == (here.auto == "pku")


def test_the_users_own_variables_do_not_change_what_the_machine_can_do(here: Diagnosis, tmp_path: Path) -> None:
    others = {
        "IA2_EXIT_BACKEND": "none",
        "IA2_EXIT_FORCE_LEGACY": "1",
        "IA2_EXIT_ALLOW_ALL": "1",
        "IA2_TRACE_EXIT": str(tmp_path / "trace"),
        "LC_ALL": "de_DE.UTF-8",
    }
    assert diagnosed(**others) == here
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_that_is_not_there_is_a_finding_and_exit_status_1(tmp_path: Path) -> None:
    diagnosis = diagnosed(IA2EXIT_LIBDIR=str(tmp_path))
    assert diagnosis.closes == []
    (preload,) = (check for check in diagnosis.checks if check.name == "preload")
    assert preload.state == "missing"
    assert f"{tmp_path}/libia2.so: no such file" in preload.found


def test_a_runtime_that_cannot_be_loaded_is_a_finding_in_the_words_of_ld_so(tmp_path: Path) -> None:
    (tmp_path / "libia2.so").write_text("no ELF file\n")
    diagnosis = diagnosed(IA2EXIT_LIBDIR=str(tmp_path))
    assert diagnosis.closes == []
    (preload,) = (check for check in diagnosis.checks if check.name == "preload")
    assert "cannot be preloaded" in preload.found


def test_what_a_guest_lacks_is_named_with_its_command(tmp_path: Path) -> None:
    checks = {check.name: check for check in diagnosed(PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path)).checks}
    assert checks["qemu-system-x86_64"].state == checks["kernel"].state == "missing"
    assert "apt-get install" in str(checks["qemu-system-x86_64"].remedy)
    assert checks["kernel"].remedy == "ia2exit vm --setup"


def test_a_table_in_a_pipe_has_all_checks_by_groups_fits_80_columns_and_has_no_colour(here: Diagnosis) -> None:
    done = doctor()
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout
    assert [line for line in lines if line in GROUPS] == GROUPS
    assert all(any(line.startswith(f"  {check.name} ") for line in lines) for check in here.checks)
    assert sum(line.startswith("ia2exit: ") for line in lines) == 2


def test_a_wider_table_is_as_wide_as_columns_says() -> None:
    assert max(map(len, doctor("--verbose", COLUMNS="140").stdout.splitlines())) in range(81, 141)


def test_a_terminal_gets_colour_unless_it_asks_not_to() -> None:
    for refusal, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", **refusal}
        done = subprocess.Popen(VERB, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:  # EIO: the other end is closed
            pass
        os.close(ours)
        assert done.wait(timeout=120) in (0, 1)
        assert (re.search(rb"\x1b\[[0-9;]*3[0-9]", written) is not None) == coloured


def test_with_standard_output_closed_the_exit_status_is_all() -> None:
    script = f"exec {' '.join(VERB)} >&-"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stderr, done.returncode) == ("", doctor("--json").returncode)


def test_help_says_what_the_exit_status_means() -> None:
    text = " ".join(doctor("--help").stdout.split())
    assert "Exit status: 0 where programs can be run under a backend that closes memory" in text

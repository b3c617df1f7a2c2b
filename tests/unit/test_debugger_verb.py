"""``ia2exit gdb``: how gdb and its program are started. The recipe of docs/exit-handling.md is run here, too."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from debugging import BACKENDS, HAS_KEYS, LIMIT, ROOT, build, environment, kept, verb
from runtime_running import RUNTIME

DOCS = (ROOT / "docs" / "exit-handling.md").read_text()
SCRIBBLE = ROOT / "examples" / "scribble"
#: Where the docs put the sample.
FOLDER = "/tmp/scribble"


@pytest.fixture(scope="module")
def debugged() -> Path:
    return build()


@pytest.fixture(scope="module")
def ledger() -> Path:
    with kept("scribble") as folder:
        subprocess.run(["make", "-s", "-C", SCRIBBLE, f"OUT={folder}"], timeout=LIMIT, check=True)
        return folder / "ledger"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_program_runs_under_the_runtime_and_gdb_does_not(debugged: Path, backend: str) -> None:
    look = "python import os; print(sorted(name for name in os.environ if name.startswith(('IA2_', 'LD_'))))"
    said = verb(["--backend", backend], [debugged], look, "break main", "run", "info compartments", "continue")
    assert "[]" in said.splitlines()
    assert f"backend {backend}" in said
    assert "exited with code 03" in said


def test_arguments_arrive_as_they_are_and_the_program_sees_no_trace_of_us(tmp_path: Path) -> None:
    words = ["a b", "*", "$HOME", "it's", ""]
    code = """import os, sys
open_files = [fd for fd in sorted(os.listdir("/proc/self/fd")) if int(fd) < 100]
print(sys.argv[1:], open_files, "LD_PRELOAD" in os.environ)
"""
    (tmp_path / "looks.py").write_text(code)
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\n[compartments.python]\nobjects = ["@main"]\n')
    said = verb(["-p", str(policy), "--mode", "observe"], ["/usr/bin/python3", tmp_path / "looks.py", *words], "run")
    assert f"{words} ['0', '1', '2', '3'] False" in said, "3 is what listdir has open; the trace is high up"


def test_a_script_is_debugged_in_its_interpreter(tmp_path: Path) -> None:
    program = tmp_path / "greets"
    program.write_text("#!/bin/sh -e\necho $0 $1 $-\n")
    program.chmod(0o755)
    said = verb([], [program, "you"], "run", "info exit-records")
    assert re.search(rf"^{program} you \w*e", said, re.M)


def test_a_policy_names_the_compartments(ledger: Path) -> None:
    said = verb(["-p", str(SCRIBBLE / "policy.toml")], [ledger], "break main", "run", "info compartments")
    assert re.search(r"^ 2  metrics +\S+ +read-write +\S+ +libmetrics\.so$", said, re.M)
    assert "mode enforce" in said


def test_events_go_where_they_are_wanted(debugged: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    verb(["--trace", str(trace)], [debugged], "run")
    assert trace.read_text().splitlines()[-1].startswith('{"event":"end"')


def test_the_script_to_source_is_printed() -> None:
    done = start("--print-script")
    assert Path(done.stdout.strip()).is_file()
    assert done.stdout.endswith("/debugger/gdb_commands/script.py\n")


def start(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The verb, with nothing added."""
    command = [sys.executable, "-m", "ia2exit", "gdb", *words]
    return subprocess.run(
        command,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--", "no-such-program"], "no-such-program: no such program in PATH"),
        (["--core", "/no/core"], "/no/core: no such file: expected a core file"),
        (["--mode", "enforce", "--backend", "none", "--", "true"], 'mode "enforce" with backend "none"'),
        ([], "no command"),
    ],
)
def test_what_cannot_be_started_is_refused_in_one_line(words: list[str], complaint: str) -> None:
    done = start(*words)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_machine_without_gdb_is_told_how_to_get_it(tmp_path: Path) -> None:
    done = start("--", "/bin/true", PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == "ia2exit: gdb: no such program in PATH: expected GDB 12 or later; apt-get install gdb\n"


def sessions() -> list[tuple[str, str]]:
    """The gdb sessions of the docs: the command line, and the transcript below it."""
    section = DOCS.partition("\n## GDB\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.M)
    found = []
    for block in blocks:
        lines = [line[4:] for line in block.splitlines()]
        begin = next((i for i, line in enumerate(lines) if line.startswith("$ ia2exit gdb")), None)
        if begin is not None:
            found.append((lines[begin][2:], "\n".join(lines[begin + 1 :])))
    return found


def in_common(text: str, folder: Path | str) -> list[str]:
    """A transcript without what differs from build to build and from machine to machine."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text.replace(f"{folder}/", ""))
    text = re.sub(r"(?<=\S) {2,}", "  ", text)
    text = re.sub(r"/\S*/(?=runtime/)|(?<=run\.c:)\d+|^\d+(?=\t)", "", text, flags=re.M)
    noise = re.compile(
        r"\[Thread debugging|Using host|\[Inferior|libia2\.so: |warning: |Function \"ia2|taken: |saved: |\s*$"
    )
    return [line.rstrip() for line in text.splitlines() if not noise.match(line)]


def test_the_docs_have_a_session_for_each_backend_that_closes() -> None:
    assert [re.findall(r"--backend (\w+)", command) for command, _ in sessions()] == [["pku"], ["mprotect"]]


@pytest.mark.debugger
@pytest.mark.parametrize("number", [0, 1] if HAS_KEYS else [1])  # the guest has them
def test_the_recipe_of_the_docs_does_what_the_docs_say(ledger: Path, number: int) -> None:
    command, transcript = sessions()[number]
    words = [word.replace(FOLDER, str(ledger.parent)) for word in shlex.split(command)]
    options, program = words[2 : words.index("--")], words[words.index("--") + 1 :]
    options = [str(ROOT / word) if word.startswith("examples/") else word for word in options]
    typed = re.findall(r"^\(gdb\) (.*)$", transcript, re.M)
    lines = [line for each in typed for line in (f"echo (gdb) {each}\\n", each)]
    said = verb(options, program, *lines)
    assert in_common(said, ledger.parent) == in_common(transcript, FOLDER)
    assert RUNTIME.is_file()

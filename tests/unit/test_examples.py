"""The samples of examples/ do what README.md says they do."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest
from running_programs import LIMIT, run, start

ROOT = Path(__file__).resolve().parents[2]
SCRIBBLE = ROOT / "examples" / "scribble"
README = (ROOT / "README.md").read_text()
#: Where README.md puts the sample.
FOLDER = "/tmp/scribble"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scribble")
    subprocess.run(["make", "-s", "-C", SCRIBBLE, f"OUT={folder}"], timeout=LIMIT, check=True)
    return folder / "ledger"


def report(text: str) -> list[str]:
    """What a report says of its violation, without the frames of libraries and the numbers of a build."""
    lines = [re.sub(r"0x[0-9a-f]+", "0x", line) for line in text.replace("\n    ", "\n").splitlines()]
    begin = next(index for index, line in enumerate(lines) if line.startswith("ia2exit: violation:"))
    end = next(index for index, line in enumerate(lines) if line.strip().startswith("or "))
    of_others = re.compile(r" \((libia2\.so|libc\.so\.6)\+0x\)$|\(\d+ frames of libia2\.so\)$")
    return [line.strip() for line in lines[begin : end + 1] if not of_others.search(line)]


def test_without_us_the_damage_is_silent(ledger: Path) -> None:
    done = start([ledger])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"taken: 3 orders\nsaved: 0 orders\n", b"")
    assert "    taken: 3 orders\n    saved: 0 orders\n" in README


def test_enforced_it_is_stopped_and_told_as_in_the_readme(ledger: Path) -> None:
    done = run([ledger], "-p", SCRIBBLE / "policy.toml", "--backend", "mprotect")
    assert done.returncode == -signal.SIGSEGV
    assert b"saved" not in done.stdout
    told = report(done.stderr.decode().replace(str(ledger.parent), FOLDER))
    assert told[0] == "ia2exit: violation: metrics_reset of libmetrics.so wrote to orders of ledger, compartment ledger"
    assert told == report(README)


def test_contained_the_ledger_is_saved_as_it_was(ledger: Path) -> None:
    done = run([ledger], "-p", SCRIBBLE / "policy.toml", "--backend", "mprotect", "--mode", "contain")
    assert (done.returncode, done.stdout) == (0, b"taken: 3 orders\nsaved: 3 orders\n")
    assert "<- abandoned" in done.stderr.decode()

"""The suites that a lane runs, C and Python, each with its results in a JUnit file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for each part.
LIMIT = 3000


def c_tests(build: Path, report: Path, selection: list[str], **environment: str) -> None:
    """Some of the C tests, through ctest."""
    jobs = str(os.cpu_count() or 1)
    options = ["--no-tests=error", "-j", jobs, *selection, "--timeout", str(LIMIT), "--output-junit", str(report)]
    _run(["ctest", *options], build, report, _environment(build, **environment))


def pytest(build: Path, report: Path, selection: list[str], **environment: str) -> None:
    """Some of the Python tests; an emulated CPU is slow, so no test is ended for that."""
    options = ["-q", "-n", str(os.cpu_count() or 1), "-p", "no:cacheprovider", "--timeout", str(LIMIT)]
    command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *selection]
    _run(command, ROOT, report, _environment(build, **environment))


def prepare(build: Path, others: list[str]) -> None:
    """Compile here what a lane would compile: an emulated CPU takes minutes for that, and another glibc's linker output
    is not for the host: programs, by the fixtures of tests/enforcement and of the tests ``others``, and Python.

    Every module of tests/enforcement has one of its tests for the backend ``none`` or ``mprotect``, which any machine
    collects.
    """
    pytest = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider"]
    commands = [
        [*pytest, "--setup-only", "-m", "enforces or enforced", "tests/enforcement"],
        *([[*pytest, "--setup-only", *others]] if others else []),
        [sys.executable, "-m", "compileall", "-q", "src", "tests"],
    ]
    for command in commands:
        done = subprocess.run(
            command, cwd=ROOT, env=_environment(build), capture_output=True, text=True, timeout=LIMIT, check=False
        )
        if done.returncode != 0:
            print(f"what the lane needs is compiled there, not here: {done.stdout.strip()[-2000:]}")


def _environment(build: Path, **more: str) -> dict[str, str]:
    """Compiled Python is kept: pytest would rewrite itself and its plugins at each start, two seconds here and a minute
    on an emulated CPU.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "IA2EXIT_LIBDIR": str(build), "PYTHONPATH": str(ROOT / "src"), **more}


def _run(command: list[str], folder: Path, report: Path, environment: dict[str, str]) -> None:
    """What is meant to fail goes into a file beside its report: nobody should take it for a failure."""
    if not report.stem.endswith("-unswitched"):
        subprocess.run(command, cwd=folder, env=environment, timeout=LIMIT, check=False)
        return
    said = report.with_suffix(".log")
    print(f"{report.stem}: with a runtime that closes nothing; each must fail, and says so in {said}", flush=True)
    with said.open("wb") as log:
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=LIMIT, check=False)

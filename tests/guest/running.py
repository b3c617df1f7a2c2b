"""Runs a lane and says what came of it; its results lie in BUILD/lanes/NAME."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .judging import Lane
from .suites import LIMIT, ROOT

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
#: A command line.
Command = Sequence[str | Path]


def new_results(build: Path, name: str) -> Path:
    """An empty folder for the results of a lane."""
    results = build / "lanes" / name
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    return results


def skip(results: Path, why: str, *, may_be: bool) -> int:
    """The lane cannot run here: its exit status. ``may_be``: even in CI, since not every machine can."""
    (results / "skipped").write_text(why)
    print(f"lane {results.name}: skipped: {why}", flush=True)
    return 1 if IN_CI and not may_be else 0


def carry_out(results: Path, commands: Iterable[Command], judge: Callable[[str, Path], Lane]) -> int:
    """Run the lane's commands, whatever becomes of them, and have the results judged. Returns the lane's status."""
    name = results.name
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    statuses = [_wait(subprocess.Popen(command, cwd=ROOT, env=environment)) for command in commands]
    (results / "seconds").write_text(f"{time.monotonic() - began:.0f}")
    lane = judge(name, results)
    print(f"lane {name}: {lane.seconds} s on {lane.place}")
    for problem in lane.problems:
        print(f"lane {name}: {problem}")
    status = next((status for status in statuses if status != 0), 0)
    if status != 0:
        print(f"lane {name}: ended with status {status}")
    (results / "status").write_text(str(status))
    return 1 if lane.problems or status != 0 else 0


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The status of a command; whoever ends us ends it, too, in the way that it needs to end its guest."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return process.wait(timeout=LIMIT + 600)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)

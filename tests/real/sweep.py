"""Every program of a folder, asked for its version with and without the runtime: does any of them notice?

    python tests/real/sweep.py /usr/bin

It takes minutes and depends on what is installed, so it is no part of the tests: it is for a look before a release.
A program that differs is run a second time without the runtime, and only counted where that run agrees with the first.
Exit status 1 when one differs, or when a trace breaks off, holds a line that is no event, or has a ``fault`` in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from ia2exit.errors import Ia2exitError
from ia2exit.events import AnyEvent, End, Enter, Exec, Fault
from ia2exit.native import runtime_library
from ia2exit.running.program import resolve
from ia2exit.running.trace import parse

#: Seconds for one run.
LIMIT = 10
#: What changes the machine, the terminal or somebody's password, or never ends, whatever it is asked; and ld.so itself.
_LEFT_OUT = """
    chfn chsh clear halt init ld.so login mount newgrp passwd poweroff reboot reset screen script scriptlive shutdown su
    sudo systemctl telinit tmux top tset umount watch yes
"""
LEFT_OUT = frozenset(_LEFT_OUT.split())

Outcome = tuple[int | None, bytes, bytes]


def run(program: Path, environment: dict[str, str], folder: str) -> Outcome:
    """Status (None: it took too long), standard output and standard error of ``program --version``."""
    try:
        done = subprocess.run(
            [program, "--version"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return None, b"", b""
    return done.returncode, done.stdout, done.stderr


def coverable(path: Path) -> bool:
    """Whether it is a program that the runtime can be loaded into (scripts are left to their interpreters)."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                return False
        resolve([str(path)], os.environ)
    except (OSError, Ia2exitError):
        return False
    return True


def wrong_with(trace: Path) -> tuple[str | None, int]:
    """What is wrong with a trace, if anything, and how many destructors it tells of."""
    events: list[AnyEvent] = []
    try:
        events = [parse(line) for line in trace.read_bytes().splitlines()]
    except (msgspec.MsgspecError, ValueError) as error:
        return f"a line is no event: {error}", 0
    except FileNotFoundError:
        return "no trace", 0
    ran = sum(isinstance(event, Enter) for event in events)
    for event in events:
        if isinstance(event, Fault):
            return f"fault: {event.what} {event.detail}", ran
    ended = isinstance(events[-1], End) or any(isinstance(event, Exec) and not event.child for event in events)
    return (None if ended else "the trace breaks off"), ran


def main(folders: list[str]) -> int:
    """Sweep the folders. Returns the exit status."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        trace = Path(scratch) / "trace"
        plain = {name: value for name, value in os.environ.items() if not name.startswith("IA2_")}
        ours = plain | {"LD_PRELOAD": str(runtime_library()), "IA2_TRACE_EXIT": str(trace), "IA2_EXIT_SCRUB": "1"}
        for path in sorted(path for folder in folders for path in Path(folder).iterdir()):
            if path.name in LEFT_OUT or not path.is_file() or not os.access(path, os.X_OK) or not coverable(path):
                continue
            counts["programs"] += 1
            without = run(path, plain, scratch)
            trace.unlink(missing_ok=True)
            with_us = run(path, ours, scratch)
            wrong, ran = wrong_with(trace)
            counts["destructors"] += ran
            if without != with_us and without == run(path, plain, scratch):
                wrong = f"status {without[0]} without us, {with_us[0]} with us, or its output differs"
            if wrong and None not in (without[0], with_us[0]):
                counts["wrong"] += 1
                print(f"{path}: {wrong}", flush=True)
    print(f"{counts['programs']} programs, {counts['wrong']} wrong, {counts['destructors']:,} destructors ran")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["/usr/bin"]))

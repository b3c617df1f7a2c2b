"""Every program of a folder, asked for its version with and without the runtime: does any of them notice?

    python tests/real/sweep.py [--backend BACKEND] [--mode MODE] [FOLDER …]

It takes minutes and depends on what is installed, so it is no part of the tests: it is for a look before a release.
Every object is in a compartment of its own; what crosses is summed up at the end, the most frequent first. With
``--mode enforce`` a program that a violation ended is counted as stopped: that is no fault of the runtime's.
A program that differs is run a second time without the runtime, and only counted where that run agrees with the first.
Exit status 1 when one differs, or when a trace breaks off, holds a line that is no event, or has a ``fault`` in it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec

from ia2exit.errors import Ia2exitError
from ia2exit.events import AnyEvent, End, Enter, Exec, Fault, Violation
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


class Told(NamedTuple):
    """What a trace tells."""

    #: What is wrong with it, if anything.
    wrong: str | None
    ran: int
    #: (compartment, compartment that it touched), once for each touch.
    crossings: list[tuple[str, str]]
    #: Whether a violation ended the program.
    stopped: bool


def told_by(trace: Path) -> Told:
    """Read a trace."""
    events: list[AnyEvent] = []
    try:
        events = [parse(line) for line in trace.read_bytes().splitlines()]
    except (msgspec.MsgspecError, ValueError) as error:
        return Told(f"a line is no event: {error}", 0, [], False)
    except FileNotFoundError:
        return Told("no trace", 0, [], False)
    ran = sum(isinstance(event, Enter) for event in events)
    violations = [event for event in events if isinstance(event, Violation)]
    crossings = [(_culprit(event), event.victim_name or "?") for event in violations]
    stopped = any(event.action == "ended" for event in violations)
    for event in events:
        if isinstance(event, Fault):
            return Told(f"fault: {event.what} {event.detail}", ran, crossings, stopped)
    ended = isinstance(events[-1], End) or any(isinstance(event, Exec) and not event.child for event in events)
    return Told(None if ended else "the trace breaks off", ran, crossings, stopped)


def _culprit(event: Violation) -> str:
    return (event.destructor.owner_name if event.destructor else None) or "?"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", choices=("auto", "none", "mprotect", "pku"), default="auto")
    parser.add_argument("--mode", choices=("observe", "enforce", "contain"), default="observe")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("/usr/bin")], metavar="FOLDER")
    return parser.parse_args()


def main() -> int:
    """Sweep the folders. Returns the exit status."""
    options = arguments()
    counts: Counter[str] = Counter()
    crossings: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        trace = Path(scratch) / "trace"
        plain = {name: value for name, value in os.environ.items() if not name.startswith("IA2_")}
        ours = plain | {
            "LD_PRELOAD": str(runtime_library()),
            "IA2_TRACE_EXIT": str(trace),
            "IA2_EXIT_SCRUB": "1",
            "IA2_EXIT_BACKEND": options.backend,
            "IA2_EXIT_MODE": options.mode,
        }
        for path in sorted(path for folder in options.folders for path in folder.iterdir()):
            if path.name in LEFT_OUT or not path.is_file() or not os.access(path, os.X_OK) or not coverable(path):
                continue
            counts["programs"] += 1
            without = run(path, plain, scratch)
            trace.unlink(missing_ok=True)
            with_us = run(path, ours, scratch)
            told = told_by(trace)
            counts["destructors"] += told.ran
            counts["stopped"] += told.stopped
            crossings.update(set(told.crossings))
            wrong = told.wrong
            if without != with_us and not told.stopped and without == run(path, plain, scratch):
                wrong = f"status {without[0]} without us, {with_us[0]} with us, or its output differs"
            if wrong and None not in (without[0], with_us[0]):
                counts["wrong"] += 1
                print(f"{path}: {wrong}", flush=True)
    for (culprit, victim), programs in crossings.most_common():
        print(f"{programs:5} programs: {culprit} touches {victim}")
    print(
        f"{counts['programs']} programs, {counts['wrong']} wrong, {counts['stopped']} stopped by a violation, "
        f"{counts['destructors']:,} destructors ran"
    )
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())

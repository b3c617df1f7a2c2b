"""Runs of the programs of this folder under the backend ``pku``, and what they tell about their rights."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ia2exit.events import AnyEvent, CompartmentCounts, Counters, Enter, Fault, Leave, Object, Start, Violation
from ia2exit.running.trace import parse

BUILD = Path(os.environ.get("IA2EXIT_LIBDIR", Path(__file__).resolve().parents[2] / "build")).resolve()
PROGRAMS = BUILD / "tests" / "pku"
#: Another runtime than the one that was built, to see what tests say of it (tests/guest).
RUNTIME = Path(os.environ.get("IA2EXIT_TEST_RUNTIME", BUILD / "libia2.so")).resolve()
PLUGIN = PROGRAMS / "pku_plugin.so"
#: Seconds until a program that hangs is ended; an emulated CPU is slow.
LIMIT = 120
#: Functions that tell their rights and are no destructors that the runtime sees.
UNSEEN = {"resting", "between", "body"}
#: The bit of each key that denies all access.
NO_ACCESS = 0x55555555


def only(pkru: int, key: int) -> bool:
    """Whether key 0 and ``key`` are open in that value and no other key can be read or written (rights.h)."""
    opened = 3 | 3 << (2 * key)
    return pkru & opened == 0 and pkru & NO_ACCESS == NO_ACCESS & ~opened


@dataclass(frozen=True)
class Told:
    """What a function of the program told about its rights (rights.h)."""

    name: str
    #: The register.
    pkru: int
    #: The key of its own page.
    key: int
    #: The key of its stack.
    stack: int
    address: int


def _told(line: str) -> Told | str:
    fields = line.split()
    if len(fields) == 5 and fields[1].startswith("0x"):
        return Told(fields[0], int(fields[1], 16), int(fields[2]), int(fields[3]), int(fields[4], 16))
    return line


@dataclass(frozen=True)
class Run:
    """What one run left behind."""

    status: int
    stdout: str
    stderr: str
    events: list[AnyEvent] = field(default_factory=list)

    @property
    def said(self) -> list[str]:
        """The lines of the program: the name of who told its rights, or the line as it is."""
        return [line.split(" 0x")[0] for line in self.stdout.splitlines()]

    @property
    def told(self) -> list[Told]:
        """Who told its rights, in order."""
        return [told for line in self.stdout.splitlines() if isinstance(told := _told(line), Told)]

    @property
    def entered(self) -> list[Enter]:
        """What ran."""
        return [event for event in self.events if isinstance(event, Enter)]

    @property
    def violations(self) -> list[Violation]:
        """Touches of closed memory."""
        return [event for event in self.events if isinstance(event, Violation)]

    @property
    def counters(self) -> Counters:
        """The counters of the one process that wrote any."""
        (found,) = (event for event in self.events if isinstance(event, Counters))
        return found

    @property
    def compartments(self) -> list[CompartmentCounts]:
        """The same for each compartment."""
        return [event for event in self.events if isinstance(event, CompartmentCounts)]

    @property
    def start(self) -> Start:
        """The first line."""
        return next(event for event in self.events if isinstance(event, Start))

    def compartment_of(self, name: str) -> int:
        """Number of the compartment of an object, by the end of its path."""
        (found,) = {e.compartment for e in self.events if isinstance(e, Object) and e.path.endswith("/" + name)}
        return found


def run(*command: str | Path, preload: bool = True, under: Sequence[str | Path] = (), **environment: str) -> Run:
    """Run a program of this folder in mode ``enforce``, backend ``pku``, with a trace; ``environment`` overrules.

    ``under``: strace and its options; it does not get the runtime itself.
    """
    program, *arguments = command
    with tempfile.TemporaryFile() as trace:
        given = {
            "PATH": "/usr/bin:/bin",
            "IA2_EXIT_BACKEND": "pku",
            "IA2_EXIT_MODE": "enforce",
            "IA2_TRACE_EXIT": f"fd:{trace.fileno()}",
            **({"LD_PRELOAD": str(RUNTIME)} if preload else {"LD_LIBRARY_PATH": str(RUNTIME.parent)}),
            **environment,
        }
        if under:
            under = [*under, *(word for item in given.items() for word in ("-E", "=".join(item)))]
            given = {"PATH": given["PATH"]}
        done = subprocess.run(
            [*under, PROGRAMS / program, *arguments],
            env=given,
            pass_fds=[trace.fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        trace.seek(0)
        lines = trace.read().splitlines()
    return Run(done.returncode, done.stdout, done.stderr, [parse(line) for line in lines])


def orderly(outcome: Run, status: int = 3, faults: int = 0) -> Run:
    """The program found nothing wrong, and no event says otherwise (but for so many faults); gives the run back."""
    assert outcome.stderr == ""
    assert outcome.status == status
    assert outcome.start.backend == "pku"
    assert not outcome.start.virtual
    assert len([event for event in outcome.events if isinstance(event, Fault)]) == faults
    assert outcome.violations == []
    return outcome


def agrees(outcome: Run) -> None:
    """Every value of the register that a destructor read is the one that its event gives, and it is put back."""
    wanted: dict[int, set[int | None]] = {}
    for event in outcome.entered:
        wanted.setdefault(event.function.address, set()).add(event.pkru_wanted)
    for told in outcome.told:
        if told.name not in UNSEEN:
            assert wanted[told.address] == {told.pkru}, told
    before = {event.seq: event.pkru_before for event in outcome.entered}
    for leave in outcome.events:
        if isinstance(leave, Leave):
            assert leave.pkru_after == before[leave.seq]

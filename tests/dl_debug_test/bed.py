"""Runs of the test bed, each made once: linked with libia2.so, preloaded into the vanilla build, and vanilla."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pytest

from ia2exit.events import AnyEvent, Enter, Start
from ia2exit.model import ExitMap, from_json
from ia2exit.running.trace import parse

HERE = Path(__file__).parent
BUILD = Path(os.environ.get("IA2EXIT_LIBDIR", HERE.parents[1] / "build"))
BED = BUILD / "tests" / "dl_debug_test"
PROGRAM = BED / "dl_debug_test"
VANILLA = BED / "dl_debug_test_vanilla"
MAP = BED / "dl_debug_test.map"
#: Scenario -> status, from the table in scenarios.c.
SCENARIOS = dict(re.findall(r'^    \{"([a-z-]+)", (-?\w+), "', (HERE / "scenarios.c").read_text(), flags=re.MULTILINE))
#: Seconds until a scenario that hangs is ended.
LIMIT = 30


@dataclass(frozen=True)
class Run:
    """What one run of a scenario left behind."""

    status: int
    stdout: bytes
    stderr: bytes
    #: The program's own lines (log.h).
    log: list[str]
    #: The runtime's lines, without their ends.
    lines: list[bytes] = field(default_factory=list)

    @property
    def events(self) -> list[AnyEvent]:
        """The lines, decoded."""
        return [parse(line) for line in self.lines]

    @property
    def entered(self) -> list[Enter]:
        """What ran, in the order of the trace."""
        return [event for event in self.events if isinstance(event, Enter)]

    @property
    def virtual(self) -> bool:
        """Whether the PKRU values are computed, not the register's."""
        return next(event.virtual for event in self.events if isinstance(event, Start))


def execute(program: Path, scenario: str, folder: Path, **environment: str) -> Run:
    """Run ``program scenario`` with nothing in its environment but PATH, the log, and ``environment``."""
    log = folder / "log"
    trace = folder / "trace"
    with log.open("wb") as stream:
        done = subprocess.run(
            [program, scenario],
            env={"PATH": "/usr/bin:/bin", "DL_DEBUG_LOG_FD": str(stream.fileno()), **environment},
            pass_fds=[stream.fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
    lines = trace.read_bytes().splitlines() if trace.exists() else []
    return Run(done.returncode, done.stdout, done.stderr, log.read_text().splitlines(), lines)


def _environment(build: str, folder: Path, scenario: str) -> dict[str, str]:
    """``linked``, ``preloaded`` or ``vanilla``, with the backend and mode that are the default where a map is given.

    ``-off`` turns tracing off, and the map with it; ``-none`` closes nothing; ``-enforce`` and so on ask for a mode;
    ``-legacy`` asks for the way back.
    """
    kind, *how = build.split("-")
    environment: dict[str, str] = {}
    if kind == "preloaded":
        environment["LD_PRELOAD"] = str(BUILD / "libia2.so")
    if kind != "vanilla" and "off" not in how:
        environment |= {"IA2_TRACE_EXIT": str(folder / "trace"), "IA2_EXIT_MAP": str(MAP)}
        if scenario == "fork":
            environment["IA2_EXIT_FOLLOW"] = "1"
    if "none" in how:
        environment |= {"IA2_EXIT_BACKEND": "none", "IA2_EXIT_MODE": "observe"}
    if "legacy" in how:
        environment["IA2_EXIT_FORCE_LEGACY"] = "1"
    for mode in {"observe", "enforce", "contain"} & set(how):
        environment["IA2_EXIT_MODE"] = mode
    return environment


class Bed:
    """The runs of this session, by build and scenario."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._runs: dict[tuple[str, str], Run] = {}

    def run(self, build: str, scenario: str) -> Run:
        """The run of ``scenario`` in ``build``: made when it is first asked for."""
        key = build, scenario
        if key not in self._runs:
            folder = self._folders.mktemp(f"{build}-{scenario}")
            program = PROGRAM if build.startswith("linked") else VANILLA
            self._runs[key] = execute(program, scenario, folder, **_environment(build, folder, scenario))
        return self._runs[key]


@lru_cache(maxsize=1)
def exit_map() -> ExitMap:
    """The exit map that the build emitted."""
    return from_json(MAP.with_name(MAP.name + ".json").read_bytes(), ExitMap)

"""IA2_EXIT_FORCE_LEGACY=1, the way back: programs behave as without us, nothing is recorded, and that is said.

A mode and a map change nothing: who needs the way back has asked for enforcement before.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from enforcing import make_map
from real_programs import PROGRAMS, Covered, Program, check_lines, check_same, run, run_covered

from ia2exit.events import Exec, Exit, Start
from ia2exit.exitmap import write_binary
from ia2exit.running import Process

SAID = b"libia2.so: IA2_EXIT_FORCE_LEGACY=1: nothing is recorded, and exit drops all protection\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_way_back(name: str, tmp_path: Path) -> None:
    program, exit_map = PROGRAMS[name], tmp_path / "map"
    exit_map.write_bytes(write_binary(make_map(program, {})))
    vanilla = run(program, [], tmp_path / "run")
    options = ["--mode", "enforce", "--map", str(exit_map)]
    ours = run_covered(program, options, tmp_path / "run", variables={"IA2_EXIT_FORCE_LEGACY": "1"})

    check_same(program, vanilla, ours, said=1)
    assert ours.done.stderr.startswith(SAID)
    check_nothing_recorded(program, check_lines(ours.lines), ours)


def check_nothing_recorded(program: Program, process: Process, ours: Covered) -> None:
    """Of destructors there is no word, only of the way from the start to the exit; the report says why."""
    assert process.start
    assert process.start.backend == "legacy"
    seen = [type(event) for event in ours.events if not isinstance(event, Exec)]
    assert seen == ([Start] if program.left else [Start, Exit])
    warning = f"(pid {process.pid}): IA2_EXIT_FORCE_LEGACY=1: all memory was open for the whole exit and no destructor"
    (found,) = (line for line in ours.report.splitlines() if "WARNING" in line)
    assert warning in found
    if not program.left:
        assert "without passing any exit" not in ours.report

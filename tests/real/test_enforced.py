"""Programs of the distribution under enforcement: policies of a few lines, no violation, nothing that they notice."""

from __future__ import annotations

from pathlib import Path

import pytest
from enforcing import make_map
from real_programs import PROGRAMS, Covered, Program, check_lines, check_same, run, run_covered

from ia2exit.events import CompartmentCounts, Enter
from ia2exit.exitmap import write_binary
from ia2exit.running import Process


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_violation(name: str, passengers: dict[str, Path], tmp_path: Path) -> None:
    program, preloaded, exit_map = PROGRAMS[name], [*passengers.values()], tmp_path / "map"
    exit_map.write_bytes(write_binary(make_map(program, passengers)))
    vanilla = run(program, [], tmp_path / "run", preloaded)
    options = ["--mode", "enforce", "--backend", "mprotect", "--map", str(exit_map)]
    ours = run_covered(program, options, tmp_path / "run", preloaded)

    process = check_lines(ours.lines)
    assert process.violations == []
    assert process.faults == []
    check_same(program, vanilla, ours)
    assert process.start
    assert (process.start.backend, process.start.mode, process.start.allow_all) == ("mprotect", "enforce", False)
    if program.left:
        assert process.destructors == [], "it ended without running any"
    else:
        check_destructors(program, process, ours)


def check_destructors(program: Program, process: Process, ours: Covered) -> None:
    """All that ran, ran with its owner's memory open and all other closed, unless other threads were alive."""
    counters = process.counters
    assert counters
    assert (counters.violation, counters.contained, counters.fallback, counters.bypassed) == (0, 0, 0, 0)
    compartments = [event for event in ours.events if isinstance(event, CompartmentCounts)]
    assert sum(compartment.ran for compartment in compartments) == counters.ran
    assert sum(bool(compartment.id and compartment.ran) for compartment in compartments) >= 3
    reasons = {event.unenforced for event in ours.events if isinstance(event, Enter)}
    if program.threads:
        assert reasons == {"threads"}
        assert (counters.success, counters.unenforced) == (0, counters.ran)
    else:
        assert reasons == {None}
        assert (counters.success, counters.unenforced) == (counters.ran, 0)
        assert counters.switches > 0
        assert counters.mprotect > 0

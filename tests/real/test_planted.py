"""A library planted into programs of the distribution: its destructor touches what is not its own, and is stopped.

The control is the same plant with nothing closed: it gets what it came for, and nobody notices.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from planting import Plot, plot
from real_programs import PROGRAMS, Covered, check_lines, check_same

from ia2exit.events import End, Enter, Violation

#: The programs that run destructors.
NAMES = [name for name, program in PROGRAMS.items() if not program.left]
#: Those that leave no thread behind, which would keep everything open.
CLOSED = [name for name in NAMES if not PROGRAMS[name].threads]
#: Those that do.
THREADS = [name for name in NAMES if PROGRAMS[name].threads]
#: Number of the system call that the plant passes its victim to: write (x86-64).
WRITE = 1

every_plot = pytest.mark.parametrize(
    ("way", "victim"), [("READS", "program"), ("WRITES", "program"), ("READS", "library"), ("WRITES", "library")]
)


def said(planted: Plot) -> int:
    """Lines that the runtime writes to standard error about a plant that it stops."""
    return 0 if planted.program.closes_stderr else 1


def check_violation(planted: Plot, covered: Covered, action: str) -> None:
    """There is one violation, and it names who did what to whom."""
    (found,) = (event for event in covered.events if isinstance(event, Violation))
    assert found.action == action
    assert not found.handler
    assert found.destructor
    assert (found.destructor.kind, found.destructor.owner_name) == ("fini_array", "plant")
    assert found.destructor.function.object == str(planted.plant)
    assert found.victim_name == planted.victim.compartment
    assert found.address
    assert found.address.object
    assert Path(found.address.object).samefile(planted.victim.path)
    assert found.address.rva == planted.victim.rva
    assert found.access == ("write" if planted.way == "WRITES" else "read")
    assert (found.via, found.syscall) == (("syscall", WRITE) if planted.way == "PASSES" else ("instruction", None))
    if planted.way != "PASSES":
        assert found.instruction.object == str(planted.plant)
        assert found.stack[0].address == found.instruction.rva
    lines = [line for line in covered.done.stderr.decode().splitlines() if line.startswith("libia2.so: violation: ")]
    assert len(lines) == said(planted)
    for text in (*lines, covered.report):
        assert planted.plant.name in text
        assert planted.victim.compartment in text


def check_stopped(planted: Plot, *options: str) -> None:
    """Under enforcement the plant gets nothing, and the program ends where it tries."""
    ours = planted.run("--mode", "enforce", "--backend", "mprotect", *options)
    assert ours.done.returncode == -signal.SIGSEGV, ours
    assert not planted.loot.exists()
    check_lines(ours.lines)
    check_violation(planted, ours, "ended")
    assert [(event.how, event.status) for event in ours.events if isinstance(event, End)] == [("signal", None)]


@every_plot
@pytest.mark.parametrize("name", CLOSED)
def test_a_plant_is_stopped(name: str, way: str, victim: str, passengers: dict[str, Path], tmp_path: Path) -> None:
    check_stopped(plot(PROGRAMS[name], way, victim, passengers, tmp_path))


@pytest.mark.parametrize("name", CLOSED)
def test_a_plant_that_has_the_kernel_read_is_stopped(name: str, passengers: dict[str, Path], tmp_path: Path) -> None:
    check_stopped(plot(PROGRAMS[name], "PASSES", "library", passengers, tmp_path))


@pytest.mark.parametrize("name", CLOSED)
def test_a_plant_is_abandoned_and_the_rest_goes_on(name: str, passengers: dict[str, Path], tmp_path: Path) -> None:
    planted = plot(PROGRAMS[name], "WRITES", "library", passengers, tmp_path)
    vanilla = planted.without_us()
    ours = planted.run("--mode", "contain", "--backend", "mprotect")
    check_same(planted.program, vanilla, ours, said=said(planted))
    assert not planted.loot.exists()
    counters = check_lines(ours.lines).counters
    assert counters
    assert (counters.contained, counters.success) == (1, counters.ran - 1)
    check_violation(planted, ours, "abandoned")


@pytest.mark.parametrize("name", [name for name in THREADS if not PROGRAMS[name].deaf])
def test_a_plant_is_stopped_where_threads_are_parked(name: str, passengers: dict[str, Path], tmp_path: Path) -> None:
    check_stopped(plot(PROGRAMS[name], "WRITES", "library", passengers, tmp_path), "--park-threads")


@pytest.mark.parametrize("name", [name for name in THREADS if PROGRAMS[name].deaf])
def test_threads_that_cannot_be_parked_are_told_of(name: str, passengers: dict[str, Path], tmp_path: Path) -> None:
    planted = plot(PROGRAMS[name], "WRITES", "library", passengers, tmp_path)
    vanilla = planted.without_us()
    ours = planted.run("--mode", "enforce", "--backend", "mprotect", "--park-threads")
    check_same(planted.program, vanilla, ours)
    assert planted.loot.exists()
    assert "ran with nothing closed: other threads were alive" in ours.report
    assert {event.unenforced for event in ours.events if isinstance(event, Enter)} == {"threads"}


@every_plot
@pytest.mark.parametrize("name", NAMES)
def test_nobody_notices_where_nothing_is_closed(
    name: str, way: str, victim: str, passengers: dict[str, Path], tmp_path: Path
) -> None:
    planted = plot(PROGRAMS[name], way, victim, passengers, tmp_path)
    vanilla = planted.without_us()
    ours = planted.run("--mode", "observe", "--backend", "none")
    check_same(planted.program, vanilla, ours)
    assert check_lines(ours.lines).violations == []
    assert planted.loot.read_text() == "01\n" if way == "WRITES" else planted.loot.exists()

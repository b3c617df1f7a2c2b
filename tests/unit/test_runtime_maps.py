"""IA2_EXIT_MAP: a good map decides, a bad one is said so and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from runtime_running import Outcome, build, library, run, run_covered

from ia2exit import build_map
from ia2exit.events import Enter, Fault, Object, Register, Start
from ia2exit.exitmap import write_binary
from ia2exit.model import ExitMap

POLICY = """
version = 1
unlisted = "outside"

[compartments.host]
id = 3
objects = ["@main"]

[compartments.guest]
id = 7
objects = ["plugin.so"]

[compartments.outside]
id = 9
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def plugin(folder: Path) -> Path:
    return library(folder, "plugin.c", "plugin.so", "-DWITH_ATEXIT")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Path:
    """A library that the map does not list: another build ID."""
    return library(folder, "plugin.c", "stranger.so")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return build(folder, "objects.c")


@pytest.fixture(scope="module")
def exit_map(folder: Path, program: Path, plugin: Path) -> ExitMap:
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    return build_map(policy, [program, plugin])


@pytest.fixture(scope="module")
def binary(folder: Path, exit_map: ExitMap) -> Path:
    path = folder / "exit.map"
    path.write_bytes(write_binary(exit_map))
    return path


def objects_by_path(outcome: Outcome) -> dict[str, Object]:
    return {event.path: event for event in outcome.events if isinstance(event, Object)}


def test_a_maps_compartments_are_the_objects(program: Path, plugin: Path, stranger: Path, binary: Path) -> None:
    outcome = run_covered([program, "stay", plugin, stranger], IA2_EXIT_MAP=str(binary))
    assert (outcome.status, outcome.stderr, outcome.faults) == (3, b"", [])
    (start,) = outcome.starts
    assert start.map == str(binary)
    known = objects_by_path(outcome)
    decided = {path: (known[str(path)].compartment, known[str(path)].compartment_name) for path in (program, plugin)}
    assert decided == {program: (3, "host"), plugin: (7, "guest")}
    assert {known[str(path)].decided_by for path in (program, plugin)} == {"map"}
    unlisted = known[str(stranger)]
    assert (unlisted.compartment, unlisted.compartment_name, unlisted.decided_by) == (9, "outside", "unlisted")


@pytest.mark.parametrize("scenario", ["stay", "close-all"])
def test_a_maps_owners_and_kinds_are_the_destructors(
    program: Path, plugin: Path, stranger: Path, binary: Path, scenario: str
) -> None:
    outcome = run_covered([program, scenario, plugin, stranger], IA2_EXIT_MAP=str(binary))
    owners = {str(program): (3, "host"), str(plugin): (7, "guest"), str(stranger): (9, "outside")}
    ran: list[Enter | Register] = list(outcome.entered)
    told = ran + [event for event in outcome.events if isinstance(event, Register)]
    assert {event.function.object for event in ran} >= set(owners)
    for event in told:
        if event.function.object in owners:
            assert (event.owner, event.owner_name) == owners[event.function.object]
    # Only a map tells atexit from the __cxa_atexit that it comes down to.
    kinds = [event.kind for event in ran if event.function.object == str(plugin)]
    assert sorted(kinds) == ["atexit", "fini", "fini_array", "fini_array"]
    assert "atexit" in [event.kind for event in ran if event.function.object == str(program)]


def test_every_destructor_of_a_map_that_ran_is_where_the_map_says(
    program: Path, plugin: Path, exit_map: ExitMap, binary: Path
) -> None:
    outcome = run_covered([program, "stay", plugin], IA2_EXIT_MAP=str(binary))
    listed = {
        (Path(item.path).name, int(entry.rva), entry.kind) for item in exit_map.objects for entry in item.destructors
    }
    ran = {
        (Path(event.function.object).name, int(event.function.rva), event.kind)
        for event in outcome.entered
        if event.function.object in {str(program), str(plugin)} and event.function.rva is not None
    }
    assert ran
    assert ran <= listed


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "one-byte": lambda data: data[:1],
    "header-only": lambda data: data[:80],
    "cut-short": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "a-bit-flipped": flipped,
    "another-version": lambda data: data[:8] + b"\xff" + data[9:],
    "another-magic": lambda data: b"X" + data[1:],
    "json": lambda _: b'{"version": 1}\n' * 20,
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", [*DAMAGE, "missing", "a-folder", "a-long-name"])
def test_a_bad_map_is_one_line_and_a_fault_and_no_more(
    program: Path, plugin: Path, binary: Path, tmp_path: Path, damage: str
) -> None:
    bad = tmp_path / "bad.map"
    if damage in DAMAGE:
        bad.write_bytes(DAMAGE[damage](binary.read_bytes()))
    elif damage == "a-folder":
        bad.mkdir()
    elif damage == "a-long-name":
        bad = tmp_path / ("x" * 5000)
    command: list[str | Path] = [program, "close-all", plugin]
    vanilla = run(command)
    outcome = run_covered(command, IA2_EXIT_MAP=str(bad))
    assert (outcome.status, outcome.stdout) == (vanilla.status, vanilla.stdout)
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(b"libia2.so: ")
    assert len(line) < 2048
    if damage != "a-long-name":
        assert str(bad).encode() in line
        assert b"exit map" in line
    (fault,) = (event for event in outcome.events if isinstance(event, Fault))
    assert "exit map" in fault.what
    (start,) = (event for event in outcome.events if isinstance(event, Start))
    assert start.map is None
    assert {event.decided_by for event in objects_by_path(outcome).values()} <= {"unlisted", "default"}
    assert outcome.counters.ran == len(outcome.entered) > 0

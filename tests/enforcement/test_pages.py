"""Pages whose protection the program chose, processes that fork in a destructor, objects that come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from ia2exit.events import End, Fault

from .counting import check_counters
from .watching import (
    CONTAIN,
    CONTROL,
    ENFORCE,
    OBSERVE,
    SIGSEGV,
    Way,
    build,
    check_unnoticed,
    kept,
    library,
    run,
    symbol_at,
    watch,
)

STATUS = 7
#: What the program does itself to its own pages.
OWN = ["frozen", "frozen-at-exit", "thawed-at-exit", "code-at-exit", "frozen-written-handled", "forks", "forks-quietly"]
LOADS = ["unload", "resident", "reload", "unload-in-destructor", "load-in-destructor", "both-in-destructor"]

every_way = pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
every_closing_way = pytest.mark.parametrize("way", [*OBSERVE, *ENFORCE, *CONTAIN], ids=str)


@pytest.fixture(scope="module")
def folder() -> Path:
    return kept("pages")


@pytest.fixture(scope="module")
def intruder(folder: Path) -> Path:
    return library(folder, "intruder.c")


@pytest.fixture(scope="module")
def pages(folder: Path, intruder: Path) -> Path:
    return build(folder, "pages.c", intruder)


@pytest.fixture(scope="module")
def loads(folder: Path, intruder: Path) -> Path:
    library(folder, "loads_plugin.c", name="plugin.so")
    return build(folder, "loads.c", intruder, "-Wl,-rpath,$ORIGIN")


# ---- protections ----


def protections(stdout: bytes, who: str) -> list[str]:
    prefix = f"{who}: "
    return [line.removeprefix(prefix) for line in stdout.decode().splitlines() if line.startswith(prefix)]


@pytest.mark.parametrize("scenario", OWN)
@every_way
def test_a_page_keeps_the_protection_that_it_was_given(pages: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    outcome = check_unnoticed([pages, scenario], way, tmp_path / "trace")
    assert outcome.status == STATUS
    last = protections(outcome.stdout, "main last")
    assert [last[page][:2] for page in (0, 2, 4, 6)] == ["rw"] * 4
    if scenario in {"frozen", "frozen-at-exit"}:
        assert [last[1], last[3], last[5]] == ["r--p", "---p", "not mapped"]
    if scenario == "thawed-at-exit":
        assert [last[1], last[3]] == ["rw-p", "---p"]


@every_way
def test_a_write_to_ones_own_frozen_page_is_a_fault_as_ever(pages: Path, tmp_path: Path, way: Way) -> None:
    outcome = watch([pages, "frozen-written"], way, tmp_path / "trace")
    assert outcome.status == run([pages, "frozen-written"]).status == SIGSEGV
    assert outcome.violations == []
    (fault,) = outcome.of(Fault)
    assert (fault.signal, fault.destructor is not None) == (-SIGSEGV, True)
    assert fault.instruction is not None
    assert symbol_at(fault.instruction) == "main_writes_frozen"


@pytest.mark.enforces
@every_closing_way
def test_a_write_to_anothers_frozen_page_is_told_and_not_let_through(pages: Path, tmp_path: Path, way: Way) -> None:
    """Without us it is a fault of nobody's in particular. ``observe`` opens the page as it was: it stays a fault."""
    command: list[str | Path] = [pages, "frozen-intruded"]
    without = run(command)
    assert without.status == SIGSEGV
    outcome = watch(command, way, tmp_path / "trace")
    (event,) = outcome.violations
    assert event.destructor is not None
    assert symbol_at(event.destructor.function) == "intruder_write"
    assert (event.victim_name, event.access) == (pages.name, "write")
    assert b"intruder: wrote\n" not in outcome.stdout
    if way.mode == "contain":
        assert outcome.status == STATUS
        assert protections(outcome.stdout, "main last")[1] == "r--p", "and the others go on"
    else:
        assert outcome.seen[:2] == without.seen[:2]
        assert len(outcome.of(Fault)) == (way.mode == "observe")


@pytest.mark.enforces
@pytest.mark.parametrize("way", [*OBSERVE, *CONTAIN], ids=str)
def test_after_a_violation_protections_are_what_they_were(pages: Path, tmp_path: Path, way: Way) -> None:
    outcome = watch([pages, "intruded"], way, tmp_path / "trace")
    assert len(outcome.violations) == 1
    assert outcome.status == STATUS
    last = protections(outcome.stdout, "main last")
    assert [place[:3] for place in last] == ["rw-", "r--", "rw-", "---", "rw-", "rw-", "rw-"]
    assert (b"main: changed\n" if way.mode == "observe" else b"main: kept\n") in outcome.stdout


@pytest.mark.enforces
@every_closing_way
def test_what_a_destructor_maps_anew_is_its_owners_for_the_next_one(pages: Path, tmp_path: Path, way: Way) -> None:
    """Memory that comes in the exit phase was there for nobody to close."""
    command: list[str | Path] = [pages, "mapped-anew-intruded"]
    without = run(command)
    assert b"main new: changed\n" in without.stdout
    outcome = watch(command, way, tmp_path / "trace")
    (event,) = outcome.violations
    assert event.destructor is not None
    assert symbol_at(event.destructor.function) == "intruder_write"
    assert (event.victim_name, event.access) == (pages.name, "write")
    if way.mode == "enforce":
        assert outcome.status == SIGSEGV
    else:
        assert outcome.status == STATUS
        assert (b"main new: changed\n" in outcome.stdout) == (way.mode == "observe")


@every_way
def test_what_a_destructor_makes_code_of_may_be_called(pages: Path, tmp_path: Path, way: Way) -> None:
    outcome = check_unnoticed([pages, "code-at-exit"], way, tmp_path / "trace")
    assert b"intruder: answer=42\n" in outcome.stdout


@pytest.mark.parametrize("scenario", ["forks", "forks-quietly"])
@every_way
def test_a_child_of_a_destructor_goes_on_by_itself(pages: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    """It may touch what its parent may, and runs the destructors that are left; the parent does not notice."""
    outcome = check_unnoticed([pages, scenario], way, tmp_path / "trace")
    assert (b"main: child=5\n" if scenario == "forks" else b"main: child=6\n") in outcome.stdout
    assert outcome.stdout.count(b"main last: ") == (14 if scenario == "forks" else 7)


@every_way
def test_a_followed_child_has_events_of_its_own(pages: Path, tmp_path: Path, way: Way) -> None:
    outcome = check_unnoticed([pages, "forks"], way, tmp_path / "trace", IA2_EXIT_FOLLOW="1")
    assert len({event.pid for event in outcome.events}) == len(outcome.of(End)) == 2


@pytest.mark.enforces
@pytest.mark.parametrize("followed", [True, False], ids=["followed", "alone"])
@every_closing_way
def test_a_forked_child_is_held_to_what_its_parent_is(pages: Path, tmp_path: Path, way: Way, followed: bool) -> None:
    """A destructor forks, and the next one of each process intrudes: stopped in both, told by who is followed."""
    command: list[str | Path] = [pages, "forks-intruded"]
    without = run(command)
    assert without.stdout.count(b"intruder: wrote\n") == without.stdout.count(b"main: changed\n") == 2
    outcome = watch(command, way, tmp_path / "trace", IA2_EXIT_FOLLOW=str(int(followed)))
    assert outcome.stdout.count(b"child: exits\n") == 1
    assert [event.victim_name for event in outcome.violations] == [pages.name] * (1 + followed)
    assert len({event.pid for event in outcome.violations}) == 1 + followed
    if way.mode == "observe":
        assert outcome.seen == without.seen
        return
    assert b"intruder: wrote\n" not in outcome.stdout
    assert b"main: changed\n" not in outcome.stdout
    if way.mode == "enforce":
        assert outcome.status == SIGSEGV
        assert f"main: child's signal={-SIGSEGV}\n".encode() in outcome.stdout
    else:
        assert outcome.status == STATUS
        assert b"main: child=5\n" in outcome.stdout
        assert outcome.stdout.count(b"main: kept\n") == 2


# ---- objects ----


@pytest.mark.parametrize("scenario", LOADS)
@every_way
def test_objects_come_and_go(loads: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    outcome = check_unnoticed([loads, scenario], way, tmp_path / "trace")
    assert outcome.status == STATUS
    assert outcome.stdout.count(b"plugin fini: O") == (3 if scenario == "reload" else 1)


@pytest.mark.enforces
@pytest.mark.parametrize("scenario", LOADS)
@every_closing_way
def test_the_destructor_of_an_object_that_goes_is_held_to_its_own(
    loads: Path, tmp_path: Path, scenario: str, way: Way
) -> None:
    """Before the exit, in a destructor, or in the end: main's byte is not the plug-in's."""
    outcome = watch([loads, scenario, "intrude"], way, tmp_path / "trace")
    without = run([loads, scenario, "intrude"])
    assert b"secret: changed\n" in without.stdout
    assert outcome.violations
    for event in outcome.violations:
        assert event.destructor is not None
        assert (event.destructor.owner_name, event.victim_name) == ("plugin.so", loads.name)
        assert symbol_at(event.destructor.function) == "plugin_atexit"
    if way.mode == "observe":
        assert outcome.seen == without.seen
        assert len(outcome.violations) == without.stdout.count(b"plugin atexit: ")
    elif way.mode == "enforce":
        assert outcome.status == SIGSEGV
        assert b"plugin atexit" not in outcome.stdout
        assert len(outcome.violations) == 1
        check_counters(outcome)
        # Those around it (its object's own entry that finalises it, the one that unloads it) did nothing wrong, and
        # have not returned either.
        around = outcome.entered("plugin_atexit").depth
        assert around > 1 or scenario != "unload-in-destructor"
        assert (outcome.counters.violation, outcome.counters.unfinished) == (1, around)
    else:
        assert outcome.status == STATUS
        assert b"changed" not in outcome.stdout
        assert b"plugin atexit" not in outcome.stdout
        assert outcome.stdout.count(b"plugin fini") == without.stdout.count(b"plugin fini")
        assert outcome.stdout.count(b"secret: kept\n") == 2

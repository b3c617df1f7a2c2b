"""Destructors at every moment: at whatever moment one runs, it is held to its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ia2exit.events import Counters, Enter

from .watching import (
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
    vanilla,
    watch,
)

#: How the program leaves, and its status.
HOW = {
    "return": 7,
    "signal": 7,
    "destructor": 7,
    "register": 7,
    "load": 7,
    "spawn": 7,
    "thread": 7,
    "last-thread": 0,
    "errx": 7,
    "argp": 0,
    "fork": 7,
    "quick": 7,
    "unload": 7,
    "pinned": 7,
    "constructor": 7,
}
#: Another thread is alive all the while: mprotect closes nothing then.
BESIDE_THREADS = {"thread"}
#: The one who does it, where that is not the library.
PLUGIN = {"load", "unload", "pinned"}

every_ending = pytest.mark.parametrize("how", HOW)


@pytest.fixture(scope="module")
def folder() -> Path:
    return kept("moments")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return build(folder, "moments.c", library(folder, "moments_library.c", name="libmoments.so"))


@pytest.fixture(scope="module")
def plugins(folder: Path) -> dict[str, Path]:
    """The plug-in for each way to leave."""
    plain = library(folder, "moments_plugin.c")
    leaving = library(folder, "moments_plugin.c", "-DEXITS", name="libmoments_leaving.so")
    return {how: leaving if how == "constructor" else plain for how in [*HOW, "two"]}


@every_ending
def test_the_damage_is_done_without_us(program: Path, plugins: dict[str, Path], how: str) -> None:
    innocent, guilty = vanilla([program, how, plugins[how]]), vanilla([program, how, plugins[how], "crime"])
    assert innocent.status == guilty.status == HOW[how]
    assert b"done=1" in innocent.stdout
    assert b"done=1" in guilty.stdout
    assert b"secret=1" not in innocent.stdout
    if how not in {"quick", "unload", "fork"}:  # main's own destructor does not run, or the traces are removed before
        assert b"secret=1" in guilty.stdout


@every_ending
@pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE], ids=str)
def test_an_innocent_destructor_is_left_in_peace(
    program: Path, plugins: dict[str, Path], tmp_path: Path, how: str, way: Way
) -> None:
    outcome = check_unnoticed([program, how, plugins[how]], way, tmp_path / "trace")
    unenforced = {event.unenforced for event in outcome.of(Enter)}
    alone = how not in BESIDE_THREADS or way.backend != "mprotect"
    assert unenforced == ({None} if alone else {"threads"})
    (counters,) = outcome.of(Counters)
    assert counters.ran == len(outcome.of(Enter))


@pytest.mark.enforces
@every_ending
@pytest.mark.parametrize("way", ENFORCE, ids=str)
def test_a_guilty_one_is_stopped(program: Path, plugins: dict[str, Path], tmp_path: Path, how: str, way: Way) -> None:
    outcome = watch([program, how, plugins[how], "crime"], way, tmp_path / "trace", IA2_EXIT_FOLLOW="1")
    if how in BESIDE_THREADS and way.backend == "mprotect":
        assert outcome.violations == []
        return
    culprit = "moments_plugin_handler" if how in PLUGIN else "moments_handler"
    (violation,) = outcome.violations
    assert symbol_at(violation.instruction) == culprit
    assert violation.access == "write"
    assert b"secret=1" not in outcome.stdout
    done = b"plug-in: done=1" if how in PLUGIN else b"library: done=1"
    assert done not in outcome.stdout.partition(b"child=")[0]
    if how == "fork":
        assert b"main: child=-11\n" in outcome.stdout, "the child's exit is isolated, too"
        assert outcome.status == HOW[how]
    else:
        assert outcome.status == SIGSEGV


@pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE], ids=str)
def test_two_exits_at_once_run_nothing_twice(program: Path, plugins: dict[str, Path], tmp_path: Path, way: Way) -> None:
    """In glibc before 2.41 both take handlers from one list, and whoever comes through first ends the process."""
    for number in range(10):
        outcome = watch([program, "two", plugins["two"]], way, tmp_path / f"trace{number}")
        assert outcome.status == HOW["return"]
        assert outcome.violations == []
        ran = [(event.record, event.generation) for event in outcome.of(Enter)]
        assert len(ran) == len(set(ran))
        assert [symbol_at(event.function) for event in outcome.of(Enter)].count("moments_handler") <= 1
        assert outcome.stdout.count(b"library: done=1\n") <= 1


def test_two_exits_at_once_without_us(program: Path, plugins: dict[str, Path]) -> None:
    """The control: what the test above asks for holds without us."""
    for _ in range(10):
        outcome = run([program, "two", plugins["two"]])
        assert outcome.status == HOW["return"]
        assert outcome.stdout.count(b"library: done=1\n") <= 1

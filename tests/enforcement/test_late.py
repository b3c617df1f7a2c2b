"""After the last destructor: stdio ends, and its callbacks find all memory open again."""

from __future__ import annotations

from pathlib import Path

import pytest

from ia2exit.events import Enter, Fault

from .watching import CONTAIN, CONTROL, ENFORCE, OBSERVE, SIGSEGV, Way, build, kept, library, vanilla, watch

STATUS = {"exec": 0, "fault": SIGSEGV, "caught": 9}
WHAT = ["touch", "write", "signal", "unload", "thread", "fork", "exec", "fault", "caught"]

every_case = pytest.mark.parametrize("what", WHAT)


@pytest.fixture(scope="module")
def folder() -> Path:
    return kept("late")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    # Protected, so that it is the library's: a copy relocation would bring it into main.
    return build(folder, "late.c", library(folder, "late_library.c"), "-fPIE", "-pie", "-mno-direct-extern-access")


@pytest.fixture(scope="module")
def plugin(folder: Path) -> Path:
    return library(folder, "late_plugin.c")


@every_case
@pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
def test_everything_is_open_again(program: Path, plugin: Path, tmp_path: Path, what: str, way: Way) -> None:
    command: list[str | Path] = [program, plugin, what]
    outcome = watch(command, way, tmp_path / "trace")
    assert outcome.violations == []
    assert outcome.seen == vanilla(command).seen
    assert outcome.status == STATUS.get(what, 7)
    assert outcome.stdout.startswith(b"destructor: static data of main\n")
    assert {event.unenforced for event in outcome.of(Enter)} == {None}, "closed it was, where anything is"
    if what not in {"exec", "fault", "caught"}:
        assert outcome.stdout.endswith(b"tatic data of the library\n\n"), "the callback ran"


@pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
def test_a_fault_there_is_explained(program: Path, plugin: Path, tmp_path: Path, way: Way) -> None:
    outcome = watch([program, plugin, "fault"], way, tmp_path / "trace")
    (fault,) = [event for event in outcome.of(Fault) if event.signal]
    assert fault.address == 0

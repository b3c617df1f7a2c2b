"""Signals while a destructor runs with only its owner's memory open: the program's handlers work as they always did."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .watching import (
    CONTAIN,
    CONTROL,
    ENFORCE,
    OBSERVE,
    PROGRAMS,
    SIGSEGV,
    Way,
    build,
    check_unnoticed,
    kept,
    library,
    run,
    watch,
)

STATUS = 7
SCENARIOS = re.findall(r'\{"([a-z-]+)", \w+\}', (PROGRAMS / "signals_library.c").read_text())
#: How main's handler is installed; ``alternate``: on a stack in main's .bss.
HANDLERS = ["plain", "masked", "restarting", "alternate"]
#: SA_RESTART would wait for ever.
CASES = [
    (scenario, handler)
    for scenario in SCENARIOS
    for handler in HANDLERS
    if scenario != "intrude" and (scenario, handler) != ("interrupted", "restarting")
]

every_way = pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
every_closing_way = pytest.mark.parametrize("way", [*OBSERVE, *ENFORCE, *CONTAIN], ids=str)


@pytest.fixture(scope="module")
def program() -> Path:
    folder = kept("signals")
    return build(folder, "signals.c", library(folder, "signals_library.c", name="libsignals.so"))


@pytest.mark.parametrize(("scenario", "handler"), CASES)
@every_way
def test_handlers_work_as_they_always_did(program: Path, tmp_path: Path, scenario: str, handler: str, way: Way) -> None:
    outcome = check_unnoticed([program, scenario, handler], way, tmp_path / "trace")
    assert outcome.status == STATUS
    assert b"library: Ow" in outcome.stdout
    if scenario in {"raise", "kill", "alarm", "interrupted", "block"}:
        assert f"on the {'alternate' if handler == 'alternate' else 'ordinary'} stack".encode() in outcome.stdout


@pytest.mark.enforces
@pytest.mark.parametrize("handler", HANDLERS)
@every_closing_way
def test_a_handler_that_intrudes_is_not_the_destructors_fault(
    program: Path, tmp_path: Path, handler: str, way: Way
) -> None:
    """The library's handler writes into main, while the library's destructor runs: told as the handler's doing."""
    outcome = watch([program, "intrude", handler], way, tmp_path / "trace")
    (event,) = outcome.violations
    assert event.handler is True
    assert event.victim_name == program.name
    assert (event.via, event.access) == ("instruction", "write")
    if way.mode == "enforce":
        assert outcome.status == SIGSEGV
        assert b"library: " not in outcome.stdout
    else:
        assert outcome.status == STATUS
    if way.mode == "observe":
        assert outcome.seen == run([program, "intrude", handler]).seen
        assert outcome.left("handler_of_another").outcome == "success"
    if way.mode == "contain":
        assert b"main secret: kept\n" in outcome.stdout


@pytest.mark.parametrize("handler", HANDLERS)
def test_without_us_the_handler_intrudes(program: Path, handler: str) -> None:
    outcome = run([program, "intrude", handler])
    assert outcome.status == STATUS
    assert b"main secret: changed\n" in outcome.stdout

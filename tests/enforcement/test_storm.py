"""Threads that begin, end, load and unload at random, and a process that exits in their midst."""

from __future__ import annotations

from pathlib import Path

import pytest

from ia2exit.events import End, Enter, Leave, Register, Start

from .counting import OUTCOMES
from .watching import CONTAIN, CONTROL, ENFORCE, OBSERVE, RUNTIME, Outcome, Way, build, kept, library, vanilla, watch

STATUS = 7
SEEDS = range(8)
#: Those of the program that come and go, and main's.
THREADS = 5
AUDIT = {"LD_AUDIT": str(RUNTIME.with_name("libia2_audit.so"))}


@pytest.fixture(scope="module")
def command() -> list[str | Path]:
    """The program and its plug-ins; a seed comes second."""
    folder = kept("storm")
    plugins = [library(folder, "storm_plugin.c", "-Wl,--build-id=uuid", name=f"storm{i}.so") for i in range(3)]
    return [build(folder, "storm.c"), *plugins]


def check(outcome: Outcome) -> None:
    """Each destructor found its own object's data, or it aborts; nobody was in anybody's way.

    Threads go on until the very end, so the counters are those of a moment; what began then may have no event any more.
    """
    assert outcome.seen == (STATUS, b"", b"")
    assert outcome.violations == []
    assert outcome.one(End).status == STATUS
    counted = outcome.counters
    assert counted.ran == sum(getattr(counted, name) for name in OUTCOMES) <= len(outcome.of(Enter)) + THREADS
    assert counted.registered <= len(outcome.of(Register)) + THREADS
    assert counted.lost == counted.fallback == counted.bypassed == 0
    entered = [event.seq for event in outcome.of(Enter)]
    assert len(entered) == len(set(entered)) > 0
    assert {event.seq for event in outcome.of(Leave)} <= set(entered)
    once = [(event.record, event.generation) for event in outcome.of(Enter) if event.kind == "thread_atexit"]
    assert len(once) == len(set(once)), "a registration has run twice"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("audited", [False, True], ids=["preloaded", "audited"])
@pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
def test_threads_come_and_go_and_load_and_unload_while_it_exits(
    command: list[str | Path], tmp_path: Path, way: Way, audited: bool, seed: int
) -> None:
    words = [command[0], str(seed), *command[1:]]
    assert vanilla(words).status == STATUS
    outcome = watch(words, way, tmp_path / "trace", **(AUDIT if audited else {}))
    assert outcome.one(Start).audit is audited
    check(outcome)

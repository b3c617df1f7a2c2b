"""Keys are few, and others want some: the program itself, or whoever came before the runtime."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ia2exit.events import Fault

from .running import PROGRAMS, orderly, run

#: An audit module that allocates keys before the runtime does.
TAKER = str(PROGRAMS / "pku_taker.so")
#: What a CPU has, less key 0.
KEYS = 15


@pytest.mark.enforces
def test_keys_of_the_program_keep_their_rights_in_destructors() -> None:
    outcome = orderly(run("keys"))
    assert outcome.said[0] == "main_at_exit"


def test_auto_takes_pku_where_there_are_keys_enough() -> None:
    outcome = run("kinds", IA2_EXIT_BACKEND="auto")
    assert outcome.start.backend == "pku"
    assert outcome.start.backend_why is None


def test_auto_does_with_page_protections_where_keys_are_short() -> None:
    outcome = run("kinds", IA2_EXIT_BACKEND="auto", LD_AUDIT=TAKER, PKU_TAKE=str(KEYS - 2))
    assert outcome.start.backend == "mprotect"
    # Three compartments and the runtime; the reason says so.
    assert re.search(r"\b4\b", outcome.start.backend_why or ""), outcome.start.backend_why
    assert re.search(r"\b2\b", outcome.start.backend_why or ""), outcome.start.backend_why


def test_an_explicit_pku_without_keys_enough_is_refused() -> None:
    outcome = run("kinds", LD_AUDIT=TAKER, PKU_TAKE=str(KEYS - 2))
    assert outcome.status == 2
    assert outcome.stdout == "", "the program has not run"
    (line,) = outcome.stderr.splitlines()
    assert re.search(r"\b4\b", line), line


@pytest.mark.enforces
def test_just_enough_keys_are_enough() -> None:
    outcome = orderly(run("kinds", LD_AUDIT=TAKER, PKU_TAKE=str(KEYS - 4)))
    assert len({told.key for told in outcome.told if told.name != "resting"}) == 3


@pytest.mark.enforces
def test_objects_that_come_when_the_keys_are_used_up(tmp_path: Path) -> None:
    """More than any CPU has keys for: each is enforced or says why it is not, and none goes wrong."""
    copies = [Path(shutil.copy(PROGRAMS / "pku_plain.so", tmp_path / f"plain{i}.so")) for i in range(20)]
    outcome = run("loads", *copies, IA2_EXIT_BACKEND="auto")
    assert (outcome.status, outcome.said, outcome.violations) == (3, ["main_at_exit"], [])
    assert [event for event in outcome.events if isinstance(event, Fault)] == []
    counters = outcome.counters
    assert counters.success + counters.unenforced == counters.ran >= 1 + len(copies)
    unenforced = [event for event in outcome.entered if event.unenforced is not None]
    assert len(unenforced) == counters.unenforced
    ran = {event.function.object for event in outcome.entered if event.kind == "cxa_atexit"}
    assert ran == {str(PROGRAMS / "loads"), *map(str, copies)}

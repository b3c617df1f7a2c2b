"""The register while destructors run, between them and after them, in unmodified programs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from ia2exit.events import Counters
from ia2exit.running.trace import parse

from .running import PLUGIN, Run, agrees, only, orderly, run

#: Each looks at the register.
pytestmark = pytest.mark.enforces


@pytest.fixture(scope="module")
def kinds() -> Run:
    return orderly(run("kinds"))


def test_each_destructor_has_its_owners_key_and_no_other(kinds: Run) -> None:
    destructors = [told for told in kinds.told if told.name != "resting"]
    assert [told.name for told in destructors] == [
        "b_thread_local",
        "a_at_exit",
        "main_at_exit",
        "main_on_exit",
        "b_at_exit",
        "a_at_exit",
        "main_fini_array",
        "a_fini_array",
        "b_fini_array",
    ]
    assert all(told.key != 0 and only(told.pkru, told.key) for told in destructors)
    assert all(told.stack == 0 for told in destructors), "unmodified programs keep their stack"


def test_compartments_do_not_share_a_key(kinds: Run) -> None:
    keys = {told.name.split("_", 1)[0]: told.key for told in kinds.told if told.name != "resting"}
    assert len(set(keys.values())) == len(keys) == 3


def test_between_destructors_only_shared_memory_is_open(kinds: Run) -> None:
    resting = [told.pkru for told in kinds.told if told.name == "resting"]
    assert len(resting) == 3
    assert all(only(pkru, 0) for pkru in resting)


def test_events_give_the_value_of_the_register(kinds: Run) -> None:
    agrees(kinds)


def many(number: int) -> Counters:
    """Counters of that many destructors whose owners alternate; without a trace, whose lines cost gates."""
    outcome = run("many", str(number), IA2_TRACE_EXIT="0", IA2_DIAG_EXIT="1")
    assert (outcome.status, outcome.said[:2]) == (3, ["begin", "end"])
    counters = parse(outcome.stderr.splitlines()[-1].encode())
    assert isinstance(counters, Counters)
    assert counters.success == counters.ran > number
    return counters


def test_a_destructor_costs_at_most_four_wrpkru() -> None:
    few, more = many(10), many(1010)
    assert more.ran - few.ran == more.registered - few.registered == 1000
    # Two of these are the gate of the registration. A few are of system calls: one of the destructors reads the
    # mappings, which are more where there is a heap.
    assert 0 < (more.wrpkru - few.wrpkru) // 1000 <= 4 + 2


def test_a_destructor_costs_no_system_call(tmp_path: Path) -> None:
    """A thousand destructors whose owners alternate, watched from outside; a trace would be system calls of its own."""
    calls = tmp_path / "calls"
    outcome = run("many", "1000", under=["strace", "-o", calls], IA2_TRACE_EXIT="0")
    assert (outcome.status, outcome.stderr, outcome.said[:2]) == (3, "", ["begin", "end"])
    lines = calls.read_text().splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if f'write(1, "{word}' in line) for word in ("begin", "end"))
    # The two writes themselves are dispatched: what is left of the first one's handler, and the second one's signal.
    between = lines[begin + 1 : end]
    assert [line.split("(")[0].split(" {")[0] for line in between] in ([], ["rt_sigreturn", "--- SIGSYS"])


def test_a_destructor_that_exits_leaves_the_others_their_rights() -> None:
    outcome = orderly(run("nesting", "exit"), 4)
    assert outcome.said == [
        "a_act",
        "main_at_exit",
        "b_at_exit",
        "a_fini_array",
        "b_fini_array",
    ]
    agrees(outcome)
    assert [event.depth for event in outcome.entered if event.kind == "cxa_atexit"] == [0, 1, 1]


def test_a_destructor_registers_another() -> None:
    outcome = orderly(run("nesting", "register"))
    assert outcome.said[:5] == ["a_act", "a_act", "a_at_exit", "main_at_exit", "b_at_exit"]
    agrees(outcome)


def test_destructors_of_an_unload_within_a_destructor() -> None:
    outcome = orderly(run("nesting", "unload", PLUGIN))
    assert outcome.said[:7] == [
        "main_unloads",
        "dlclose",
        "plugin_fini_array",
        "plugin_at_exit",
        "dlclose returned",
        "main_unloads",
        "main_at_exit",
    ]
    agrees(outcome)
    plugin = {told.key for told in outcome.told if told.name.startswith("plugin")}
    assert len(plugin) == 1
    assert plugin.isdisjoint({told.key for told in outcome.told if told.name.startswith("main")} | {0})


def test_before_the_exit_phase_everything_is_open_again_after_a_destructor() -> None:
    outcome = orderly(run("nesting", "early", PLUGIN))
    assert outcome.said[:7] == [
        "dlclose",
        "plugin_fini_array",
        "plugin_at_exit",
        "dlclose returned",
        "a_thread_local",
        "a_key_value",
        "joined",
    ]
    agrees(outcome)
    moments = [event.moment for event in outcome.entered]
    assert all(earlier <= later for earlier, later in pairwise([moment == "exit" for moment in moments]))


def test_parent_and_child_of_a_fork_in_a_destructor_go_on_alike() -> None:
    outcome = orderly(run("nesting", "fork"))
    rest = ["a_act", "main_at_exit", "b_at_exit", "a_fini_array", "b_fini_array"]
    assert outcome.said == ["a_act", "child", *rest, "parent", *rest]
    child, parent = outcome.told[1:6], outcome.told[6:]
    assert child == parent
    agrees(outcome)


def test_a_program_started_by_a_destructor() -> None:
    outcome = orderly(run("nesting", "spawn"))
    assert outcome.said[:5] == ["a_act", "spawned", "a_act", "main_at_exit", "b_at_exit"]
    agrees(outcome)


def test_quick_exit() -> None:
    outcome = orderly(run("nesting", "quick"))
    assert outcome.said == ["main_at_exit"]
    agrees(outcome)


def test_only_a_destructor_without_owner_has_every_right() -> None:
    outcome = run("tells")
    assert (outcome.status, outcome.said) == (3, ["first", "nobodys", "last"])
    first, nobodys, last = outcome.told
    # Of all keys only the runtime's own is closed.
    assert nobodys.pkru in {3 << (2 * key) for key in range(1, 16)}
    assert nobodys.pkru != 3 << (2 * first.key)
    assert first.pkru == last.pkru
    assert only(first.pkru, first.key)
    assert outcome.counters.fallback == 1
    agrees(outcome)


@pytest.mark.parametrize("way", ["allow-all", "legacy"])
def test_the_ways_back_open_everything(way: str) -> None:
    """And nothing else does."""
    closed_otherwise = orderly(run("kinds")).told
    assert all(only(told.pkru, told.key) for told in closed_otherwise if told.name != "resting")
    outcome = run("tells", IA2_EXIT_ALLOW_ALL="1") if way == "allow-all" else run("tells", IA2_EXIT_FORCE_LEGACY="1")
    assert (outcome.status, outcome.said) == (3, ["first", "nobodys", "last"])
    first, nobodys, last = (told.pkru for told in outcome.told)
    assert first == nobodys == last
    closed = [key for key in range(16) if first >> (2 * key) & 3]
    # The runtime's own memory stays closed to destructors, where it has a key.
    assert len(closed) == (1 if way == "allow-all" else 0)

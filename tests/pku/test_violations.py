"""What a violation leaves in the register: nothing that the next destructor could use."""

from __future__ import annotations

import signal

import pytest

from .running import Run, only, run

#: Each looks at the register.
pytestmark = pytest.mark.enforces


def crossing(scenario: str, mode: str) -> Run:
    outcome = run("crossing", scenario, IA2_EXIT_MODE=mode)
    (violation,) = outcome.violations
    assert violation.destructor is not None
    assert violation.destructor.owner == outcome.compartment_of("libpku_a.so")
    assert violation.victim == outcome.compartment_of("libpku_b.so")
    assert (violation.via, violation.access, violation.handler) == ("instruction", scenario, False)
    return outcome


def check_rest(outcome: Run) -> None:
    """The destructors after the one with the violation: all of them, with their own rights only."""
    rest = outcome.told[-5:]
    assert [told.name for told in rest] == ["a_at_exit", "main_at_exit", "b_at_exit", "a_fini_array", "b_fini_array"]
    assert all(only(told.pkru, told.key) for told in rest)


@pytest.mark.parametrize("scenario", ["read", "write"])
def test_observing_opens_it_for_this_destructor_only(scenario: str) -> None:
    outcome = crossing(scenario, "observe")
    assert (outcome.status, outcome.stderr) == (3, "")
    assert outcome.said[:2] == ["a_act_freely", "after_touch"]
    check_rest(outcome)
    assert (outcome.counters.violation, outcome.counters.success) == (1, outcome.counters.ran - 1)


@pytest.mark.parametrize("scenario", ["read", "write"])
def test_containing_abandons_it(scenario: str) -> None:
    outcome = crossing(scenario, "contain")
    assert outcome.status == 3
    assert outcome.said[0] == "a_act_freely"
    assert "after_touch" not in outcome.said
    check_rest(outcome)
    assert (outcome.counters.contained, outcome.counters.success) == (1, outcome.counters.ran - 1)


@pytest.mark.parametrize("scenario", ["read", "write"])
def test_enforcing_ends_the_process(scenario: str) -> None:
    outcome = crossing(scenario, "enforce")
    assert outcome.status == -signal.SIGSEGV
    assert outcome.said == ["a_act_freely"]
    assert len(outcome.stderr.splitlines()) == 1


def test_a_jump_into_the_middle_of_the_switch_does_not_pay() -> None:
    outcome = run("gadgets")
    assert outcome.status == 3
    assert outcome.said.count("gadget") > 0
    assert "paid" not in outcome.said
    assert outcome.said.count("did not pay") == 3 * outcome.said.count("gadget")


def test_such_a_jump_would_pay_where_nobody_looks_at_the_register() -> None:
    outcome = run("gadgets", "own")
    assert outcome.status == 3
    assert outcome.said[1:4] == ["paid"] * 3

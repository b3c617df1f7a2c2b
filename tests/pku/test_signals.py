"""Signal handlers of the program run as if nothing were closed; a destructor comes back from them with its rights."""

from __future__ import annotations

import pytest

from .running import agrees, orderly, run

#: Each looks at the register.
pytestmark = pytest.mark.enforces

REST = ["main_at_exit", "b_at_exit"]


@pytest.mark.parametrize("scenario", ["raise", "alternate", "static-stack", "jump"])
def test_a_handler_touches_its_own_objects_data(scenario: str) -> None:
    outcome = orderly(run("signals", scenario))
    assert outcome.said[:6] == ["a_act", "handler", "after handler", "a_act", *REST]
    agrees(outcome)
    assert outcome.counters.violation == 0


def test_the_programs_own_sigsegv_handler_gets_its_own_faults() -> None:
    outcome = orderly(run("signals", "own-fault"), faults=1)
    assert outcome.said[:6] == ["a_act", "own fault", "after handler", "a_act", *REST]
    agrees(outcome)

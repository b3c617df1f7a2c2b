"""PKRU is a thread's own: other threads go on during the exit phase."""

from __future__ import annotations

import pytest

from .running import agrees, orderly, run

#: Each looks at the register.
pytestmark = pytest.mark.enforces


def test_threads_older_and_younger_than_main_touch_everything_while_destructors_run() -> None:
    outcome = orderly(run("threads", "working"))
    assert outcome.said[:6] == ["b_act", "b_act", "a_act", "a_act", "main_waits", "main_waits"]
    agrees(outcome)
    # Nothing is given up for them, as `mprotect` must.
    assert outcome.counters.unenforced == 0
    assert outcome.counters.bystander == 0


def test_a_thread_that_a_destructor_starts_is_a_bystander() -> None:
    outcome = orderly(run("threads", "born"))
    assert outcome.said[:4] == ["a_act", "joined", "a_act", "b_at_exit"]
    agrees(outcome)
    assert outcome.counters.bystander > 0
    touched = {one.id: one.bystander for one in outcome.compartments if one.bystander}
    assert touched.keys() <= {event.owner for event in outcome.entered}, "by whose memory it was"
    assert sum(touched.values()) == outcome.counters.bystander

"""A host runtime's keys, tags and stacks: ia2exit switches between them and tags nothing."""

from __future__ import annotations

import pytest

from .running import PLUGIN, Run, agrees, orderly, run

#: Each looks at the register.
pytestmark = pytest.mark.enforces

AT_EXIT = ["between", "b_at_exit", "between", "a_at_exit", "between", "main_at_exit"]
FINI = ["main_fini_array", "a_fini_array", "b_fini_array"]


def hosted(scenario: str, *arguments: str, status: int = 3) -> Run:
    """A scenario in which every destructor of the host's compartments was on its own stack with its own key only."""
    outcome = orderly(run("hosted", scenario, *arguments, preload=False), status)
    destructors = [told for told in outcome.told if told.name not in {"between", "body"}]
    assert destructors
    for told in destructors:
        assert told.stack == told.key != 0, told
    agrees(outcome)
    return outcome


def test_destructors_run_on_their_compartments_stack_and_between_them_it_is_main() -> None:
    outcome = hosted("kinds")
    assert outcome.said == ["body", *AT_EXIT, *FINI]


def test_a_destructor_that_exits() -> None:
    outcome = hosted("exit", status=4)
    assert outcome.said == ["body", "a_act", *AT_EXIT, *FINI]


def test_a_destructor_within_one_of_its_own_compartment_leaves_its_frames_alone() -> None:
    outcome = hosted("again")
    rest = [name for name in AT_EXIT if name != "a_at_exit"]
    assert outcome.said == ["body", "a_act", "a_at_exit", "a_act", *rest, *FINI]


def test_and_within_one_of_another_compartment() -> None:
    outcome = hosted("unload", str(PLUGIN))
    assert outcome.said[:5] == ["body", "a_act", "plugin_fini_array", "plugin_act", "a_at_exit"]
    assert outcome.said[5:7] == ["plugin_act", "a_act"]


def test_a_registration_in_anothers_name_gets_the_rights_of_who_made_it() -> None:
    outcome = hosted("foreign")
    assert outcome.said == ["body", "check_a", *AT_EXIT, *FINI]
    (told,) = (told for told in outcome.told if told.name == "check_a")
    (enter,) = (event for event in outcome.entered if event.function.address == told.address)
    assert enter.foreign
    assert enter.owner == outcome.compartment_of("libpku_a.so")
    counts = {one.id: one.foreign for one in outcome.compartments if one.foreign}
    assert counts == {enter.owner: 1}, "who got it, not who was named"


def test_a_handler_on_shared_memory_comes_back() -> None:
    outcome = hosted("signal")
    assert outcome.said == ["body", "a_act", "handler", "a_act", *AT_EXIT, *FINI]


def test_destructors_at_the_end_of_a_thread() -> None:
    outcome = hosted("thread")
    assert outcome.said == ["body", "b_thread_local", "b_key_value", "joined", "body", *AT_EXIT, *FINI]


@pytest.mark.parametrize("mode", ["observe", "contain"])
def test_the_other_modes_switch_alike(mode: str) -> None:
    outcome = orderly(run("hosted", "kinds", preload=False, IA2_EXIT_MODE=mode))
    assert outcome.said == ["body", *AT_EXIT, *FINI]

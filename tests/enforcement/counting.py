"""What is counted at the end: compared with the events, by compartment, and added up."""

from __future__ import annotations

from ia2exit.events import CompartmentCounts, Enter, Leave, Register

from .watching import Outcome

#: Disjoint: each destructor that ran is one of these.
OUTCOMES = ("success", "fallback", "violation", "contained", "unenforced", "bypassed", "unfinished")
#: What else is counted for each compartment.
TALLIES = ("unknown", "foreign", "vague", "bystander", "switches", "wrpkru", "mprotect")


def check_row(outcome: Outcome, one: CompartmentCounts) -> None:
    """What the events say of the destructors of one compartment, or of nobody's."""
    mine = [event.seq for event in outcome.of(Enter) if event.owner == one.id]
    assert one.ran == sum(getattr(one, name) for name in OUTCOMES) == len(mine)
    assert {event.owner_name for event in outcome.of(Enter) if event.seq in mine} <= {one.name}
    returned = [event for event in outcome.of(Leave) if event.seq in mine]
    for name in ("success", "fallback", "contained"):
        assert getattr(one, name) == sum(event.outcome == name for event in returned), name
    ended = [event for event in outcome.violations if event.action == "ended" and event.destructor]
    culprits = [event for event in ended if event.destructor and event.destructor.seq in mine]
    assert one.violation == sum(event.outcome == "violation" for event in returned) + len(culprits)
    assert one.unfinished == len(mine) - len(returned) - len(culprits)
    for name in ("foreign", "vague"):
        said = [event for event in outcome.of(Register) if getattr(event, name) and event.owner == one.id]
        assert getattr(one, name) == len(said), name


def check_counters(outcome: Outcome) -> None:
    """Disjoint, adding up: for each compartment, and all of them to the total."""
    of, each = outcome.counters, outcome.of(CompartmentCounts)
    assert of.ran == sum(getattr(of, name) for name in OUTCOMES) == len(outcome.of(Enter))
    for name in ("ran", *OUTCOMES, *TALLIES):
        assert getattr(of, name) == sum(getattr(one, name) for one in each), name
    assert len({one.id for one in each}) == len(each)
    for one in each:
        assert any(getattr(one, name) for name in ("ran", *TALLIES))
        check_row(outcome, one)
        assert one.unknown == 0 or one.id is None
    assert of.lost == of.out_of_order == 0

"""IA2_EXIT_FORCE_LEGACY=1, the way back: every scenario behaves as in the vanilla build, and nothing is recorded."""

from __future__ import annotations

import pytest

from ia2exit.events import Exit, Start

from .bed import SCENARIOS, Bed

SAID = b"libia2.so: IA2_EXIT_FORCE_LEGACY=1: nothing is recorded, and exit drops all protection\n"
#: Scenarios that end past every exit that the runtime stands in front of then: by _exit, within libc, by a signal.
UNSEEN = {"underscore-exit", "errx", "last-thread", "abort"}


@pytest.mark.parametrize("build", ["linked-legacy", "preloaded-legacy-enforce"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_way_back(bed: Bed, scenario: str, build: str) -> None:
    vanilla, back = bed.run("vanilla", scenario), bed.run(build, scenario)
    assert back.status == vanilla.status
    assert back.stdout == vanilla.stdout
    assert back.stderr == SAID + vanilla.stderr
    assert back.log == vanilla.log

    seen = [] if scenario in UNSEEN else [Exit]
    for pid in {event.pid for event in back.events}:
        start, *rest = (event for event in back.events if event.pid == pid)
        assert isinstance(start, Start)
        assert start.backend == "legacy"
        assert [type(event) for event in rest] == seen

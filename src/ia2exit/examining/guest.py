"""Checks of the group ``guest``: what ``ia2exit vm`` needs of this machine.

/dev/kvm is no part of that: the guest's CPU is emulated.
"""

from __future__ import annotations

from ia2exit.examining.records import Check, Facts
from ia2exit.vm.needs import Need


def _tool(need: Need) -> Check:
    return Check(
        group="guest",
        name=need.name,
        state="ok" if need.found else "missing",
        found=need.found or "not found",
        means=need.why if need.found else f"`ia2exit vm` does not run: it {need.why}",
        remedy=None if need.found else need.remedy,
    )


def _kernel(facts: Facts) -> Check:
    return Check(
        group="guest",
        name="kernel",
        state="ok" if facts.kernel else "missing",
        found=f"Linux {facts.kernel}, in the cache" if facts.kernel else "none in the cache",
        means="the guest boots it" if facts.kernel else "`ia2exit vm` needs --kernel VMLINUZ",
        remedy=None if facts.kernel else "ia2exit vm --setup",
    )


def checks(facts: Facts) -> list[Check]:
    """One for each thing that the guest needs, whatever these are."""
    return [*map(_tool, facts.needs), _kernel(facts)]

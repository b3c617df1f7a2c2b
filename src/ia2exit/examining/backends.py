"""Checks of the group ``backends``: a real program under each, and what ``auto`` takes."""

from __future__ import annotations

from ia2exit.examining.keys import without_keys
from ia2exit.examining.records import Check, Closing, Facts, State, Trace

_BELOW = "see what is missing below: preload, seccomp, mappings in /proc, closing by mprotect"


def _account(trace: Trace) -> str:
    if trace.backend is None:
        return trace.said or f"{trace.program} ended without an event of the runtime"
    if trace.ran == 0:
        return f"{trace.program} ran no destructor" + (f": {trace.said}" if trace.said else "")
    each = "each" if trace.success == trace.ran else f"{trace.success} of them"
    return f"{trace.program} ran {trace.ran} destructors, {each} with only its owner's memory open"


def auto(facts: Facts) -> Check:
    """What programs get by default."""
    trace = facts.trace("auto")
    why = f" ({trace.why})" if trace.why else ""
    state: State = "ok" if trace.closed and trace.backend == "pku" else "limited" if trace.closed else "missing"
    means = {
        "ok": "each thread has its own rights at exit; a switch is one instruction",
        "limited": "an exit is closed while the process has one thread; beside others destructors count as unenforced "
        "(--park-threads stops those)",
        "missing": "no program can be isolated here at its exit",
    }
    remedies = {
        "ok": None,
        "limited": without_keys(facts),
        "missing": _BELOW,
    }
    return Check(
        group="backends",
        name="auto",
        state=state,
        found=f"{trace.backend}{why}" if trace.closed else _account(trace) + why,
        means=means[state],
        remedy=remedies[state],
    )


def _backend(facts: Facts, name: Closing, means: str, without: str, remedy: str) -> Check:
    trace = facts.trace(name)
    works = trace.closed and trace.backend == name
    return Check(
        group="backends",
        name=name,
        state="ok" if works else "missing",
        found=_account(trace),
        means=means if works else without,
        remedy=None if works else remedy,
    )


def pku(facts: Facts) -> Check:
    """Protection keys."""
    return _backend(
        facts,
        "pku",
        "protection keys close memory for each thread by itself",
        "no program is isolated by keys: --backend pku is refused, or fails",
        without_keys(facts),
    )


def mprotect(facts: Facts) -> Check:
    """Page protections."""
    return _backend(
        facts,
        "mprotect",
        "page protections close memory where keys cannot",
        "programs with more compartments than keys cannot be isolated; without keys, none can",
        _BELOW,
    )


CHECKS = [auto, pku, mprotect]

"""The verb ``doctor``: what this machine can do, what is missing, and what helps.

:mod:`.asking` collects facts: it reads, has :mod:`.trials` try things in processes of their own, and runs a real
program under the runtime. Each group of checks is a module that judges the facts; the facts know nothing of the
checks, so that a test can make up any machine. Adding a check is adding a function to its group's ``CHECKS``.
"""

from __future__ import annotations

from ia2exit.examining import backends, debugging, guest, keys, libc, system
from ia2exit.examining.asking import look
from ia2exit.examining.records import Check, Closing, Diagnosis, Facts

__all__ = ["Check", "Diagnosis", "Facts", "doctor", "judge", "look"]

_CHECKS = [*backends.CHECKS, *keys.CHECKS, *system.CHECKS, *libc.CHECKS, *debugging.CHECKS]


def doctor() -> Diagnosis:
    """Examine this machine. Raises nothing for what it lacks; takes a fraction of a second, and changes nothing."""
    return judge(look())


def judge(facts: Facts) -> Diagnosis:
    """What follows from facts."""
    closing: tuple[Closing, ...] = ("pku", "mprotect")
    auto = facts.trace("auto")
    return Diagnosis(
        ia2exit=facts.version,
        linux=facts.release,
        glibc=libc.version(facts),
        closes=[name for name in closing if facts.trace(name).closed and facts.trace(name).backend == name],
        auto=auto.backend if auto.backend in ("pku", "mprotect", "none") else None,  # type: ignore[arg-type]
        auto_why=auto.why,
        free_keys=facts.trial("keys").value,
        compartments=keys.compartments(facts),
        checks=[*(check(facts) for check in _CHECKS), *guest.checks(facts)],
    )

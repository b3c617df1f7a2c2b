"""Machines that are made up: facts for :func:`ia2exit.examining.judge`, beginning with one that has everything."""

from __future__ import annotations

from typing import Any

import msgspec

from ia2exit.examining import Check, Facts, judge
from ia2exit.examining.asking import BACKENDS
from ia2exit.examining.records import Trace, Trial
from ia2exit.examining.trials import TRIALS
from ia2exit.vm.needs import Need

NO_KEYS = "the CPU or the kernel has no protection keys"
FILTER = 2


def traced(backend: str | None, **members: Any) -> Trace:
    """A program whose destructors were all closed in."""
    return Trace(program="/bin/true", backend=backend, glibc="2.41", ran=2, success=2, **{"audited": True, **members})


MACHINE = Facts(
    version="1.2.3",
    release="6.18.0-test",
    flags=frozenset({"fpu", "pku", "ospke"}),
    trials={name: Trial(works=True, value=15 if name == "keys" else 0) for name in TRIALS},
    untried=None,
    seccomp=0,
    max_map_count=65530,
    ptrace_scope=0,
    runtime="/opt/ia2exit/libia2.so",
    runtime_missing=None,
    traces={name: traced("pku" if name == "auto" else name) for name in BACKENDS},
    loader="ld.so (GNU libc) stable release version 2.41.",
    auditing=True,
    gdb="/usr/bin/gdb",
    needs=[Need("qemu", "/usr/bin/qemu", "emulates a CPU", "as root: apt-get install qemu")],
    kernel="6.12.1",
)


def machine(**members: Any) -> Facts:
    """The machine that has everything, less what is named."""
    return msgspec.structs.replace(MACHINE, **members)


def failing(name: str, trial: Trial, **members: Any) -> Facts:
    """The machine where one trial goes otherwise."""
    return machine(trials={**MACHINE.trials, name: trial}, **members)


def without_keys(**members: Any) -> Facts:
    """A machine whose CPU has no protection keys."""
    trials = {**MACHINE.trials, **dict.fromkeys(("keys", "key"), Trial(works=False, errno="ENOSPC"))}
    refused = Trace(program="/bin/true", said=f"libia2.so: IA2_EXIT_BACKEND=pku cannot be had: {NO_KEYS}")
    traces = {**MACHINE.traces, "auto": traced("mprotect", why=NO_KEYS), "pku": refused}
    return machine(**{"flags": frozenset({"fpu"}), "trials": trials, "traces": traces, **members})


def check(facts: Facts, name: str) -> Check:
    """The check of that name."""
    (found,) = (one for one in judge(facts).checks if one.name == name)
    return found

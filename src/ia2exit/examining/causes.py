"""Why a trial failed, and what helps: an old kernel, a seccomp filter, or something else."""

from __future__ import annotations

import re
from typing import NamedTuple

from ia2exit.examining.records import Check, Facts, Trial

#: What a filter answers as a rule; ENOSYS so that callers think the kernel old.
_DENIALS = ("EPERM", "EACCES", "ENOSYS")
#: What a kernel answers that does not know a call, an option of prctl, an ioctl.
_UNKNOWN = ("ENOSYS", "EINVAL", "ENOTTY")
_FILTER = 2


class Call(NamedTuple):
    """Something that the runtime asks of the kernel.

    Attributes:
        name: what it is called.
        since: the first Linux that has it.
        through: the system call that a filter would have to let through.
    """

    name: str
    since: tuple[int, int]
    through: str

    @property
    def first(self) -> str:
        """The first release, as people write it."""
        return f"Linux {self.since[0]}.{self.since[1]}"


#: Trial -> what it calls.
CALLS = {
    "keys": Call("pkey_alloc", (4, 9), "pkey_alloc"),
    "pkey_mprotect": Call("pkey_mprotect", (4, 9), "pkey_mprotect"),
    "memfd": Call("memfd with seals", (3, 17), "memfd_create"),
    "dispatch": Call("Syscall User Dispatch", (5, 11), "prctl"),
    "mseal": Call("mseal", (6, 10), "mseal"),
    "procmap": Call("PROCMAP_QUERY", (6, 11), "ioctl"),
    "readv": Call("process_vm_readv", (3, 2), "process_vm_readv"),
    "mem": Call("/proc/self/mem", (2, 6), "pwrite64"),
    "trace": Call("ptrace", (2, 6), "ptrace"),
}


def _release(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def is_older(facts: Facts, call: Call) -> bool:
    """Whether this kernel is older than the call."""
    return _release(facts.release) < call.since


def is_denied(facts: Facts, name: str) -> bool:
    """Whether a trial failed because somebody does not allow the call: a filter, as far as one can tell."""
    trial = facts.trial(name)
    if trial.works:
        return False
    if trial.signal == "SIGSYS":
        return True
    return facts.seccomp == _FILTER and trial.errno in _DENIALS and not _is_unknown(facts, name, trial)


def _is_unknown(facts: Facts, name: str, trial: Trial) -> bool:
    return name in CALLS and trial.errno in _UNKNOWN and is_older(facts, CALLS[name])


def because(facts: Facts, name: str) -> str:
    """What was seen of a trial that failed, one clause."""
    trial = facts.trial(name)
    if trial.signal is not None:
        return f"the process dies of it ({trial.signal})" + (": seccomp" if trial.signal == "SIGSYS" else "")
    if trial.detail:
        return trial.detail
    if _is_unknown(facts, name, trial):
        return f"Linux {facts.release} does not have it ({trial.errno})"
    if is_denied(facts, name):
        return f"the seccomp filter denies it ({trial.errno})"
    if trial.errno == "ENOSYS":
        return "ENOSYS: a sandbox hides it, or the kernel was built without it"
    return f"it fails with {trial.errno}" if trial.errno else "it fails"


def remedy(facts: Facts, name: str) -> str:
    """What brings a call that failed."""
    call = CALLS[name]
    if is_denied(facts, name):
        return (
            f"allow {call.through} in the seccomp profile of the container or service "
            f"(docker run --security-opt seccomp=FILE, systemd SystemCallFilter={call.through})"
        )
    if is_older(facts, call):
        return f"boot {call.first} or later"
    return f"run on a kernel that has it ({call.first} or later), outside a sandbox"


def of_call(facts: Facts, name: str, means: str, without: str) -> Check:
    """The check of a call that the runtime does without where it must.

    Args:
        facts: what was seen.
        name: of the trial, in :data:`CALLS`.
        means: what the call is for.
        without: what happens where it fails.
    """
    trial = facts.trial(name)
    works = trial.works
    deadly = "programs die under the runtime, which makes this call"
    return Check(
        group="kernel",
        name=CALLS[name].name,
        state="ok" if works else "missing" if trial.signal else "limited",
        found="works" if works else because(facts, name),
        means=means if works else deadly if trial.signal else without,
        remedy=None if works else remedy(facts, name),
    )

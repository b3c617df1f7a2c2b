"""Checks of the group ``kernel``: what the runtime wants of it, and what the sandbox around us denies."""

from __future__ import annotations

from ia2exit.examining.causes import CALLS, because, is_denied, of_call
from ia2exit.examining.records import Check, Facts

#: The runtime closes at most so many pieces (IA2_PIECES), and each may cut one mapping into three.
_MAPPINGS = 2 * 8192


def protections(facts: Facts) -> Check:
    """``mprotect`` itself."""
    works = facts.trial("protection").works
    return Check(
        group="kernel",
        name="closing by mprotect",
        state="ok" if works else "missing",
        found="a page without any right cannot be read" if works else because(facts, "protection"),
        means="page protections close memory to instructions and to the kernel"
        if works
        else "page protections cannot protect anything here",
        remedy=None if works else "run outside this sandbox",
    )


def mappings(facts: Facts) -> Check:
    """The list of mappings in /proc."""
    trial = facts.trial("maps")
    return Check(
        group="kernel",
        name="mappings in /proc",
        state="ok" if trial.works else "missing",
        found="/proc/thread-self/maps can be read" if trial.works else because(facts, "maps"),
        means="memory comes back with the protection that it had"
        if trial.works
        else "nothing is closed: the runtime cannot tell which protection memory must get back",
        remedy=None if trial.works else "as root: mount -t proc proc /proc",
    )


def procmap(facts: Facts) -> Check:
    """One mapping at a time."""
    return of_call(
        facts,
        "procmap",
        "mappings are asked for one at a time",
        "mappings are read as text: an exit takes longer the more there are; nothing else changes",
    )


def dispatch(facts: Facts) -> Check:
    """System calls of destructors."""
    return of_call(
        facts,
        "dispatch",
        "system calls of destructors are seen: closed memory in one is a violation like any other",
        "closed memory in a system call is EFAULT to the destructor, and no event says so; instructions are "
        "stopped all the same",
    )


def memfd(facts: Facts) -> Check:
    """The exit map in a sealed file."""
    return of_call(
        facts,
        "memfd",
        "the exit map lies in a file that nobody can write",
        "the exit map is private read-only memory; that is all",
    )


def mseal(facts: Facts) -> Check:
    """The mapping of the exit map."""
    return of_call(
        facts,
        "mseal",
        "the mapping of the exit map cannot be changed",
        "the mapping of the exit map could be replaced by code that makes system calls of its own; that is all",
    )


def mem(facts: Facts) -> Check:
    """Past RELRO."""
    return of_call(
        facts,
        "mem",
        "dynamic sections are edited without opening RELRO",
        "RELRO is opened for the edit of a dynamic section and closed again, which takes a little longer",
    )


def readv(facts: Facts) -> Check:
    """Memory that may not be there, or be closed."""
    return of_call(
        facts,
        "readv",
        "memory that may not be there is looked at by one call",
        "memory that may not be there is looked at through /proc/self/mem, which takes longer; that is all",
    )


def most_mappings(facts: Facts) -> Check:
    """``vm.max_map_count``."""
    most = facts.max_map_count
    enough = most is not None and most >= _MAPPINGS
    return Check(
        group="kernel",
        name="vm.max_map_count",
        state="ok" if enough else "limited",
        found="cannot be read" if most is None else f"{most}",
        means="closing a page may cut a mapping into three: there is room"
        if enough
        else "closing a page may cut a mapping into three: a program with many may have no room, and is unenforced",
        remedy=None if enough else "as root: sysctl vm.max_map_count=65530",
    )


def seccomp(facts: Facts) -> Check:
    """What a filter takes away, of what we need."""
    trials = {call.through: facts.trial(name) for name, call in CALLS.items() if is_denied(facts, name)}
    denied = [f"{call} ({trial.errno or trial.signal})" for call, trial in trials.items()]
    modes = {0: "no filter", 1: "strict mode", 2: "a filter"}
    if facts.seccomp is None:
        found = "/proc/self/status does not say"
    else:
        found = modes.get(facts.seccomp, f"mode {facts.seccomp}")
    if denied:
        found += f" that denies {', '.join(denied)}"
    elif facts.trials and facts.seccomp:
        found += " that denies nothing of what is needed"
    return Check(
        group="kernel",
        name="seccomp",
        state="limited" if denied else "ok",
        found=found,
        means="what is denied is a check of its own, and says what becomes of programs without it"
        if denied
        else "no sandbox is in the way",
        remedy=f"allow {', '.join(trials)} in the profile of the container or service "
        f"(docker run --security-opt seccomp=FILE, systemd SystemCallFilter={' '.join(trials)})"
        if denied
        else None,
    )


def shadow_stack(facts: Facts) -> Check:
    """The runtime keeps it, so nothing is ever missing."""
    trial = facts.trial("shadow")
    if trial.works:
        found = "in use" if trial.value else "not in use; the kernel could give one"
    else:
        found = "none on this CPU and kernel"
    return Check(
        group="kernel",
        name="shadow stack",
        state="ok",
        found=found,
        means="the runtime is built for it (CET): a program that has one keeps it",
        remedy=None,
    )


CHECKS = [
    protections,
    mappings,
    procmap,
    dispatch,
    memfd,
    mseal,
    mem,
    readv,
    most_mappings,
    seccomp,
    shadow_stack,
]

"""Checks of the group ``libc``: glibc, and the two ways by which ld.so lets us in."""

from __future__ import annotations

import re

from ia2exit.examining.causes import because
from ia2exit.examining.records import Check, Facts

#: The first glibc with ``_dl_find_object``.
_OLDEST = (2, 35)


def version(facts: Facts) -> str | None:
    """Of the glibc that programs get: by a program itself, else by ld.so."""
    told = facts.trace("none").glibc
    if told is None and facts.loader is not None:
        found = re.search(r"\bversion (\d+\.\d+)", facts.loader)
        told = found[1] if found else None
    return told


def glibc(facts: Facts) -> Check:
    """Its version."""
    told = version(facts)
    numbers = tuple(int(part) for part in re.findall(r"\d+", told or "")[:2])
    works = numbers >= _OLDEST
    loader = f"; {facts.loader}" if facts.loader else "; ld.so does not say its version"
    return Check(
        group="libc",
        name="glibc",
        state="ok" if works else "missing",
        found=f"{told or 'unknown'}{loader}",
        means="programs of this system can be covered" if works else "the runtime needs glibc 2.35 or later",
        remedy=None if works else "a distribution with glibc 2.35 or later (Debian 12, Ubuntu 22.04, Fedora 36)",
    )


def find_object(facts: Facts) -> Check:
    """``_dl_find_object``, in the libc of this Python."""
    works = facts.trial("find").works
    return Check(
        group="libc",
        name="_dl_find_object",
        state="ok" if works else "missing",
        found="works" if works else because(facts, "find"),
        means="the runtime learns without a lock which object holds an address"
        if works
        else "the runtime does not load into programs with this libc",
        remedy=None if works else "glibc 2.35 or later, and a Python of this system's (not a static or musl build)",
    )


def preload(facts: Facts) -> Check:
    """A real program with the runtime, backend ``none``."""
    trace = facts.trace("none")
    works = trace.backend is not None and trace.ran > 0
    return Check(
        group="libc",
        name="preload",
        state="ok" if works else "missing",
        found=f"{trace.program} told of {trace.ran} destructors"
        if works
        else trace.said or f"{trace.program} told of no destructor",
        means="unmodified programs load the runtime"
        if works
        else "the runtime does not get into programs: `ia2exit run` shows nothing",
        remedy=None if works else _preload_remedy(facts),
    )


def _preload_remedy(facts: Facts) -> str:
    if facts.runtime is None:
        return "pip install ia2exit; in a checkout: cmake -G Ninja -B build && ninja -C build ia2"
    return f"see why: LD_PRELOAD={facts.runtime} LD_DEBUG=libs {facts.trace('none').program}"


def auditing(facts: Facts) -> Check:
    """``LD_AUDIT``: does the module of ours answer, and if not, does ld.so look for any?"""
    works = facts.trace("none").audited
    if works:
        found = "libia2_audit.so answers"
    elif facts.auditing:
        found = "ld.so looks for modules, and libia2_audit.so does not answer"
    else:
        found = "ld.so takes no notice of LD_AUDIT"
    return Check(
        group="libc",
        name="auditing",
        state="ok" if works else "limited",
        found=found,
        means="objects that come by dlopen are known before their constructors run, and those of dlmopen at all"
        if works
        else "objects that come by dlopen are known at the next registration, unload or exit only; of dlmopen, none",
        remedy=None if works else _audit_remedy(facts),
    )


def _audit_remedy(facts: Facts) -> str:
    if facts.runtime is None:
        return "the runtime first: see preload"
    if not facts.auditing:
        return "a glibc built with auditing; ia2exit run without --audit does not need it"
    return "build both libraries anew: cmake -G Ninja -B build && ninja -C build ia2 ia2_audit"


CHECKS = [glibc, find_object, preload, auditing]

"""Checks of the group ``keys``: the CPU's, the kernel's, and how many are free."""

from __future__ import annotations

from ia2exit.examining.causes import because, is_denied, remedy
from ia2exit.examining.records import MOST_COMPARTMENTS, Check, Facts

_MPROTECT = "nothing to do: the backend mprotect does it"
_GUEST = "`ia2exit vm -- CMD` runs a command where there are keys"


def without_keys(facts: Facts) -> str:
    """What helps where keys cannot be had, whatever the reason."""
    instead = [_MPROTECT] if facts.trace("mprotect").closed else []
    return "; ".join([*instead, *_for_keys(facts), _GUEST])


def _for_keys(facts: Facts) -> list[str]:
    flags = facts.flags or frozenset()
    denied = [remedy(facts, call) for call in ("keys", "pkey_mprotect") if is_denied(facts, call)]
    if denied or "ospke" in flags:
        return [f"for keys, {text}" for text in denied[:1]]
    if "pku" in flags:
        return ["for keys, boot a kernel with CONFIG_X86_INTEL_MEMORY_PROTECTION_KEYS, and without nopku"]
    if "hypervisor" in flags:
        return ["if the host's CPU has keys, show them to this virtual machine (QEMU: -cpu host)"]
    return []


def cpu(facts: Facts) -> Check:
    """``pku``: the CPU has keys; ``ospke``: the kernel has switched them on (Intel SDM volume 2, CPUID leaf 7)."""
    if facts.flags is None:
        found = "/proc/cpuinfo cannot be read"
    elif "ospke" in facts.flags:
        found = "pku ospke"
    elif "pku" in facts.flags:
        found = "pku without ospke: the kernel does not use the keys that the CPU has"
    else:
        found = "neither pku nor ospke"
    works = facts.flags is not None and "ospke" in facts.flags
    return Check(
        group="keys",
        name="CPU flags",
        state="ok" if works else "missing",
        found=found,
        means="the CPU has protection keys and the kernel uses them" if works else "there is no backend pku",
        remedy=None if works else without_keys(facts),
    )


def free(facts: Facts) -> Check:
    """As many as a fresh process can have."""
    trial = facts.trial("keys")
    count = trial.value if trial.works else 0
    if count < 2:
        return Check(
            group="keys",
            name="free keys",
            state="missing",
            found=f"{count}" if trial.works else f"0: {_no_key(facts)}",
            means="keys are for no compartment: the runtime wants one for itself and one for each",
            remedy=without_keys(facts),
        )
    enough = compartments(facts)
    most = " (there are no more)" if enough == MOST_COMPARTMENTS else ""
    return Check(
        group="keys",
        name="free keys",
        state="ok" if enough == MOST_COMPARTMENTS else "limited",
        found=f"{count}",
        means=f"enough for {enough} compartments and the runtime{most}; with more, auto takes mprotect",
        remedy=None
        if enough == MOST_COMPARTMENTS
        else f"{_MPROTECT} for more; see what takes keys in every process (a preloaded library)",
    )


def _no_key(facts: Facts) -> str:
    if facts.trial("keys").errno in ("ENOSPC", "EINVAL"):  # what Linux says without keys (mm/mprotect.c)
        return "pkey_alloc gives none"
    return f"pkey_alloc: {because(facts, 'keys')}"


def compartments(facts: Facts) -> int:
    """How many compartments the free keys are for, with one of them for the runtime."""
    trial = facts.trial("keys")
    return min(max(trial.value - 1, 0), MOST_COMPARTMENTS) if trial.works else 0


def closing(facts: Facts) -> Check:
    """A page of a closed key."""
    works = facts.trial("key").works
    none = "there is no key to close it with" if not facts.trial("keys").works else None
    return Check(
        group="keys",
        name="closing by key",
        state="ok" if works else "missing",
        found="a page whose key is closed cannot be read" if works else none or because(facts, "key"),
        means="keys close memory to instructions and to the kernel" if works else "keys cannot protect anything here",
        remedy=None if works else without_keys(facts),
    )


CHECKS = [cpu, free, closing]

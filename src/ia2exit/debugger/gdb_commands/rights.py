"""The PKRU of a destructor: before, wanted and after, as run.c and close_pku.c have it."""

from __future__ import annotations

from typing import NamedTuple

from ia2exit.debugger.gdb_commands import register
from ia2exit.debugger.gdb_commands.compartments import Compartments
from ia2exit.debugger.gdb_commands.records import FLAGS, NO_OWNER, Record
from ia2exit.debugger.gdb_commands.runtime import Runtime
from ia2exit.debugger.gdb_commands.threads import Thread

_SHARED, _ALL = 0xFFFFFFFC, 0xFFFFFFFF
_VAGUE = next(bit for bit, word in FLAGS.items() if word == "vague")


class Rights(NamedTuple):
    """Values of PKRU around one call; None where it cannot be told, ``why`` then says why."""

    before: int | None
    wanted: int | None
    after: int | None
    why: str
    #: No register has these values: they are what it would be, with each compartment's number as its key.
    virtual: bool


def bits(key: int) -> int:
    """The two bits of a key."""
    return 3 << 2 * key


def of(runtime: Runtime, known: Compartments, thread: Thread | None, chain: list[Record], record: Record) -> Rights:
    """The rights of a record that the thread runs (it is in ``chain``, innermost first) or is about to run."""
    place = next((i for i, each in enumerate(chain) if each.address == record.address), None)
    if runtime.backend != "pku":
        outer = chain[0] if place is None and chain else None
        if place is not None and place + 1 < len(chain):
            outer = chain[place + 1]
        resting = _SHARED if thread is not None and thread.exits else 0
        before = resting if outer is None else _virtual(runtime, outer)
        wanted = _virtual(runtime, record)
        return Rights(before, wanted, before, "" if wanted is not None else "a compartment above 15 has no key", True)
    if thread is not None and place is not None:
        wanted = thread.pkru if place == 0 else chain[place - 1].outer_pkru
        return Rights(record.outer_pkru, wanted, record.outer_pkru, "", False)
    now = register.pkru(runtime).value
    before = _present(runtime, thread, now)
    if int(runtime.variable("host", "attach.c")["size"]) != 0:
        return Rights(before, None, before, "the host runtime says when it is called", False)
    return Rights(before, _with_keys(runtime, known, record, before), before, "", False)


def _virtual(runtime: Runtime, record: Record) -> int | None:
    """backend.c's ia2_pkru_of_rights() without keys."""
    if _has_all(runtime, record):
        return 0
    opened = _owners(record)
    if any(number > 15 for number in opened):
        return None
    value = _SHARED
    for number in opened:
        value &= ~bits(number)
    return value


def _with_keys(runtime: Runtime, known: Compartments, record: Record, before: int | None) -> int | None:
    """What ia2_pku_of() gives: the program's own keys stay as they are."""
    own = runtime.sealed("runtime_bits")
    if _has_all(runtime, record):
        return own
    if before is None:
        return None
    closed = every = runtime.number("all_bits", "close_pku.c")
    for number in _owners(record):
        closed &= ~bits(known.keys[number]) if number in known.keys else _ALL
    return before & ~every & ~own & _ALL | closed | own


def _present(runtime: Runtime, thread: Thread | None, now: int | None) -> int | None:
    """run.c's present_pkru()."""
    if thread is not None and thread.depth > 0:
        return thread.pkru
    if thread is not None and thread.resting_pkru is not None:
        return thread.resting_pkru
    return None if now is None else now | runtime.sealed("runtime_bits")


def _has_all(runtime: Runtime, record: Record) -> bool:
    return record.owner == NO_OWNER or bool(runtime.sealed("allow_all"))


def _owners(record: Record) -> list[int]:
    """The compartments that are open besides shared memory."""
    return [number for number in (record.owner, record.also if record.flags & _VAGUE else 0) if number]

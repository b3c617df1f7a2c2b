"""What the reader of a run should know beside the table: one sentence each, only what the trace shows."""

from __future__ import annotations

import os
import signal as signals
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ia2exit.model import EVENTS_VERSION
from ia2exit.running.isolation import OUTCOMES
from ia2exit.running.launch import Ended
from ia2exit.running.records import Process
from ia2exit.running.trace import Trace

if TYPE_CHECKING:
    from ia2exit.exitmap import BinaryObject
    from ia2exit.running.hang import Patience

#: At most so many names in one sentence.
_MAX_NAMES = 5


class _Run(NamedTuple):
    """What is known of a run beside its trace."""

    ended: Ended
    patience: Patience | None
    follow: bool


def notes(trace: Trace, ended: Ended, program: str, patience: Patience | None = None, *, follow: bool) -> list[str]:
    """Sentences about a run that has ended."""
    found = []
    run = _Run(ended, patience if patience is not None and patience.over else None, follow)
    if not trace.processes:
        found.append(
            f"the runtime left no event: {program} did not load it, has a libc that it refuses, or was ended before it "
            "could write; LD_DEBUG=libs shows what ld.so loads"
        )
        found += [] if run.patience is None else [_overdue(program, run.patience, run.ended)]
    for process in trace.processes:
        label = f"{process.program} (pid {process.pid})" if len(trace.processes) > 1 else process.program
        found += _about(process, process is trace.processes[0], run, label)
    if trace.malformed:
        found.append(f"{trace.malformed} lines of the trace are no events and were left out ({trace.why})")
    if trace.truncated:
        found.append("the last line of the trace is cut off: the program was ended while it was written")
    return found


def never_loaded(trace: Trace, listed: Sequence[BinaryObject]) -> list[str]:
    """Objects of the exit map that no process has loaded: one sentence for all of them."""
    loaded = [event for process in trace.processes for event in process.objects]
    ids = {event.build_id for event in loaded if event.build_id}
    names = {os.path.basename(event.path) for event in loaded}
    missing = [item.name for item in listed if (item.build_id or "") not in ids and item.name not in names]
    if not missing or not loaded:
        return []
    rest = f" and {len(missing) - _MAX_NAMES} more" if len(missing) > _MAX_NAMES else ""
    return [f"the exit map lists what was never loaded: {', '.join(missing[:_MAX_NAMES])}{rest}"]


def _about(process: Process, first: bool, run: _Run, label: str) -> list[str]:
    return [
        *(f"{label}: {fault.what}: {fault.detail}" for fault in process.faults if fault.is_message),
        *_version(process, label),
        *_how_it_ended(process, first, run, label),
        *_not_followed(process, label),
        *_unenforced(process, label),
        *_gaps(process, label),
    ]


def _version(process: Process, label: str) -> Iterator[str]:
    if process.start and process.start.version != EVENTS_VERSION:
        yield (
            f"{label}: its events are of version {process.start.version}, expected {EVENTS_VERSION}: "
            "libia2.so and this package do not belong together; install both anew"
        )


def _how_it_ended(process: Process, first: bool, run: _Run, label: str) -> Iterator[str]:
    left = _count(process.missed, "was", "were")
    if process.replaced_by is not None:
        yield _replaced(process, label, follow=run.follow)
    if first and run.patience is not None:
        yield _overdue(label, run.patience, run.ended)
    elif process.replaced_by is not None or _took_the_old_path(process, run.ended):
        pass
    elif process.end is None or process.end.how == "signal":
        yield _unfinished(process, first, run.ended, label)
    elif process.end.how == "_exit":
        yield f"{label} ended by _exit, which runs no destructor: {left} still registered"
    elif process.end.how == "quick_exit":
        yield f"{label} ended by quick_exit, which runs quick_exit handlers only: {left} still registered"


def _not_followed(process: Process, label: str) -> Iterator[str]:
    children = [event.path for event in process.execs if event.child and not event.followed]
    if children:
        were = "child was" if len(children) == 1 else "children were"
        yield f"{label}: {len(children)} {were} not followed ({_names(children)}); use --follow"


def _unenforced(process: Process, label: str) -> Iterator[str]:
    """Which destructors ran with nothing closed although the backend closes memory."""
    reasons = Counter(row.unenforced for row in process.destructors if row.unenforced is not None)
    for reason, number in reasons.items():
        remedy = "; --park-threads stops the others for the exit phase" if reason == "threads" else ""
        why = "other threads were alive" if reason == "threads" else reason
        yield f"{label}: {_count(number, 'ran', 'ran')} with nothing closed: {why}{remedy}"


def _gaps(process: Process, label: str) -> Iterator[str]:
    """What the table does not show."""
    counters = process.counters
    if counters and counters.lost:
        yield f"{label}: {counters.lost} events could not be written: the table is not complete"
    # `bypassed` counts destructors that ran with everything open, too: those are in `ran`.
    unseen = sum(getattr(counters, name) for name in OUTCOMES) - counters.ran if counters else 0
    if unseen > 0:
        yield (
            f"{label}: {unseen} registrations came before the runtime was ready, or past it: "
            "their destructors are not in the table"
        )
    never = sum(row.ns is None for row in process.destructors)
    if never and process.end is not None and process.end.how not in ("_exit", "signal"):
        yield f"{label}: {_count(never, 'was', 'were')} left without a return (exit inside, or longjmp)"


def _replaced(process: Process, label: str, *, follow: bool) -> str:
    what = f"{label} replaced itself by {process.replaced_by}"
    if process.execs[-1].followed:
        return what
    remedy = "which could not be followed" if follow else "which was not followed; use --follow"
    return f"{what}, {remedy}"


def _took_the_old_path(process: Process, ended: Ended) -> bool:
    """Whether IA2_EXIT_FORCE_LEGACY kept the end of an orderly exit from being recorded."""
    legacy = process.start is not None and process.start.backend == "legacy"
    return legacy and process.exit is not None and ended.signal is None


def _unfinished(process: Process, first: bool, ended: Ended, label: str) -> str:
    left = f": {_count(process.missed, 'was', 'were')} still registered" if process.missed else ""
    if first and ended.signal is not None:
        when = "while its destructors ran" if process.exit or process.destructors else "before its exit began"
        return f"{label} was ended by {name_of(ended.signal)} {when}{left}"
    if first:
        return f"{label} ended without passing any exit that the runtime sees{left}"
    return f"{label} had not ended in an orderly way when the program had{left}"


def _overdue(label: str, patience: Patience, ended: Ended) -> str:
    by = "ended by itself then" if ended.signal is None else f"was ended by {name_of(ended.signal)}"
    return f"{label} was still running after {patience.seconds:g} s, {_where(patience)}, and {by}"


def _where(patience: Patience) -> str:
    if not patience.asked:
        return "had not come to its exit"
    return "in its exit" if patience.answered else "in its exit, where it did not tell what it was doing"


def _count(number: int, one: str, many: str) -> str:
    return f"1 destructor {one}" if number == 1 else f"{number} destructors {many}"


def _names(paths: Sequence[str]) -> str:
    bases = list(dict.fromkeys(os.path.basename(path) for path in paths))
    return ", ".join(bases[:_MAX_NAMES] + (["…"] if len(bases) > _MAX_NAMES else []))


def name_of(number: int) -> str:
    """``SIGSEGV`` for 11; real-time signals as the shell has them, ``SIGRTMAX-2``; ``signal 32`` for others."""
    try:
        return signals.Signals(number).name
    except ValueError:
        if signals.SIGRTMIN < number < signals.SIGRTMAX:
            return f"SIGRTMAX-{signals.SIGRTMAX - number}"
        return f"signal {number}"

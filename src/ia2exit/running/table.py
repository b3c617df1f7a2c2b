"""What ran at exit, as text: for each process a table and a summary line, what went wrong, what else to know.

Plain aligned text, with a little colour where asked for; it knows nothing of where the records come from.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence

from ia2exit.errors import printable
from ia2exit.events import Outcome
from ia2exit.running.isolation import by_compartment, closing, warnings
from ia2exit.running.records import Process, Ran, RunResult
from ia2exit.running.words import BOLD, YELLOW, duration, function_of, paint, plural

#: A destructor is called slow when its own time is at least this, and this share of its process's.
SLOW_NS = 1_000_000
SLOW_SHARE = 0.1
#: Functions are not cut below this width, however narrow the terminal; without one, columns stay this close.
_MIN_FUNCTION, _MAX_FUNCTION = 24, 64
#: Handlers that call ``exit`` nest as deep as they are many.
_MAX_INDENT = 8
#: Outcomes that are marked in the table, and how.
_OUTCOMES: dict[Outcome | None, str] = {"violation": "violation", "contained": "abandoned"}
_RIGHT = {"#", "time", "own"}


def render(
    result: RunResult,
    *,
    width: int | None = None,
    colour: bool = False,
    rows: int | None = None,
    counters: bool = False,
) -> str:
    """The report of a run, with a newline at its end.

    Args:
        result: the run.
        width: columns of the terminal: functions are cut to fit; None cuts nothing.
        colour: mark headings and slow destructors with ANSI escapes.
        rows: show at most so many destructors of a process: the marked ones, and else the first.
        counters: show counts by compartment even where they say nothing but success.
    """
    lines: list[str] = []
    for process in result.processes:
        lines += _of(process, width, colour, rows)
        if process.violations or process.faults:
            from ia2exit.running.explain import explained

            lines += explained(process, result, colour)
        lines += by_compartment(process, always=counters)
    lines += [f"ia2exit: note: {printable(note)}" for note in result.notes]
    if result.trace is not None:
        lines.append(f"ia2exit: events are in {printable(result.trace)}")
    return "".join(line + "\n" for line in lines)


def _of(process: Process, width: int | None, colour: bool, rows: int | None) -> Iterator[str]:
    name = printable(f"{process.program} (pid {process.pid})")
    yield from (paint(f"ia2exit: {line}", YELLOW, colour) for line in warnings(process))
    if process.start is not None and process.start.backend == "legacy":
        return
    if not process.destructors:
        yield f"ia2exit: no destructor ran in {name}{closing(process)}{_left(process)}"
        return
    yield paint(f"ia2exit: destructors of {name}{closing(process)}", BOLD, colour)
    total = sum(row.self_ns or 0 for row in process.destructors)
    marks = _marks(process, total)
    shown = _chosen(process.destructors, marks, rows)
    cells = [_cells(row) for row in shown]
    columns = ["#", "kind", "function", "object", "owner", "time"]
    if any(row.self_ns != row.ns for row in shown):
        columns.append("own")
    if any(_when(row) for row in shown):
        columns.insert(1, "when")
    widths = {key: max([len(key), *(len(cell[key]) for cell in cells)]) for key in columns}
    if width is None:
        widths["function"] = min(widths["function"], _MAX_FUNCTION)  # a longer one pushes its line out
    else:
        beside = max((len(_mark(mark)) for mark in marks.values()), default=0)
        others = sum(widths.values()) - widths["function"] + 2 * len(columns) + beside
        widths["function"] = min(widths["function"], max(_MIN_FUNCTION, width - others))
    cut = width is not None
    yield paint(_line({key: key for key in columns}, widths, cut), BOLD, colour)
    for row, cell in zip(shown, cells, strict=True):
        line = _line(cell, widths, cut)
        yield paint(line + _mark(marks[row.order]), YELLOW, colour) if row.order in marks else line
    if len(shown) < len(process.destructors):
        yield f"  … and {len(process.destructors) - len(shown)} more (--rows 0 shows all)"
    yield _summary(process, total)


def _marks(process: Process, total: int) -> dict[int, str]:
    """What is to be said beside a row, by the number of its destructor: the worst of what is true of it."""
    marks = {row.order: "slow" for row in process.destructors if _is_slow(row, total)}
    marks |= {row.order: _OUTCOMES[row.outcome] for row in process.destructors if row.outcome in _OUTCOMES}
    for violation in process.violations:
        if violation.destructor is not None and violation.action == "ended":
            marks[violation.destructor.order] = "violation"
    for fault in process.faults:
        if fault.destructor is not None:
            marks[fault.destructor.order] = "hangs" if fault.what == "timeout" else "fault"
    return marks


def _mark(text: str) -> str:
    return f"  <- {text}"


def _is_slow(row: Ran, total: int) -> bool:
    return row.self_ns is not None and row.self_ns >= max(SLOW_NS, int(total * SLOW_SHARE))


def _chosen(rows: Sequence[Ran], marked: Collection[int], limit: int | None) -> Sequence[Ran]:
    if limit is None or len(rows) <= limit:
        return rows
    room = max(limit - len(marked), 0)
    chosen = []
    for row in rows:
        if row.order in marked:
            chosen.append(row)
        elif room:
            room -= 1
            chosen.append(row)
    return chosen


def _cells(row: Ran) -> dict[str, str]:
    return {
        "#": str(row.order),
        "when": _when(row),
        "kind": row.kind,
        "function": "  " * min(row.depth, _MAX_INDENT) + function_of(row),
        "object": printable(os.path.basename(row.object)) if row.object else "-",
        "owner": _owner(row),
        "time": duration(row.ns),
        "own": duration(row.self_ns),
    }


def _when(row: Ran) -> str:
    moment = "" if row.moment == "exit" else row.moment
    thread = "" if row.main_thread else f"thread {row.thread}"
    return f"{moment}, {thread}" if moment and thread else moment or thread


def _with_object(row: Ran) -> str:
    """A function and its object: every object has a ``_fini``."""
    named = (row.name or row.symbol) and row.object
    return function_of(row) + (f" of {printable(os.path.basename(row.object or ''))}" if named else "")


def _owner(row: Ran) -> str:
    if row.owner is None:
        return "unknown"
    marks = "".join(f" ({mark})" for mark in ("foreign", "vague") if getattr(row, mark))
    return printable(row.owner_name or str(row.owner)) + marks


def _line(cell: dict[str, str], widths: dict[str, int], cut: bool) -> str:
    return "  " + "  ".join(_fit(cell[key], width, key in _RIGHT, cut) for key, width in widths.items()).rstrip()


def _fit(text: str, width: int, right: bool, cut: bool) -> str:
    if cut and len(text) > width:
        text = text[: width - 1] + "…"
    return text.rjust(width) if right else text.ljust(width)


def _summary(process: Process, total: int) -> str:
    rows = process.destructors
    slowest = max(rows, key=lambda row: row.self_ns or 0)
    owners = len({row.owner for row in rows if row.owner is not None})
    fallbacks = sum(row.fallback is not None for row in rows)
    took = f" in {duration(total)}, slowest {_with_object(slowest)} ({duration(slowest.self_ns)})"
    return (
        f"ia2exit: {plural(len(rows), 'destructor')} of {plural(owners, 'compartment')}"
        + ("" if slowest.self_ns is None else took)
        + (f", {plural(fallbacks, 'fallback')}" if fallbacks else "")
        + _wrong(process)
        + _left(process)
    )


def _wrong(process: Process) -> str:
    faults = sum(not fault.is_message for fault in process.faults)
    violations = len(process.violations)
    return (f", {plural(violations, 'violation')}" if violations else "") + (
        f", {plural(faults, 'fault')}" if faults else ""
    )


def _left(process: Process) -> str:
    return f", {process.missed} still registered" if process.missed else ""

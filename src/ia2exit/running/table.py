"""What ran at exit, as text: for each process a table and a summary line, then what to know beside them.

Plain aligned text, with a little colour where asked for; it knows nothing of where the records come from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ia2exit.errors import printable
from ia2exit.running.records import Process, Ran, RunResult

#: A destructor is called slow when its own time is at least this, and this share of its process's.
SLOW_NS = 1_000_000
SLOW_SHARE = 0.1
#: Functions are not cut below this width, however narrow the terminal; without one, columns stay this close.
_MIN_FUNCTION, _MAX_FUNCTION = 24, 64
#: Handlers that call ``exit`` nest as deep as they are many.
_MAX_INDENT = 8
_BOLD, _YELLOW, _PLAIN = "\033[1m", "\033[1;33m", "\033[0m"
_RIGHT = {"#", "time", "own"}


def render(result: RunResult, *, width: int | None = None, colour: bool = False, rows: int | None = None) -> str:
    """The report of a run, with a newline at its end.

    Args:
        result: the run.
        width: columns of the terminal: functions are cut to fit; None cuts nothing.
        colour: mark headings and slow destructors with ANSI escapes.
        rows: show at most so many destructors of a process: the slow ones, and else the first.
    """
    lines: list[str] = []
    for process in result.processes:
        lines += _of(process, width, colour, rows)
    lines += [f"ia2exit: note: {printable(note)}" for note in result.notes]
    if result.trace is not None:
        lines.append(f"ia2exit: events are in {printable(result.trace)}")
    return "".join(line + "\n" for line in lines)


def _of(process: Process, width: int | None, colour: bool, rows: int | None) -> Iterator[str]:
    name = printable(f"{process.program} (pid {process.pid})")
    if not process.destructors:
        yield f"ia2exit: no destructor ran in {name}{_left(process)}"
        return
    yield _paint(f"ia2exit: destructors of {name}", _BOLD, colour)
    total = sum(row.self_ns or 0 for row in process.destructors)
    slow = {row.order for row in process.destructors if _is_slow(row, total)}
    shown = _chosen(process.destructors, slow, rows)
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
        others = sum(widths.values()) - widths["function"] + 2 * len(columns) + len("  <- slow")
        widths["function"] = min(widths["function"], max(_MIN_FUNCTION, width - others))
    cut = width is not None
    yield _paint(_line({key: key for key in columns}, widths, cut), _BOLD, colour)
    for row, cell in zip(shown, cells, strict=True):
        line = _line(cell, widths, cut)
        yield _paint(f"{line}  <- slow", _YELLOW, colour) if row.order in slow else line
    if len(shown) < len(process.destructors):
        yield f"  … and {len(process.destructors) - len(shown)} more (--rows 0 shows all)"
    yield _summary(process, total)


def _is_slow(row: Ran, total: int) -> bool:
    return row.self_ns is not None and row.self_ns >= max(SLOW_NS, int(total * SLOW_SHARE))


def _chosen(rows: Sequence[Ran], slow: set[int], limit: int | None) -> Sequence[Ran]:
    if limit is None or len(rows) <= limit:
        return rows
    room = max(limit - len(slow), 0)
    chosen = []
    for row in rows:
        if row.order in slow:
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


def function_of(row: Ran) -> str:
    """The best name of a function: demangled, else its symbol, else object and RVA, else its address."""
    if row.name or row.symbol:
        return printable(row.name or row.symbol or "")
    if row.object is not None and row.rva is not None:
        return printable(f"{os.path.basename(row.object)}+{row.rva}")
    return str(row.address)


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
    return (
        f"ia2exit: {_plural(len(rows), 'destructor')} of {_plural(owners, 'compartment')} in {duration(total)}, "
        f"slowest {_with_object(slowest)} ({duration(slowest.self_ns)})"
        + (f", {_plural(fallbacks, 'fallback')}" if fallbacks else "")
        + _left(process)
    )


def _left(process: Process) -> str:
    return f", {process.missed} still registered" if process.missed else ""


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(ns: int | None) -> str:
    """Nanoseconds for people, to the microsecond or better: ``312 ns``, ``12.345 µs``, ``1.234 ms``, ``2.345678 s``."""
    if ns is None:
        return "no return"
    if ns < 1_000:
        return f"{ns} ns"
    if ns < 1_000_000:
        return f"{ns / 1e3:.1f} µs"
    return f"{ns / 1e6:.3f} ms" if ns < 1_000_000_000 else f"{ns / 1e9:.6f} s"


def _paint(text: str, escape: str, colour: bool) -> str:
    return f"{escape}{text}{_PLAIN}" if colour else text

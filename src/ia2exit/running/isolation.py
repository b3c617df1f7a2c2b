"""How an exit was isolated, as text: by which backend, what was open all the same, and the counts by compartment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ia2exit.errors import printable
from ia2exit.events import CompartmentCounts, Counters
from ia2exit.running.records import Process

#: The disjoint counts, in the order of their columns; all but the first say that something was not as it should be.
OUTCOMES = ("success", "fallback", "violation", "contained", "unenforced", "bypassed", "unfinished")
#: What else is counted for each compartment.
_TALLIES = ("unknown", "foreign", "vague", "bystander", "switches", "wrpkru", "mprotect")


def closing(process: Process) -> str:
    """How memory was closed, to stand behind the name of a process; nothing where nothing was to be closed."""
    start = process.start
    if start is None or start.backend == "none":
        return ""
    why = f" (not pku: {printable(start.backend_why)})" if start.backend_why else ""
    return f", mode {start.mode}, backend {start.backend}{why}"


def warnings(process: Process) -> Iterator[str]:
    """What nobody may overlook."""
    start = process.start
    if start is None:
        return
    name = printable(f"{process.program} (pid {process.pid})")
    if start.backend == "legacy":
        yield (
            f"WARNING: {name}: IA2_EXIT_FORCE_LEGACY=1: all memory was open for the whole exit and no destructor was "
            "recorded; unset it to have them isolated"
        )
    if start.allow_all:
        yield (
            f"WARNING: {name}: IA2_EXIT_ALLOW_ALL=1: all memory was open to every destructor, nothing was isolated; "
            "unset it to have them isolated"
        )


def by_compartment(process: Process, *, always: bool) -> Iterator[str]:
    """Counts of each compartment and in total, where there is more to tell than success, or ``always``.

    Both together are wider than a terminal: how destructors went comes first, what it took only if asked for.
    """
    counters = process.counters
    if counters is None or not (always or any(getattr(counters, name) for name in OUTCOMES[1:])):
        return
    shown = [name for name in OUTCOMES if always or getattr(counters, name)]
    yield from _table(process.compartments, counters, ["ran", *shown])
    if always:
        yield from _table(process.compartments, counters, _TALLIES)
    yield (
        f"ia2exit: {counters.switches} switches, {counters.wrpkru} WRPKRU, {counters.mprotect} mprotect calls; "
        f"{counters.registered} registered, {counters.unknown} unknown, {counters.foreign} foreign, "
        f"{counters.vague} vague, {counters.bystander} bystander, {counters.out_of_order} out of order"
    )


def _table(compartments: Sequence[CompartmentCounts], counters: Counters, columns: Sequence[str]) -> Iterator[str]:
    """A row for each compartment that has any of these, and one for all."""
    rows = [["compartment", *columns]]
    rows += [[_name(count), *_numbers(count, columns)] for count in compartments if _has(count, columns)]
    rows.append(["total", *_numbers(counters, columns)])
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for name, *numbers in rows:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        yield "  " + "  ".join([name.ljust(widths[0]), *cells])


def _name(count: CompartmentCounts) -> str:
    return "nobody's" if count.id is None else printable(count.name or str(count.id))


def _has(count: CompartmentCounts, columns: Sequence[str]) -> bool:
    return any(getattr(count, column) for column in columns)


def _numbers(counts: CompartmentCounts | Counters, columns: Sequence[str]) -> list[str]:
    return [str(getattr(counts, column)) for column in columns]

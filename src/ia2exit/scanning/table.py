"""A scan as a person reads it: lines for a pipe (one destructor a line, for grep), tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ia2exit.model import Destructor, ScannedObject, ScanResult
from ia2exit.scanning.one import kinds

if TYPE_CHECKING:
    from rich.console import Console

_HEADINGS = ("OBJECT", "KIND", "RVA", "FUNCTION", "FOUND")
#: A build ID is shown by its first digits: enough to tell two builds apart.
_BUILD_ID_DIGITS = 12
#: Widths that all lines are padded to at most; a longer cell pushes the rest of its line to the right.
_WIDEST = (64, 16, 12, 48)


def lines(result: ScanResult) -> Iterator[str]:
    """Aligned text, a heading first: one line for each destructor, and one for each object without any."""
    rows = [row for scanned in result.objects for row in _rows(scanned)]
    widths = [
        min(_WIDEST[column], max([len(heading), *(len(row[column]) for row in rows)]))
        for column, heading in enumerate(_HEADINGS[:-1])
    ]
    for row in (_HEADINGS, *rows):
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()


def _rows(scanned: ScannedObject) -> Iterator[tuple[str, ...]]:
    name = printable(scanned.path)
    for destructor in scanned.destructors:
        yield (name, destructor.kind, *cells(destructor))
    if not scanned.destructors:
        yield (name, "-", "-", "(no destructors)", "")
    if scanned.why_not:
        yield (name, "-", "-", "(cannot be covered)", scanned.why_not)


def cells(destructor: Destructor) -> tuple[str, str, str]:
    """RVA, function and evidence of a destructor, as text."""
    rva = "-" if destructor.rva is None else str(destructor.rva)
    return rva, _function(destructor), _evidence(destructor)


def _function(destructor: Destructor) -> str:
    name = destructor.name or destructor.symbol
    if name is None:
        return "(known only at run time)" if destructor.rva is None else "(no symbol)"
    if destructor.object:
        return printable(f"{name} in {destructor.object}")
    if destructor.symbol_source == "import" and destructor.rva is None:
        return printable(f"{name} (imported)")
    return printable(name)


def _evidence(destructor: Destructor) -> str:
    claim = "" if destructor.claimed is None else f", note claims compartment {destructor.claimed}"
    site = destructor.site
    if destructor.found == "fini_array":
        return f".fini_array[{destructor.index}]{claim}"
    if destructor.found == "dt_fini":
        return f"DT_FINI{claim}"
    if site is None:
        return f"{destructor.found}{claim}"
    inside = f" in {printable(site.caller)}" if site.caller else ""
    return f"{site.instruction} {site.function} at {site.rva}{inside}{claim}"


def print_tables(result: ScanResult, console: Console) -> None:
    """One table for each object, with a heading that says what it is and whether it can be covered."""
    for scanned in result.objects:
        console.print(_heading(scanned), highlight=False)
        if scanned.destructors:
            console.print(_table(scanned))


def _heading(scanned: ScannedObject) -> object:
    from rich.text import Text

    heading = Text(printable(scanned.path), style="bold")
    build = scanned.build_id[:_BUILD_ID_DIGITS] if scanned.build_id else "no build ID"
    heading.append(f"  {scanned.type}, {build}", style="not bold dim")
    if scanned.claimed is not None:
        heading.append(f", note claims compartment {scanned.claimed}", style="not bold dim")
    if not scanned.destructors:
        heading.append(", no destructors", style="not bold dim")
    if scanned.why_not:
        heading.append(f"  cannot be covered: {scanned.why_not}", style="not bold yellow")
    return heading


def _table(scanned: ScannedObject) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_header=False, show_edge=False, pad_edge=True, expand=True)
    table.add_column("kind", width=13, style="cyan")
    table.add_column("rva", width=10, justify="right", style="dim")
    table.add_column("function", ratio=3, overflow="fold")
    table.add_column("found", ratio=2, overflow="fold", style="dim")
    for destructor in scanned.destructors:
        table.add_row(Text(destructor.kind), *(Text(cell) for cell in cells(destructor)))
    return table


def summary(result: ScanResult, seconds: float) -> str:
    """One line: objects, destructors by kind, files that could not be used, time."""
    counts = kinds(result.objects)
    total = sum(counts.values())
    by_kind = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda item: -item[1]))
    uncovered = sum(not scanned.coverable for scanned in result.objects)
    unnamed = sum(
        one.rva is not None and one.symbol is None for scanned in result.objects for one in scanned.destructors
    )
    parts = [
        _count(len(result.objects), "object"),
        _count(total, "destructor") + (f" ({by_kind})" if by_kind else ""),
        *([f"{_count(uncovered, 'object')} that cannot be covered"] if uncovered else []),
        *([f"{unnamed} without a symbol (a -dbgsym package would name them)"] if unnamed else []),
        _count(len(result.problems), "bad file"),
        f"{seconds:.1f} s",
    ]
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    """The text with what could steer a terminal, or is no character, written as an escape sequence."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)

"""A check as a person reads it: a table of findings, then the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ia2exit.checking.records import CheckResult, Finding, Severity
from ia2exit.errors import printable

_STYLES: dict[Severity, str] = {"error": "bold red", "crossing": "red", "warning": "yellow", "info": "dim"}
#: How many of each severity are there, as the last line says it.
_NOUNS: dict[Severity, str] = {"error": "error", "crossing": "crossing", "warning": "warning", "info": "note"}


def render(result: CheckResult, console: Console, *, verbose: bool = False) -> str:
    """As the console would print it; ``verbose``: infos, too."""
    shown = [one for one in result.findings if verbose or one.severity != "info"]
    with console.capture() as captured:
        if shown:
            console.print(_table(shown))
        for line in verdict(result, verbose=verbose):
            console.print(Text(line), soft_wrap=True)
    return "".join(line.rstrip() + "\n" for line in captured.get().splitlines())


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("severity", width=max(len(one.severity) for one in findings))
    table.add_column("name", width=max(len(one.name) for one in findings))
    table.add_column("finding", overflow="fold")
    before: str | None = None
    for one in findings:
        cell = _finding(one, "as above" if one.remedy == before else one.remedy)
        before = one.remedy
        table.add_row(Text(one.severity, style=_STYLES[one.severity]), Text(one.name, style="cyan"), cell)
    return table


def _finding(one: Finding, remedy: str | None) -> RenderableType:
    lines = [
        Text(printable(one.object), style="bold"),
        Text(printable(one.what)),
        Text(printable(f"expected: {one.expected}"), style="dim"),
        Text(printable(f"found: {one.found}")),
    ]
    if one.remedy is not None:
        lines.append(Text(printable(f"-> {remedy}")))
    return Group(*lines)


def verdict(result: CheckResult, *, verbose: bool = False) -> Iterator[str]:
    """Whether they agree, and what was compared and found."""
    agree = "agrees" if result.agrees else "does not agree"
    trace = f" and {result.trace}" if result.trace is not None else ""
    yield printable(f"ia2exit: {result.program} {agree} with {result.map}{trace} ({', '.join(result.groups)})")
    compared = [_count(result.objects, "object")]
    if "ldd" in result.groups:
        compared.append(_count(result.destructors, "destructor"))
    if "symbols" in result.groups:
        compared.append(_count(result.references, "reference"))
    if "trace" in result.groups:
        compared.append(f"{_count(result.ran, 'destructor')} that ran")
    counts = {severity: sum(one.severity == severity for one in result.findings) for severity in get_args(Severity)}
    found = [_count(count, _NOUNS[severity]) for severity, count in counts.items() if count]
    if result.allowed:
        found.append(f"{result.allowed:,} allowed")
    more = " (-v shows notes)" if counts["info"] and not verbose else ""
    yield f"ia2exit: {', '.join(compared)} compared: {', '.join(found) or 'nothing found'}{more}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

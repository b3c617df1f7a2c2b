"""A diagnosis as a person reads it: a table by groups, then the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ia2exit.errors import printable
from ia2exit.examining.records import Check, Diagnosis, State

if TYPE_CHECKING:
    from collections.abc import Iterator

_STYLES: dict[State, str] = {"ok": "green", "limited": "yellow", "missing": "bold red"}


def render(diagnosis: Diagnosis, console: Console, *, verbose: bool = False) -> str:
    """As the console would print it; ``verbose``: with what the checks that are ``ok`` mean."""
    groups: dict[str, list[Check]] = {}
    for check in diagnosis.checks:
        groups.setdefault(check.group, []).append(check)
    told: dict[str, str] = {}
    names = max(len(check.name) for check in diagnosis.checks)
    with console.capture() as captured:
        for group, checks in groups.items():
            console.print(Text(group, style="bold"))
            console.print(_table(checks, names, verbose, told))
        for line in verdict(diagnosis):
            console.print(Text(line))
    return "".join(line.rstrip() + "\n" for line in captured.get().splitlines())


def _table(checks: list[Check], names: int, verbose: bool, told: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("margin", width=0)
    table.add_column("check", width=names, overflow="fold")
    table.add_column("state", width=len("limited"))
    table.add_column("found", overflow="fold")
    for check in checks:
        state = Text(check.state, style=_STYLES[check.state])
        table.add_row("", Text(printable(check.name), style="cyan"), state, _finding(check, verbose, told))
    return table


def _finding(check: Check, verbose: bool, told: dict[str, str]) -> RenderableType:
    """What was found, what it means and what helps; one that has been ``told`` is not told again."""
    lines: list[RenderableType] = [Text(printable(check.found))]
    if verbose or check.state != "ok":
        lines.append(Text(printable(check.means), style="dim"))
    if check.remedy is not None:
        before = told.setdefault(check.remedy, check.name)
        lines.append(Text("-> " + printable(check.remedy if before == check.name else f"as for {before}")))
    return Group(*lines)


def verdict(diagnosis: Diagnosis) -> Iterator[str]:
    """What it comes down to, and the counts."""
    if diagnosis.auto in diagnosis.closes:
        why = f": {diagnosis.auto_why}" if diagnosis.auto_why else ""
        keys = (
            f", up to {diagnosis.compartments} compartments"
            if diagnosis.auto == "pku" and diagnosis.compartments
            else ""
        )
        then = ", else mprotect" if diagnosis.closes == ["pku", "mprotect"] else ""
        yield f"ia2exit: isolated at exit by backend {diagnosis.auto}{keys}{then}{why}"
    elif diagnosis.closes:
        yield f"ia2exit: isolated at exit with --backend {diagnosis.closes[0]}, not by default"
    else:
        yield "ia2exit: no program can be isolated at its exit here: no backend closes memory"
    counts = [f"{sum(check.state == state for check in diagnosis.checks)} {state}" for state in _STYLES]
    host = f"Linux {diagnosis.linux}, glibc {diagnosis.glibc or 'unknown'}"
    yield f"ia2exit: {', '.join(counts)}; version {diagnosis.ia2exit}, {host}"

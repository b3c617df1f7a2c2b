"""What came of all lanes, as tables, ``lanes/report.md`` and ``report.json``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.glibcs.known import NAMES, lane_name

from .judging import Lane, Outcomes, by_backend, judge, judge_glibc, judge_host, read

GLIBCS = tuple(map(lane_name, NAMES))


def _lanes(build: Path) -> list[Lane]:
    found = []
    judges = {"host": lambda _, results: judge_host(results), "guest": judge, "native": judge}
    for name, judged in {**judges, **dict.fromkeys(GLIBCS, judge_glibc)}.items():
        results = build / "lanes" / name
        skipped = results / "skipped"
        if skipped.is_file():
            found.append(Lane(name, skipped_because=skipped.read_text()))
        elif results.is_dir():
            found.append(judged(name, results))
        else:
            found.append(Lane(name, skipped_because="it was not asked for"))
    return found


def report(build: Path) -> int:
    """Print a row for each lane, and write the whole to ``lanes/report.md`` and ``report.json``."""
    lanes = _lanes(build)
    table = Table(title="lanes", title_justify="left", box=None, pad_edge=False)
    for heading in ("lane", "tests", "ran", "failed", "skipped", "shown to fail without the switch", "where"):
        table.add_column(heading, justify="right" if heading in {"ran", "failed", "skipped"} else "left")
    for lane in lanes:
        if lane.skipped_because is not None:
            table.add_row(lane.name, "", "", "", "", "", f"skipped: {lane.skipped_because}")
        for kind, (ran, failed, skipped) in lane.counts.items():
            proven = f"{len(lane.proven)}" if lane.proven and kind == "Python" else ""
            table.add_row(lane.name, kind, str(ran), str(failed), str(skipped), proven, lane.place)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(table)
    for lane in lanes:
        if lane.switch:
            console.print(f"lane {lane.name}: a switch: {lane.switch[0]} instructions, {lane.switch[1]} WRPKRU")
    glibcs = _glibcs(build / "lanes", lanes)
    if len(glibcs) > 1:
        table = Table(title="the same tests by glibc", title_justify="left", box=None, pad_edge=False)
        for heading in GLIBC_HEADINGS:
            table.add_column(heading, justify="left" if heading == "glibc" else "right")
        for row in glibcs:
            table.add_row(*row)
        console.print(table)
    _write(build / "lanes", lanes, glibcs)
    console.print(f"lanes: the list of what was shown to fail is in {build / 'lanes' / 'report.md'}")
    return 0


def _write(folder: Path, lanes: list[Lane], glibcs: list[list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Lanes", ""]
    for lane in lanes:
        lines += [f"## {lane.name}", ""]
        if lane.skipped_because is not None:
            lines += [f"Skipped: {lane.skipped_because}", ""]
            continue
        lines += [f"On {lane.place}.", ""]
        lines += [f"- {kind}: {ran} ran, {bad} failed, {out} skipped" for kind, (ran, bad, out) in lane.counts.items()]
        lines += [f"- a switch: {lane.switch[0]} instructions, {lane.switch[1]} WRPKRU"] if lane.switch else []
        lines += [f"- wrong: {problem}" for problem in lane.problems]
        if lane.proven:
            lines += ["", f"With a runtime that closes nothing each of these {len(lane.proven)} fails:", ""]
            lines += [f"- {test}" for test in lane.proven]
        lines.append("")
    if len(glibcs) > 1:
        cells = [list(GLIBC_HEADINGS), ["---"] * len(GLIBC_HEADINGS), *glibcs]
        lines += ["## The same tests by glibc", "", *(f"| {' | '.join(row)} |" for row in cells), ""]
    (folder / "report.md").write_text("\n".join(lines))
    (folder / "report.json").write_text(json.dumps([asdict(lane) for lane in lanes], indent=1) + "\n")


# ---- glibcs ----

GLIBC_HEADINGS = ("glibc", "C", "none", "mprotect", "pku", "of no or any backend", "seconds")


def _glibcs(folder: Path, lanes: list[Lane]) -> list[list[str]]:
    """A row for each glibc: how many tests ran. Of the host's lane those that another glibc has run, too.

    C tests try each backend that there is.
    """
    ran = {lane.name: lane for lane in lanes if lane.skipped_because is None}
    others = [name for name in GLIBCS if name in ran]
    both = {kind: [read(folder / name / f"{kind}.xml") for name in others] for kind in ("c", "python")}
    names = {kind: frozenset[str]().union(*(one.names for one in all)) for kind, all in both.items()}
    rows = []
    for name in [*(["host"] if "host" in ran and others else []), *others]:
        lane = ran[name]
        c_tests, python = (read(folder / name / f"{kind}.xml").among(names[kind]) for kind in ("c", "python"))
        label = "the host's" if name == "host" else name.removeprefix("glibc-")
        cells = [_cell(part) for part in (c_tests, *by_backend(python).values())]
        rows.append([f"{lane.glibc} ({label})", *cells, "" if name == "host" else str(lane.seconds)])
    return rows


def _cell(tests: Outcomes) -> str:
    more = [f"{len(found)} {what}" for what, found in (("failed", tests.failed), ("skipped", tests.skipped)) if found]
    return ", ".join([str(tests.ran), *more])

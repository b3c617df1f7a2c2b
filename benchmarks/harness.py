"""What all benchmarks share: alternate runs of two subjects, medians, limits, a table and a JSON file.

A benchmark is a program ``benchmarks/bench_NAME.py`` that measures, makes :class:`Result` records and ends with
``sys.exit(finish("NAME", results))``. `make bench` runs them all; each runs by itself too. The two
sides of a ratio are always run in turn, so that a slow moment of the machine hits both.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
#: The build tree: ``IA2EXIT_LIBDIR`` if set, else ``build``.
BUILD = Path(os.environ.get("IA2EXIT_LIBDIR") or ROOT / "build").absolute()
#: Seconds that one run of one subject may take.
TIME_LIMIT = 300.0
#: Measurements of one start to end.
START_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured figure and, where there is one, its limit."""

    name: str
    value: float
    #: ``x`` for a ratio, ``ms``, ``%``, ``MB/s``, …
    unit: str = "x"
    #: None: reported, not judged.
    limit: float | None = None
    #: Whether ``limit`` is the largest good value or the smallest.
    bound: Literal["at most", "at least"] = "at most"
    #: The median of either side where ``value`` compares two, in ``side_unit``.
    baseline: float | None = None
    subject: float | None = None
    side_unit: str = ""
    #: Smallest and largest value over the rounds.
    spread: tuple[float, float] | None = None
    #: The command that was measured.
    command: str = ""
    note: str = ""

    @property
    def verdict(self) -> Literal["ok", "FAIL", "reported"]:
        """``FAIL`` when the limit is broken; a value that is no number breaks any limit."""
        if self.limit is None:
            return "reported"
        good = self.value <= self.limit if self.bound == "at most" else self.value >= self.limit
        return "ok" if good else "FAIL"


def alternate(
    baseline: Callable[[], float], subject: Callable[[], float], *, rounds: int = 11, warm_up: int = 1
) -> tuple[list[float], list[float]]:
    """Measure both in turn (A B, B A, A B, …), ``rounds`` times each after ``warm_up`` unmeasured rounds."""
    first: list[float] = []
    second: list[float] = []
    for turn in range(-warm_up, rounds):
        if turn % 2:
            b, a = subject(), baseline()
        else:
            a, b = baseline(), subject()
        if turn >= 0:
            first.append(a)
            second.append(b)
    return first, second


def ratio(
    name: str,
    baseline: Sequence[float],
    subject: Sequence[float],
    *,
    limit: float | None,
    side_unit: str,
    command: str = "",
    note: str = "",
) -> Result:
    """How many times the baseline: the median over the pairs of :func:`alternate`, so that drift cancels out."""
    values = [b / a for a, b in zip(baseline, subject, strict=True)]
    return Result(
        name=name,
        value=statistics.median(values),
        limit=limit,
        baseline=statistics.median(baseline),
        subject=statistics.median(subject),
        side_unit=side_unit,
        spread=(min(values), max(values)),
        command=command,
        note=note,
    )


def difference(
    name: str,
    baseline: Sequence[float],
    subject: Sequence[float],
    *,
    limit: float | None,
    unit: str,
    command: str = "",
    note: str = "",
) -> Result:
    """How much over the baseline: the median over the pairs of :func:`alternate`, in the unit of both."""
    values = [b - a for a, b in zip(baseline, subject, strict=True)]
    return Result(
        name=name,
        value=statistics.median(values),
        unit=unit,
        limit=limit,
        baseline=statistics.median(baseline),
        subject=statistics.median(subject),
        side_unit=unit,
        spread=(min(values), max(values)),
        command=command,
        note=note,
    )


def output(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return its standard output; anything but exit status 0 ends the benchmark."""
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"{shlex.join(command)}: {error}")
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def milliseconds(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> float:
    """Start-to-end wall time of a command, in ms; its output is thrown away, its exit status must be 0."""
    start = time.perf_counter()
    try:
        status = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIME_LIMIT,
            check=False,
        ).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"{shlex.join(command)}: {error}")
    elapsed = time.perf_counter() - start
    if status:
        sys.exit(f"{shlex.join(command)}: exit status {status}")
    return elapsed * 1000


def plain_environment(**extra: str) -> dict[str, str]:
    """The environment without ``LD_PRELOAD`` and any ``IA2_*``, plus ``extra``."""
    kept = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith("IA2_")}
    return kept | extra


def preloaded_environment(**extra: str) -> dict[str, str]:
    """The same with the runtime of the build tree preloaded; tracing stays off unless ``extra`` turns it on."""
    return plain_environment(LD_PRELOAD=str(BUILD / "libia2.so"), **extra)


def starts_in_turn(words: Sequence[str], rounds: int, ratio: str) -> tuple[dict[str, float], tuple[float, float]]:
    """Programs started without and with the runtime (``spawn``): the median of some measurements by the member
    ``ratio``, and that member's least and greatest.
    """
    spawn = [str(BUILD / "benchmarks" / "spawn"), *words]
    measured: list[dict[str, float]] = [json.loads(output(spawn, env=plain_environment())) for _ in range(rounds)]
    measured.sort(key=lambda one: one[ratio])
    return measured[len(measured) // 2], (measured[0][ratio], measured[-1][ratio])


def start_to_end(name: str, command: Sequence[str], starts: int, limit: float | None, **variables: str) -> Result:
    """CPU time of a program under the runtime, with ``variables``, over vanilla: the median of some measurements."""
    given = [f"{variable}={value}" for variable, value in variables.items()]
    words = [str(starts), str(BUILD / "libia2.so"), *given, *command]
    middle, spread = starts_in_turn(words, START_ROUNDS, "cpu_ratio")
    return Result(
        name=name,
        value=middle["cpu_ratio"],
        limit=limit,
        baseline=middle["vanilla_cpu_us"],
        subject=middle["preloaded_cpu_us"],
        side_unit="us",
        spread=spread,
        command=" ".join(["LD_PRELOAD=libia2.so", *given, *command]),
        note="start to end is CPU time, user and system: the lower quartile on either side, in turn",
    )


def finish(benchmark: str, results: Sequence[Result]) -> int:
    """Print the table, write ``build/benchmarks/BENCHMARK.json``; returns the exit status: 1 if a limit is broken."""
    if not results:
        print(f"{benchmark}: nothing was measured", file=sys.stderr)
        return 1
    rows = [("", "baseline", "subject", "value", "limit", "")] + [_row(result) for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"== {benchmark}")
    for name, *cells, verdict in rows:
        shown = [cell.rjust(width) for cell, width in zip(cells, widths[1:-1], strict=True)]
        print("  ".join([name.ljust(widths[0]), *shown, verdict]).rstrip())
    for note in dict.fromkeys(result.note for result in results if result.note):
        print(f"   {note}")
    folder = BUILD / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    rendered = json.dumps({"benchmark": benchmark, "results": [_record(result) for result in results]}, indent=2)
    beside = folder / f".{benchmark}.json.{os.getpid()}"
    beside.write_text(rendered + "\n")
    beside.replace(folder / f"{benchmark}.json")
    return int(any(result.verdict == "FAIL" for result in results))


def _row(result: Result) -> tuple[str, str, str, str, str, str]:
    def side(value: float | None) -> str:
        return "" if value is None else f"{value:,.2f} {result.side_unit}"

    sign = "<=" if result.bound == "at most" else ">="
    limit = "" if result.limit is None else f"{sign} {result.limit:g} {result.unit}"
    value = f"{result.value:,.2f} {result.unit}"
    return (result.name, side(result.baseline), side(result.subject), value, limit, result.verdict)


def _record(result: Result) -> dict[str, object]:
    return {
        "name": result.name,
        "command": result.command,
        "baseline": result.baseline,
        "subject": result.subject,
        "side_unit": result.side_unit,
        "value": result.value,
        "unit": result.unit,
        "spread": result.spread,
        "bound": result.bound,
        "limit": result.limit,
        "verdict": result.verdict,
        "note": result.note,
    }

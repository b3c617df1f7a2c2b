"""``ia2exit scan``: objects and their destructors, without running anything."""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``scan``."""
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="a program or library (with all it needs), or a folder")
    add("--json", action="store_true", help="print JSON (schemas/scan.schema.json)")
    add("--no-disassembly", action="store_true", help="only .fini_array, DT_FINI and notes: fast")
    deps = parser.add_mutually_exclusive_group()
    deps.add_argument("--no-dependencies", action="store_true", help="only the files themselves")
    deps.add_argument("--dependencies", action="store_true", help="what the files in folders need, too")
    add("-j", "--jobs", type=_positive, metavar="N", help="processes (one for each CPU)")


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 0, also where files in a folder could not be used: they are listed on standard error."""
    import ia2exit
    from ia2exit.model import to_json
    from ia2exit.scanning import table

    start = time.monotonic()
    with scan_progress() as progress:
        result = ia2exit.scan(
            args.paths,
            dependencies=False if args.no_dependencies else args.dependencies or None,
            disassemble=not args.no_disassembly,
            jobs=args.jobs,
            progress=progress,
        )
    if args.json:
        sys.stdout.buffer.write(to_json(result))
    elif sys.stdout.isatty():
        from rich.console import Console

        table.print_tables(result, Console())
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without UTF-8 must not end the list in the middle
            sys.stdout.reconfigure(errors="backslashreplace")
        for line in table.lines(result):
            print(line)
    sys.stdout.flush()
    for problem in result.problems:
        print(f"ia2exit: {table.printable(problem.message)}", file=sys.stderr)
    print(f"ia2exit: {table.summary(result, time.monotonic() - start)}", file=sys.stderr)
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes, expected 1 or more")
    return int(text)


@contextmanager
def scan_progress() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on standard error where that is a terminal; it goes away when the scan is done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("scanning"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn())
    # No refresh thread: the scan forks, and drawing on each report is often enough.
    bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    task = bar.add_task("scanning", total=None)
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        bar.update(task, completed=done, total=total)
        now = time.monotonic()
        if done == total or now - last > 0.05:
            bar.refresh()
            last = now

    with bar:
        yield report

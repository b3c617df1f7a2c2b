"""``ia2exit run``: run an unmodified program, then show what ran at exit."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, TextIO

from ia2exit.commands.covering import add_command, add_covering, command_of

if TYPE_CHECKING:
    from ia2exit.running import RunResult

#: Destructors of one process that are shown unless ``--rows`` says otherwise.
DEFAULT_ROWS = 1000
#: Exit status for a program that was ended because its time had run out, as timeout(1) has it.
TIMED_OUT = 124


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``run``."""
    parser.usage = "ia2exit run [option …] -- CMD [argument …]"
    add = parser.add_argument
    add_covering(parser)
    add(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="end the program after so long, and explain what its exit hangs in (exit status 124)",
    )
    add("--trace", metavar="FILE", help="keep the events here, one JSON object a line")
    add("--follow", action="store_true", help="cover children, and what the program turns into by exec, too")
    add("--report", metavar="FILE", help="write the report here instead of standard error")
    add("--quiet", action="store_true", help="no report")
    add("--rows", type=_count, default=DEFAULT_ROWS, metavar="N", help=f"rows of a table ({DEFAULT_ROWS}; 0: all)")
    add_command(parser)


def _count(text: str) -> int:
    """A number of rows; argparse turns the error into its own message."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows: expected 0 (all) or more")
    return int(text)


def _seconds(text: str) -> float:
    """A number of seconds; which ones make sense is for the run to say."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds: expected 5 or 0.5") from None


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns the program's own exit status; a signal that ended the program ends us, too.

    A program that was ended by ``--timeout`` gives 124, whatever it ended with.
    """
    from ia2exit import running
    from ia2exit.running.environment import as_started

    command = command_of(args)
    if args.report is not None:
        running.keeping.check(args.report, "report")
    result = running.run(
        command,
        policy=args.policy,
        map=args.map,
        mode=args.mode,
        backend=args.backend,
        trace=args.trace,
        follow=args.follow,
        park_threads=args.park_threads,
        audit=args.audit,
        timeout=args.timeout,
        env=as_started(),
    )
    if not args.quiet and (args.report is not None or sys.stderr is not None):  # None: started with it closed
        _report(result, args.report, args.rows or None)
    if result.timed_out:
        return TIMED_OUT
    if result.signal is None:
        return result.status or 0
    from ia2exit.running.launch import end_by

    end_by(result.signal)
    return 128 + result.signal


def _report(result: RunResult, path: str | None, rows: int | None) -> None:
    from ia2exit.running.keeping import keep_report
    from ia2exit.running.table import render

    counters = os.environ.get("IA2_DIAG_EXIT", "0") not in ("", "0")
    if path is None:
        terminal = sys.stderr.isatty()
        width = os.get_terminal_size(sys.stderr.fileno()).columns if terminal else None
        colour = terminal and _may_colour()
        _write(sys.stderr, render(result, width=width or None, colour=colour, rows=rows, counters=counters))
        return
    keep_report(render(result, rows=rows, counters=counters), path)


def _write(stream: TextIO, text: str) -> None:
    """A report that nobody can read any more (a closed standard error) changes nothing for the program."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        pass


def _may_colour() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"

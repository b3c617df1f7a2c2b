"""``ia2exit doctor``: what this machine can do, and what is missing, each with its remedy."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Exit status where no backend closes memory.
UNPROTECTED = 1
#: Columns of a table that is not read on a terminal.
_WIDTH = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``doctor``."""
    parser.epilog = (
        f"Exit status: 0 where programs can be run under a backend that closes memory (pku or mprotect), "
        f"{UNPROTECTED} where under none. Each thing is tried, in a process of its own; nothing is changed."
    )
    parser.add_argument("--json", action="store_true", help="print JSON (schemas/doctor.schema.json)")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what the checks that are ok mean, too")


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 0 where some backend closes memory, else 1."""
    import ia2exit

    diagnosis = ia2exit.doctor()
    if sys.stdout is None:  # started with it closed: the exit status is all that can be said
        pass
    elif args.json:
        from ia2exit.model import to_json

        sys.stdout.buffer.write(to_json(diagnosis))
    else:
        from ia2exit.examining.table import render

        sys.stdout.write(render(diagnosis, output_console(), verbose=args.verbose))
    return 0 if diagnosis.closes else UNPROTECTED


def output_console() -> Console:
    """What standard output can show: a terminal as it is, else text without colour, as wide as ``COLUMNS`` says."""
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without UTF-8 must not end a table in the middle
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stdout.isatty():
        return Console()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) >= _WIDTH // 2 else _WIDTH
    return Console(width=width, color_system=None, force_terminal=False)

"""``ia2exit gdb``: debug a program, or its core file, with commands that know compartments and destructors."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from ia2exit.commands.covering import add_command, add_covering, command_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``gdb``."""
    parser.usage = "ia2exit gdb [option …] -- CMD [argument …]\n       ia2exit gdb --core FILE [-- CMD]"
    add = parser.add_argument
    add_covering(parser)
    add("--trace", metavar="FILE", help="keep the events here, one JSON object a line")
    add("--core", metavar="FILE", help="look at this core file instead of starting a program")
    add("--print-script", action="store_true", help="print the path of what gdb is to source, and exit")
    add("-ex", dest="gdb", action="append", type=_then("-ex"), metavar="COMMAND", help="gdb: execute this command")
    add(
        "-x",
        dest="gdb",
        action="append",
        type=_then("-x"),
        metavar="FILE",
        help="gdb: execute the commands in this file",
    )
    add("-batch", dest="gdb", action="append_const", const=["-batch"], help="gdb: end after these commands")
    add("-nx", dest="gdb", action="append_const", const=["-nx"], help="gdb: read no initialisation file")
    add(
        "--gdb-option",
        dest="gdb",
        action="append",
        type=lambda text: [text],
        metavar="OPTION",
        help="gdb: any other option, as in --gdb-option=-tui",
    )
    add_command(parser)


def _then(option: str) -> Callable[[str], list[str]]:
    """An option of gdb with its argument, as two words."""
    return lambda text: [option, text]


def run(args: argparse.Namespace) -> int:
    """Become gdb: its terminal, its exit status. Returns only where ``--print-script`` asks for that."""
    from ia2exit import debugger
    from ia2exit.running.environment import as_started

    if args.print_script:
        print(debugger.script())
        return 0
    environment = as_started()
    words = debugger.command_line(
        command_of(args),
        policy=args.policy,
        map=args.map,
        mode=args.mode,
        backend=args.backend,
        trace=args.trace,
        park_threads=args.park_threads,
        audit=args.audit,
        core=args.core,
        options=[word for words in args.gdb or () for word in words],
        environment=environment,
    )
    os.execve(words[0], words, environment)
    raise AssertionError("execve has returned")

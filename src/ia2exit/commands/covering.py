"""What the verbs that start a program under the runtime have in common (``run``, ``gdb``). Imports nothing slow."""

from __future__ import annotations

import argparse


def add_covering(parser: argparse.ArgumentParser) -> None:
    """The options that say how memory is closed, and what to whom it belongs."""
    add = parser.add_argument
    add("-p", "--policy", metavar="FILE", help="policy that says which object is in which compartment (TOML)")
    add("--map", metavar="FILE", help="exit map to use instead of a policy")
    add(
        "--mode",
        choices=("observe", "enforce", "contain"),
        help="what a violation leads to (with -p or --map enforce, else observe)",
    )
    add("--backend", choices=("auto", "none", "mprotect", "pku"), help="how memory is closed (auto)")
    add(
        "--park-threads",
        action="store_true",
        help="stop all other threads for the exit phase, so that it can be closed",
    )
    add(
        "--audit",
        action="store_true",
        help="learn by LD_AUDIT of objects: of dlopen before their constructors run, of dlmopen at all",
    )


def add_command(parser: argparse.ArgumentParser) -> None:
    """The program to start, after ``--``."""
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="the program and its arguments")


def command_of(args: argparse.Namespace) -> list[str]:
    """The words of the program's command line."""
    words: list[str] = args.command
    return words[1:] if words[:1] == ["--"] else words

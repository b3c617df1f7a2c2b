"""The command line: picks the verb, turns an error into one line and an exit status."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from ia2exit.commands import VERBS
from ia2exit.errors import Ia2exitError, printable


class _Help(argparse.HelpFormatter):
    """Help as wide as ``COLUMNS`` says: the default asks shutil, whose import is slow, for every argument added."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        super().__init__(prog, width=int(columns) - 2 if columns.isdecimal() and int(columns) > 40 else 98)


def _parser(verb: str | None) -> argparse.ArgumentParser:
    """The parser for all verbs; only ``verb`` has its arguments, so that only its module is imported."""
    parser = argparse.ArgumentParser(
        prog="ia2exit",
        description="Every destructor of a process runs with only its owner's memory open.",
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(prog="ia2exit", dest="verb", metavar="VERB", title="verbs")
    for name, (module, text) in VERBS.items():
        description = text[0].upper() + text[1:] + "."
        sub = verbs.add_parser(name, help=text, description=description, formatter_class=_Help)
        if name == verb:
            importlib.import_module(module).add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit status: the verb's own, or 2 for unusable input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in arguments if not word.startswith("-")), None)
    parser = _parser(verb)
    options = parser.parse_args(arguments)
    if options.version:
        from ia2exit import __version__

        print(f"ia2exit {__version__}")
        return 0
    if options.verb is None:
        parser.print_help()
        return 0
    try:
        status: int = importlib.import_module(VERBS[options.verb][0]).run(options)
        if sys.stdout is not None:  # None: we were started with it closed
            sys.stdout.flush()
        return status
    except Ia2exitError as error:
        print(f"ia2exit: {printable(str(error))}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing to say, and nothing more to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def entry() -> int:
    """The command itself: :func:`main`, in a process that is all ours.

    msgspec uses typing_extensions where that happens to be installed. Importing it takes longer than all of our own
    modules, and Python 3.11 has everything that is wanted of it.
    """
    sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]
    return main()

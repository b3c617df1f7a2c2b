"""``ia2exit check``: does what a program loads, binds and runs agree with its exit map."""

from __future__ import annotations

import argparse
import sys

from ia2exit.errors import Ia2exitError

#: Exit status where program and map disagree.
DISAGREE = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``check``."""
    parser.usage = "ia2exit check PROGRAM [PATH …] --map MAP [option …]"
    parser.epilog = (
        "Groups: ldd compares what ld.so will load, with its destructors and notes, to the map; symbols finds data "
        "that crosses compartments; trace compares what ran. The program is not run; its ld.so is, for a list "
        f"(ld.so --list). Exit status: 0 where all agree, {DISAGREE} where there is an error or a crossing, 2 for "
        'input that cannot be used. docs/exit-handling.md, "Checking a map", explains each finding.'
    )
    add = parser.add_argument
    add("program", metavar="PROGRAM", help="a program or shared object; what it needs is found as ld.so would find it")
    add("plugins", nargs="*", metavar="PATH", help="objects that the program loads by dlopen")
    add("--map", metavar="MAP", help="its exit map, JSON or binary (ia2exit map)")
    add("--trace", metavar="TRACE", help="events of a run with that map (ia2exit run --trace): compare what ran, too")
    add("--only", choices=("ldd", "symbols", "trace"), help="one group of checks")
    add(
        "--allow",
        action="append",
        default=[],
        metavar="SYMBOL@OBJECT",
        help="accept that others refer to this data (globs; OBJECT defines it); may be given several times",
    )
    add("--json", action="store_true", help="print JSON (schemas/check.schema.json)")
    add("-v", "--verbose", action="store_true", help="show infos, too: what crosses and may")


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 0 where program and map agree, else 1."""
    import ia2exit
    from ia2exit.commands.scan import scan_progress

    if args.map is None:
        raise Ia2exitError(f"{args.program}: no map to check it against; add --map MAP (ia2exit map writes one)")
    with scan_progress() as progress:
        result = ia2exit.check(
            args.program,
            args.map,
            plugins=args.plugins,
            trace=args.trace,
            only=args.only,
            allow=args.allow,
            progress=progress,
        )
    if sys.stdout is None:  # started with it closed: the exit status is all that can be said
        pass
    elif args.json:
        from ia2exit.model import to_json

        sys.stdout.buffer.write(to_json(result))
    else:
        from ia2exit.checking.table import render
        from ia2exit.commands.doctor import output_console

        sys.stdout.write(render(result, output_console(), verbose=args.verbose))
    return 0 if result.agrees else DISAGREE

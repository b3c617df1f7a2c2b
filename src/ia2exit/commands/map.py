"""``ia2exit map``: write the exit map: which destructor belongs to which compartment."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ia2exit.errors import Ia2exitError

if TYPE_CHECKING:
    from ia2exit.exitmap import BinaryMap
    from ia2exit.model import ExitMap, ScanResult
    from ia2exit.policy import PolicyFile

#: Compartments, and objects of one, that the summary shows.
_MAX_COMPARTMENTS = 40
_MAX_OBJECTS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``map``."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="a program or shared object, taken with all that it needs, or a folder",
    )
    parser.add_argument(
        "-p",
        "--policy",
        metavar="FILE",
        help="the policy (TOML, docs/policy.md); without one every object is its own compartment",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--binary", action="store_true", help="write the form that the runtime maps, not JSON")
    form.add_argument(
        "--note",
        action="store_true",
        help="write assembler source of an ELF note for the first PATH (others only make the policy fit)",
    )
    form.add_argument("--show", metavar="FILE", help="check a map, JSON or binary, and print its summary instead")
    parser.add_argument("-o", "--output", metavar="FILE", help="write here, not to standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="no summary on standard error")


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 0; unusable input raises, and nothing is written then."""
    from ia2exit.exitmap.files import read_map

    if args.show is not None:
        if args.paths or args.policy or args.output:
            raise Ia2exitError("--show FILE: takes no PATH, -p or -o; give the map alone")
        print(summary(read_map(args.show)))
        return 0
    if not args.paths:
        raise Ia2exitError("no PATH: expected a program, a shared object or a folder; name one")
    if args.binary and args.output is None and sys.stdout.isatty():
        raise Ia2exitError("--binary: standard output is a terminal, expected a file; add -o FILE")
    _make(args)
    return 0


def _make(args: argparse.Namespace) -> None:
    from ia2exit.commands.scan import scan_progress
    from ia2exit.exitmap import build_map, scan_for_map, write_output
    from ia2exit.policy import load_policy

    loaded = load_policy(args.policy)
    with scan_progress() as progress:
        scanned = scan_for_map(args.paths, progress=progress)
    exit_map = build_map(loaded, scanned, notice=_say)
    data = _encoded(args, loaded, scanned, exit_map)
    write_output(args.output, data)
    if not args.quiet:
        print(summary(exit_map), file=sys.stderr)
        if args.output is not None:
            print(f"{args.output}: {len(data):,} bytes written", file=sys.stderr)


def _say(text: str) -> None:
    print(f"ia2exit: {text}", file=sys.stderr)


def _encoded(args: argparse.Namespace, loaded: PolicyFile, scanned: ScanResult, exit_map: ExitMap) -> bytes:
    if args.binary:
        from ia2exit.exitmap import write_binary

        return write_binary(exit_map)
    if args.note:
        from ia2exit.exitmap.note import note_for

        note, notices = note_for(args.paths[0], loaded, scanned, exit_map)
        for text in notices:
            _say(text)
        return note.text.encode()
    from ia2exit.model import to_json

    return to_json(exit_map)


def _listed(names: list[str], most: int) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def summary(exit_map: ExitMap | BinaryMap) -> str:
    """One line for each compartment with its objects and the number of their destructors, then a line for all."""
    lines = []
    used = []
    for compartment in exit_map.compartments:
        objects = [item for item in exit_map.objects if item.compartment == compartment.id]
        if objects:
            used.append((compartment, objects))
    for compartment, objects in used[:_MAX_COMPARTMENTS]:
        count = sum(len(item.destructors) for item in objects)
        names = sorted(f"{item.name} (program)" if item.main else item.name for item in objects)
        head = f"{compartment.id:>5}  {compartment.name:<24} {_count(count, 'destructor'):>16}"
        lines.append(f"{head}  {_listed(names, _MAX_OBJECTS)}")
    if len(used) > _MAX_COMPARTMENTS:
        lines.append(f"{'':>5}  and {len(used) - _MAX_COMPARTMENTS} more compartments")
    total = sum(len(item.destructors) for item in exit_map.objects)
    unlisted = exit_map.unlisted
    names_of = {compartment.id: compartment.name for compartment in exit_map.compartments}
    rest = "a compartment each" if unlisted == "each" else names_of.get(int(unlisted), str(unlisted))
    lines.append(
        f"{_count(len(exit_map.objects), 'object')} in {_count(len(used), 'compartment')},"
        f" {_count(total, 'destructor')}; objects that the map does not name: {rest}"
    )
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

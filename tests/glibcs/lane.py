"""Runs the suite with another glibc.

    python -m tests.glibcs.lane trixie|forky|patched BUILD
    python -m tests.glibcs.lane setup                        brings all of them into the cache

The first run brings the glibc: Debian's package of that release, or, patched, built from the sources of the host's
version (about five minutes). ``python -m tests.guest.lane report BUILD`` tells what came of it. A lane that cannot run
is skipped and says why; in CI (``CI=true``) that is a failure.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console
from tests.guest.judging import judge_glibc
from tests.guest.running import Command, carry_out, new_results, skip
from tests.guest.suites import LIMIT, prepare

from ia2exit.errors import Ia2exitError

from . import archive, building
from .known import NAMES, PATCHED, Glibc, entering, lane_name


def main() -> int:
    """Returns 0 where the lane is as it should be, or skipped on a developer's machine."""
    arguments = sys.argv[1:]
    if arguments == ["setup"]:
        return _setup()
    if len(arguments) != 2 or arguments[0] not in NAMES:
        print(f"usage: python -m tests.glibcs.lane {'|'.join(NAMES)} BUILD, or: … setup", file=sys.stderr)
        return 2
    build = Path(arguments[1]).resolve()
    results = new_results(build, lane_name(arguments[0]))
    try:
        glibc = bring(arguments[0])
    except Ia2exitError as error:
        return skip(results, str(error), may_be=False)
    try:
        _check_entering(glibc)
    except Ia2exitError as error:  # no machine can be made to allow it from inside
        return skip(results, str(error), may_be=True)
    prepare(build, [])
    (results / "expected").write_text(glibc.version)
    return carry_out(results, _commands(glibc, build, results), judge_glibc)


def _commands(glibc: Glibc, build: Path, results: Path) -> list[Command]:
    """What runs with that glibc, and what runs here and starts programs with it."""
    inside: Command = [*entering(glibc), sys.executable, "-m", "tests.glibcs.inside", build, results]
    outside: Command = [sys.executable, "-m", "tests.glibcs.outside", glibc.folder, build, results]
    return [inside, outside]


def bring(name: str) -> Glibc:
    """Have it in the cache; on a terminal, tell what is being done.

    Raises:
        Ia2exitError: it cannot be had.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"glibc {name}: taken from the cache, or brought there", file=sys.stderr, flush=True)
        return building.build(_silent) if name == PATCHED else archive.fetch(name, _silent)
    with console.status(f"glibc {name}") as status:

        def tell(text: str) -> None:
            status.update(f"glibc {name}: {text}")

        return building.build(tell) if name == PATCHED else archive.fetch(name, tell)


def _silent(_: str) -> None:
    """Nobody watches."""


def _check_entering(glibc: Glibc) -> None:
    """Programs can be run with it here.

    Raises:
        Ia2exitError: they cannot, with the first line that was said of it.
    """
    done = subprocess.run([*entering(glibc), "true"], capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode != 0:
        said = done.stderr.strip() or f"a program ends with status {done.returncode} under it"
        raise Ia2exitError(f"glibc {glibc.version} ({glibc.name}): {said.splitlines()[0]}")


def _setup() -> int:
    for name in NAMES:
        try:
            glibc = bring(name)
        except Ia2exitError as error:
            print(f"ia2exit: {error}", file=sys.stderr)
            return 2
        print(f"glibc {glibc.version} ({glibc.name}): {glibc.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

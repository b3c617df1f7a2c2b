"""Runs the guest lane, natively too where the machine has protection keys, and tells what came of all lanes.

    python -m tests.guest.lane guest BUILD     boots a guest and runs :mod:`.inside` there
    python -m tests.guest.lane native BUILD    runs it here; skipped where the machine has no keys, which is no failure
    python -m tests.guest.lane report BUILD    what is in BUILD/lanes, as a table; BUILD/lanes/report.md has the lists

A lane whose parts are missing is skipped and says why; in CI (``CI=true``) that is a failure.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .inside import DEBUGGER_TESTS
from .judging import judge
from .parts import why_no_guest
from .running import Command, carry_out, new_results, skip
from .suites import LIMIT, prepare
from .telling import report


def main() -> int:
    """Returns 0 where the lane is as it should be, or skipped on a developer's machine."""
    if len(sys.argv) != 3 or sys.argv[1] not in {"guest", "native", "report"}:
        print("usage: python -m tests.guest.lane guest|native|report BUILD", file=sys.stderr)
        return 2
    name, build = sys.argv[1], Path(sys.argv[2]).resolve()
    if name == "report":
        return report(build)
    results = new_results(build, name)
    why = _why_not(name)
    if why is not None:
        return skip(results, why, may_be=name == "native")
    command: Command = [sys.executable, "-m", "tests.guest.inside", name, build, results]
    if name == "guest":
        prepare(build, [*DEBUGGER_TESTS, "-m", "debugger"])
        command = [sys.executable, "-m", "ia2exit", "vm", "--rw", results, "--timeout", str(LIMIT), "--", *command]
    return carry_out(results, [command], judge)


def _why_not(name: str) -> str | None:
    """Why a lane cannot run here; None: it can."""
    if name == "native":
        flags = Path("/proc/cpuinfo").read_text().split()
        return None if "ospke" in flags else "this CPU or kernel has no protection keys"
    return why_no_guest()


if __name__ == "__main__":
    sys.exit(main())

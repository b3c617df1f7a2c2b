"""Runs the guest lane, natively too where the machine has protection keys, and tells what came of all lanes.

    python -m tests.guest.lane guest BUILD     boots a guest and runs :mod:`.inside` there
    python -m tests.guest.lane native BUILD    runs it here; skipped where the machine has no keys, which is no failure
    python -m tests.guest.lane report BUILD    what is in BUILD/lanes, as a table; BUILD/lanes/report.md has the lists

A lane whose parts are missing is skipped and says why; in CI (``CI=true``) that is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .inside import ROOT, prepare
from .judging import Lane, judge, judge_host
from .parts import why_no_guest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
#: Seconds until a guest is ended: a machine that is busy with other things is slow.
LIMIT = 3000


def main() -> int:
    """Returns 0 where the lane is as it should be, or skipped on a developer's machine."""
    if len(sys.argv) != 3 or sys.argv[1] not in {"guest", "native", "report"}:
        print("usage: python -m tests.guest.lane guest|native|report BUILD", file=sys.stderr)
        return 2
    build = Path(sys.argv[2]).resolve()
    if sys.argv[1] == "report":
        return report(build)
    return _run(sys.argv[1], build)


# ---- running ----


def _run(name: str, build: Path) -> int:
    results = build / "lanes" / name
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    why = _why_not(name)
    if why is not None:
        (results / "skipped").write_text(why)
        print(f"lane {name}: skipped: {why}")
        return 1 if IN_CI and name == "guest" else 0
    inside = [sys.executable, "-m", "tests.guest.inside", name, str(build), str(results)]
    vm = [sys.executable, "-m", "ia2exit", "vm", "--rw", str(results), "--timeout", str(LIMIT), "--"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    began = time.monotonic()
    if name == "guest":
        prepare(build)
    command = [*vm, *inside] if name == "guest" else inside
    status = _wait(subprocess.Popen(command, cwd=ROOT, env=environment))
    lane = judge(name, results)
    print(f"lane {name}: {time.monotonic() - began:.0f} s on {lane.place}")
    for problem in lane.problems:
        print(f"lane {name}: {problem}")
    if status != 0:
        print(f"lane {name}: ended with status {status}")
    (results / "status").write_text(str(status))
    return 1 if lane.problems or status != 0 else 0


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The status of a lane; whoever ends us ends it, too, in the way that it needs to end its guest."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return process.wait(timeout=LIMIT + 600)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


def _why_not(name: str) -> str | None:
    """Why a lane cannot run here; None: it can."""
    if name == "native":
        flags = Path("/proc/cpuinfo").read_text().split()
        return None if "ospke" in flags else "this CPU or kernel has no protection keys"
    return why_no_guest()


# ---- telling ----


def _lanes(build: Path) -> list[Lane]:
    found = []
    for name in ("host", "guest", "native"):
        results = build / "lanes" / name
        skipped = results / "skipped"
        if skipped.is_file():
            found.append(Lane(name, skipped_because=skipped.read_text()))
        elif results.is_dir():
            found.append(judge_host(results) if name == "host" else judge(name, results))
        else:
            found.append(Lane(name, skipped_because="it was not asked for"))
    return found


def report(build: Path) -> int:
    """Print a row for each lane, and write the whole to ``lanes/report.md`` and ``report.json``."""
    lanes = _lanes(build)
    table = Table(title="lanes", title_justify="left", box=None, pad_edge=False)
    for heading in ("lane", "tests", "ran", "failed", "skipped", "shown to fail without the switch", "where"):
        table.add_column(heading, justify="right" if heading in {"ran", "failed", "skipped"} else "left")
    for lane in lanes:
        if lane.skipped_because is not None:
            table.add_row(lane.name, "", "", "", "", "", f"skipped: {lane.skipped_because}")
        for kind, (ran, failed, skipped) in lane.counts.items():
            proven = f"{len(lane.proven)}" if lane.proven and kind == "Python" else ""
            table.add_row(lane.name, kind, str(ran), str(failed), str(skipped), proven, lane.place)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(table)
    for lane in lanes:
        if lane.switch:
            console.print(f"lane {lane.name}: a switch: {lane.switch[0]} instructions, {lane.switch[1]} WRPKRU")
    _write(build / "lanes", lanes)
    console.print(f"lanes: the list of what was shown to fail is in {build / 'lanes' / 'report.md'}")
    return 0


def _write(folder: Path, lanes: list[Lane]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Lanes", ""]
    for lane in lanes:
        lines += [f"## {lane.name}", ""]
        if lane.skipped_because is not None:
            lines += [f"Skipped: {lane.skipped_because}", ""]
            continue
        lines += [f"On {lane.place}.", ""]
        lines += [f"- {kind}: {ran} ran, {bad} failed, {out} skipped" for kind, (ran, bad, out) in lane.counts.items()]
        lines += [f"- a switch: {lane.switch[0]} instructions, {lane.switch[1]} WRPKRU"] if lane.switch else []
        lines += [f"- wrong: {problem}" for problem in lane.problems]
        if lane.proven:
            lines += ["", f"With a runtime that closes nothing each of these {len(lane.proven)} fails:", ""]
            lines += [f"- {test}" for test in lane.proven]
        lines.append("")
    (folder / "report.md").write_text("\n".join(lines))
    (folder / "report.json").write_text(json.dumps([lane.__dict__ for lane in lanes], indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

"""What it costs that objects come and go: starts with the audit module, dlopen and dlclose, switches among many.

Both sides of a ratio are programs under the runtime or without it, in turn. Start to end is CPU time, as in
bench_switch.py.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import objects
from bench_switch import ENFORCED, IDLE, OBJECTS, STARTS
from harness import BUILD, Result, alternate, finish, output, plain_environment, preloaded_environment, start_to_end

#: Start to end of a process that does nothing, and of one of many objects, over vanilla.
START_LIMIT = 1.5
MANY_LIMIT = 1.1
#: dlopen and dlclose of a small object, over vanilla.
PAIR_LIMIT = 1.5
PAIRS = 500
#: A destructor of another owner than the one before, with so many objects loaded over two.
LOADED = 1_000
GROWTH_LIMIT = 1.1
TURNS = 2_000
#: A run of switches is over in eight milliseconds, which a busy machine hits or misses: many rounds.
GROWTH_ROUNDS = 41
ROUNDS = 11
AUDITED = {"LD_AUDIT": str(BUILD / "libia2_audit.so")}
LOADS = str(BUILD / "benchmarks" / "loads")


def main() -> int:
    """Measure, print, judge."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idle, count = objects.build_idle(folder, IDLE, OBJECTS)
        libraries = objects.libraries(folder, 2)
        return finish(
            "loader",
            [
                start("a process that does nothing", ["/bin/true"], START_LIMIT),
                start(f"{count} objects of the distribution, does nothing", [str(idle)], MANY_LIMIT),
                pairs("audited", libraries[0], PAIR_LIMIT, **AUDITED),
                pairs("preloaded", libraries[0], None),
                pairs("audited, mprotect", libraries[0], None, **AUDITED, **ENFORCED),
                growth(libraries, folder),
            ],
        )


def start(what: str, command: Sequence[str], limit: float) -> Result:
    """CPU time from start to end with preload and audit module over vanilla."""
    return start_to_end(f"{what}, start to end, audited / vanilla", command, STARTS, limit, **AUDITED)


def pairs(what: str, library: Path, limit: float | None, **more: str) -> Result:
    """Dlopen and dlclose of one small object, the best of many on either side."""
    command = [LOADS, "pairs", str(PAIRS), str(library)]

    def once(environment: dict[str, str]) -> float:
        return float(json.loads(output(command, env=environment))["pair_ns"])

    vanilla, covered = alternate(
        lambda: once(plain_environment()), lambda: once(preloaded_environment(**more)), rounds=ROUNDS
    )
    return Result(
        name=f"dlopen and dlclose of a small object, {what} / vanilla",
        value=min(covered) / min(vanilla),
        limit=limit,
        baseline=min(vanilla),
        subject=min(covered),
        side_unit="ns",
        command=" ".join(command),
        note=f"dlopen and dlclose: the best of {ROUNDS} rounds on either side",
    )


def growth(libraries: Sequence[Path], folder: Path) -> Result:
    """A switch with many objects loaded over one with few."""
    many = [*libraries, *(folder / f"copy{number}.so" for number in range(LOADED - len(libraries)))]
    for path in many[len(libraries) :]:
        shutil.copy(libraries[0], path)
    environment = preloaded_environment(**ENFORCED)

    def once(loaded: Sequence[Path]) -> float:
        command = [LOADS, "turns", str(TURNS), *map(str, loaded)]
        return float(json.loads(output(command, env=environment))["run_ns"])

    few_times, many_times = alternate(lambda: once(libraries), lambda: once(many), rounds=GROWTH_ROUNDS)
    return Result(
        name=f"switch to another owner, {LOADED:,} objects loaded / {len(libraries)}, mprotect",
        value=min(many_times) / min(few_times),
        limit=GROWTH_LIMIT,
        baseline=min(few_times),
        subject=min(many_times),
        side_unit="ns",
        command=f"loads turns {TURNS} ...",
        note=f"switches: the best of {GROWTH_ROUNDS} rounds on either side",
    )


if __name__ == "__main__":
    sys.exit(main())

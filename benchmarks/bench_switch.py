"""What closing memory costs at exit (backend mprotect): switches, system calls, start to end, memory.

Both sides of a ratio are programs under the runtime or without it, in turn. Nobody watches where time is measured: a
trace costs more than a switch.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import objects
from harness import BUILD, ROOT, Result, alternate, finish, output, plain_environment, preloaded_environment, ratio
from ia2exit.events import Counters, Enter, Object
from ia2exit.exitmap import build_map, write_binary
from ia2exit.running.trace import parse

HANDLERS = 100_000
ROUNDS = 11
#: Running destructors of one owner, over backend ``none``.
RUN_LIMIT = 1.2
#: mprotect calls over 2 for each change of owner and 2 for each object.
CALLS_LIMIT = 1.0
OBJECTS = 40
#: Start to end of a program with many objects, over vanilla.
START_LIMIT = 1.1
#: Starts on either side in one measurement, and how often that is measured.
STARTS = 150
START_ROUNDS = 5
#: Programs of the distribution, those of them that there are: under the policies of tests/real, started fewer times.
REAL_STARTS = 30
REAL = (("/usr/bin/cmake", "--version"), ("/usr/bin/curl", "--version"), ("/usr/bin/git", "--version"))
#: KiB of memory besides 64 bytes for each record, and the numbers of records that are tried.
MEMORY_LIMIT = 256.0
RECORDS = (0, 1_000, 100_000, 1_000_000)
MEMORY_ROUNDS = 5
RUNTIME = str(BUILD / "libia2.so")
#: How memory is closed for measurements: without a policy, every object is in a compartment of its own.
ENFORCED = {"IA2_EXIT_BACKEND": "mprotect", "IA2_EXIT_MODE": "enforce"}


def main() -> int:
    """Measure, print, judge."""
    with tempfile.TemporaryDirectory() as folder:
        program = objects.build(Path(folder), OBJECTS)
        handlers = [str(BUILD / "benchmarks" / "handlers"), str(HANDLERS)]
        calls = [
            system_calls(f"{HANDLERS:,} destructors of one owner", handlers, Path(folder)),
            system_calls(f"{OBJECTS} owners by turns, 50 times", [str(program), "50"], Path(folder)),
        ]
        what = f"a program of {OBJECTS} objects that does nothing"
        starts = [start_to_end(what, [str(program)], STARTS, START_LIMIT)]
        starts += [real_program(each, Path(folder) / "map") for each in REAL if Path(each[0]).exists()]
        return finish("switch", [one_owner(handlers), *calls, *starts, *(memory(count) for count in RECORDS)])


def one_owner(command: Sequence[str]) -> Result:
    """Consecutive destructors of one owner: nothing is switched between them.

    ``none`` cannot enforce, so it observes; a violation apart, what ``mprotect`` does is the same in either mode.
    """
    none = preloaded_environment(IA2_EXIT_BACKEND="none", IA2_EXIT_MODE="observe")
    closed = preloaded_environment(**ENFORCED)

    def once(environment: dict[str, str]) -> float:
        return float(json.loads(output(command, env=environment))["run_ns"])

    sides = alternate(lambda: once(none), lambda: once(closed), rounds=ROUNDS)
    return ratio(
        f"run one of {HANDLERS:,} handlers of one owner, mprotect / none",
        *sides,
        limit=RUN_LIMIT,
        side_unit="ns",
        command="IA2_EXIT_BACKEND=mprotect IA2_EXIT_MODE=enforce LD_PRELOAD=libia2.so build/benchmarks/handlers",
    )


def system_calls(what: str, command: Sequence[str], folder: Path) -> Result:
    """The mprotect calls of a run, over what its changes of owner and its objects allow."""
    trace = folder / "trace"
    trace.unlink(missing_ok=True)
    output(command, env=preloaded_environment(IA2_TRACE_EXIT=str(trace), **ENFORCED))
    events = [parse(line) for line in trace.read_bytes().splitlines()]
    owners = [event.owner for event in events if isinstance(event, Enter)]
    changes = sum(left != right for left, right in zip([None, *owners], owners, strict=False))
    loaded = sum(isinstance(event, Object) and event.when != "unload" for event in events)
    (counters,) = (event for event in events if isinstance(event, Counters))
    allowed = 2 * changes + 2 * loaded
    return Result(
        name=f"mprotect calls: {what}",
        value=counters.mprotect / allowed if counters.mprotect else float("nan"),
        limit=CALLS_LIMIT,
        baseline=allowed,
        subject=counters.mprotect,
        note=f"allowed are 2 calls for each change of owner and 2 for each object ({what}: {changes:,} and {loaded})",
    )


def real_program(command: Sequence[str], exit_map: Path) -> Result:
    """Start to end of a program of the distribution, with a map of its policy."""
    policy = ROOT / "tests" / "real" / "policies" / f"{Path(command[0]).name}.toml"
    exit_map.write_bytes(write_binary(build_map(policy, command[0])))
    return start_to_end(" ".join(command), command, REAL_STARTS, None, IA2_EXIT_MAP=str(exit_map))


def start_to_end(what: str, command: Sequence[str], starts: int, limit: float | None, **more: str) -> Result:
    """Start to end of a program under enforcement over vanilla: the median of some measurements."""
    variables = [f"{name}={value}" for name, value in {**ENFORCED, **more}.items()]
    spawn = [str(BUILD / "benchmarks" / "spawn"), str(starts), RUNTIME, *variables, *command]
    rounds = [json.loads(output(spawn, env=plain_environment())) for _ in range(START_ROUNDS)]
    rounds.sort(key=lambda measured: float(measured["ratio"]))
    middle = rounds[len(rounds) // 2]
    return Result(
        name=f"{what}, start to end, mprotect / vanilla",
        value=middle["ratio"],
        limit=limit,
        baseline=middle["vanilla_us"],
        subject=middle["preloaded_us"],
        side_unit="us",
        spread=(rounds[0]["ratio"], rounds[-1]["ratio"]),
        command=" ".join(["LD_PRELOAD=libia2.so", *variables, *command]),
    )


def memory(records: int) -> Result:
    """Private memory of a process during its exit, over vanilla and less 64 bytes a record."""
    command = [str(BUILD / "benchmarks" / "memory"), str(records)]
    vanilla, closed = plain_environment(), preloaded_environment(**ENFORCED)

    def once(environment: dict[str, str]) -> float:
        return float(json.loads(output(command, env=environment))["private_dirty_kib"])

    without, within = alternate(lambda: once(vanilla), lambda: once(closed), rounds=MEMORY_ROUNDS)
    more = [b - a - records * 64 / 1024 for a, b in zip(without, within, strict=True)]
    return Result(
        name=f"memory for {records:,} records, less 64 bytes each",
        value=statistics.median(more),
        unit="KiB",
        limit=MEMORY_LIMIT,
        baseline=statistics.median(without),
        subject=statistics.median(within),
        side_unit="KiB",
        spread=(min(more), max(more)),
        command=f"build/benchmarks/memory {records}",
        note="memory is Private_Dirty of /proc/self/smaps_rollup, while the last handler runs",
    )


if __name__ == "__main__":
    sys.exit(main())

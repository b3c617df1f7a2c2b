"""What closing memory costs at exit (backend mprotect): switches, system calls, start to end, memory.

Both sides of a ratio are programs under the runtime or without it, in turn. Nobody watches where time is measured: a
trace costs more than a switch.

Other work on the machine bends a wall time by more than what is judged here. So start to end is CPU time (user and
system, of the process by ``wait4``), the lower quartile of either side; and one destructor's time is the best of many
interleaved rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import harness
import objects
from harness import BUILD, ROOT, Result, alternate, finish, output, plain_environment, preloaded_environment
from ia2exit.events import Counters, Enter, Object
from ia2exit.exitmap import build_map, write_binary
from ia2exit.running.trace import parse

HANDLERS = 100_000
ROUNDS = 31
#: Running destructors of one owner, over backend ``none``.
RUN_LIMIT = 1.2
#: mprotect calls over 2 for each change of owner and 2 for each object.
CALLS_LIMIT = 1.0
OBJECTS = 40
#: Start to end of a program that does nothing, linked with the libraries of these, under the policy of the first (some
#: of those destructors call into other libraries), over vanilla.
START_LIMIT = 1.1
IDLE = ("/usr/bin/cmake", "/usr/bin/curl")
#: Starts on either side in one measurement.
STARTS = 150
#: Programs of the distribution, those of them that there are: under the policies of tests/real, started fewer times.
REAL_STARTS = 30
REAL = (("/usr/bin/cmake", "--version"), ("/usr/bin/curl", "--version"), ("/usr/bin/git", "--version"))
#: KiB of memory besides 64 bytes for each record, and the numbers of records that are tried.
MEMORY_LIMIT = 256.0
RECORDS = (0, 1_000, 100_000, 1_000_000)
MEMORY_ROUNDS = 5
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
        idle, count = objects.build_idle(Path(folder), IDLE, OBJECTS)
        idle_map = exit_map(Path(IDLE[0]).name, idle, Path(folder))
        does_nothing = f"{count} objects of the distribution, does nothing"
        calls.append(system_calls(does_nothing, [str(idle)], Path(folder), IA2_EXIT_MAP=idle_map))
        starts = [
            start_to_end(does_nothing, [str(idle)], STARTS, START_LIMIT, IA2_EXIT_MAP=idle_map),
            start_to_end(f"{OBJECTS} tiny libraries, does nothing", [str(program)], STARTS, None),
        ]
        starts += [real_program(each, Path(folder)) for each in REAL if Path(each[0]).exists()]
        return finish("switch", [one_owner(handlers), *calls, *starts, *(memory(count) for count in RECORDS)])


def one_owner(command: Sequence[str]) -> Result:
    """Consecutive destructors of one owner: nothing is switched between them.

    ``none`` cannot enforce, so it observes; a violation apart, what ``mprotect`` does is the same in either mode.
    """
    none = preloaded_environment(IA2_EXIT_BACKEND="none", IA2_EXIT_MODE="observe")
    closed = preloaded_environment(**ENFORCED)

    def once(environment: dict[str, str]) -> float:
        return float(json.loads(output(command, env=environment))["run_ns"])

    without, within = alternate(lambda: once(none), lambda: once(closed), rounds=ROUNDS)
    return Result(
        name=f"run one of {HANDLERS:,} handlers of one owner, mprotect / none",
        value=min(within) / min(without),
        limit=RUN_LIMIT,
        baseline=min(without),
        subject=min(within),
        side_unit="ns",
        command="IA2_EXIT_BACKEND=mprotect IA2_EXIT_MODE=enforce LD_PRELOAD=libia2.so build/benchmarks/handlers",
        note=f"handlers of one owner: the best of {ROUNDS} rounds on either side",
    )


def system_calls(what: str, command: Sequence[str], folder: Path, **more: str) -> Result:
    """The mprotect calls of a run, over what its changes of owner and its objects allow."""
    trace = folder / "trace"
    trace.unlink(missing_ok=True)
    output(command, env=preloaded_environment(IA2_TRACE_EXIT=str(trace), **ENFORCED, **more))
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


def real_program(command: Sequence[str], folder: Path) -> Result:
    """Start to end of a program of the distribution, with a map of its policy."""
    program = Path(command[0])
    chosen = exit_map(program.name, program, folder)
    return start_to_end(" ".join(command), command, REAL_STARTS, None, IA2_EXIT_MAP=chosen)


def exit_map(policy: str, program: Path, folder: Path) -> str:
    """The binary map of a program by a policy of tests/real, in ``folder``."""
    path = folder / f"{program.name}.map"
    path.write_bytes(write_binary(build_map(ROOT / "tests" / "real" / "policies" / f"{policy}.toml", str(program))))
    return str(path)


def start_to_end(what: str, command: Sequence[str], starts: int, limit: float | None, **more: str) -> Result:
    """CPU time from start to end of a program under enforcement over vanilla."""
    return harness.start_to_end(f"{what}, start to end, mprotect / vanilla", command, starts, limit, **ENFORCED, **more)


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

"""What a run costs that does nothing: ``ia2exit run`` over a bare interpreter, and the runtime in a bare process."""

from __future__ import annotations

import sys

from harness import BUILD, Result, alternate, difference, finish, milliseconds, plain_environment, starts_in_turn

ROUNDS = 21
#: Milliseconds that ``ia2exit run -- true`` may take beyond ``python3 -c pass``.
START_LIMIT = 120.0
#: Starts of a process that does nothing, on either side, in one measurement, and how often that is measured.
SPAWNS = 400
SPAWN_ROUNDS = 3
SPAWN_LIMIT = 1.3
PROGRAM = "/bin/true"


def main() -> int:
    """Measure, print, judge."""
    return finish("run", [command_line(), process()])


def command_line() -> Result:
    """The whole command, report included, against the interpreter alone."""
    environment = plain_environment()
    bare = [sys.executable, "-c", "pass"]
    run = [sys.executable, "-m", "ia2exit", "run", "--", PROGRAM]
    measured = alternate(
        lambda: milliseconds(bare, env=environment), lambda: milliseconds(run, env=environment), rounds=ROUNDS
    )
    name = "ia2exit run -- true over python3 -c pass"
    return difference(name, *measured, limit=START_LIMIT, unit="ms", command=f"ia2exit run -- {PROGRAM}")


def process() -> Result:
    """Start to end of a process with the runtime preloaded and tracing off: the median of some measurements."""
    words = [str(SPAWNS), str(BUILD / "libia2.so"), PROGRAM]
    middle, spread = starts_in_turn(words, SPAWN_ROUNDS, "ratio")
    return Result(
        name="a process that does nothing, start to end",
        value=middle["ratio"],
        limit=SPAWN_LIMIT,
        baseline=middle["vanilla_us"],
        subject=middle["preloaded_us"],
        side_unit="us",
        spread=spread,
        command=f"LD_PRELOAD=libia2.so {PROGRAM}",
        note=f"{PROGRAM} by posix_spawn, {SPAWN_ROUNDS} times {SPAWNS} starts without and with the runtime in turn",
    )


if __name__ == "__main__":
    sys.exit(main())

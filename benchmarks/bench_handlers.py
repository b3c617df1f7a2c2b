"""1,000,000 exit handlers, registered and run: vanilla glibc against the runtime preloaded, tracing off."""

from __future__ import annotations

import json
import sys

from harness import BUILD, alternate, finish, output, plain_environment, preloaded_environment, ratio

HANDLERS = 1_000_000
ROUNDS = 11
REGISTER_LIMIT = 2.0
RUN_LIMIT = 1.5


def main() -> int:
    """Measure, print, judge."""
    command = [str(BUILD / "benchmarks" / "handlers"), str(HANDLERS)]
    vanilla, preloaded = plain_environment(), preloaded_environment()
    registered: dict[str, list[float]] = {"vanilla": [], "runtime": []}

    def once(side: str, environment: dict[str, str]) -> float:
        """One run: keeps ns a registration, returns ns a handler run."""
        measured = json.loads(output(command, env=environment))
        registered[side].append(measured["register_ns"])
        return float(measured["run_ns"])

    run = alternate(lambda: once("vanilla", vanilla), lambda: once("runtime", preloaded), rounds=ROUNDS)
    register = (registered["vanilla"][-ROUNDS:], registered["runtime"][-ROUNDS:])
    shown = f"LD_PRELOAD=libia2.so build/benchmarks/handlers {HANDLERS}"
    return finish(
        "handlers",
        [
            ratio("register one handler", *register, limit=REGISTER_LIMIT, side_unit="ns", command=shown),
            ratio("run one handler", *run, limit=RUN_LIMIT, side_unit="ns", command=shown),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())

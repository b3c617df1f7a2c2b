"""Running an unmodified program under the runtime, and what its exit was like.

:func:`run` is what the verb ``run`` is made of. What is slow to import comes after the program has ended.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ia2exit.running import environment as environments
from ia2exit.running import keeping, request
from ia2exit.running.launch import Ended, start_and_wait
from ia2exit.running.program import Program, resolve
from ia2exit.running.request import Backend, Mode

if TYPE_CHECKING:
    from ia2exit.exitmap import BinaryObject
    from ia2exit.model import ExitMap
    from ia2exit.running.hang import Patience
    from ia2exit.running.records import Doer as Doer
    from ia2exit.running.records import Fault as Fault
    from ia2exit.running.records import Location as Location
    from ia2exit.running.records import Process as Process
    from ia2exit.running.records import Ran as Ran
    from ia2exit.running.records import RunResult as RunResult
    from ia2exit.running.records import ThreadStack as ThreadStack
    from ia2exit.running.records import Violation as Violation

__all__ = ["Doer", "Fault", "Location", "Process", "Ran", "RunResult", "ThreadStack", "Violation", "run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ia2exit.running import records

        return getattr(records, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def run(
    command: Sequence[str],
    *,
    policy: str | os.PathLike[str] | None = None,
    map: ExitMap | str | os.PathLike[str] | None = None,
    mode: Mode | None = None,
    backend: Backend | None = None,
    trace: str | os.PathLike[str] | None = None,
    follow: bool = False,
    park_threads: bool = False,
    audit: bool = False,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
) -> RunResult:
    """Run a program under the runtime and tell what ran at its exit.

    The program gets our standard streams, process group and terminal; signals sent to us reach it. Until it has
    ended, all signals are blocked in the calling thread.

    Args:
        command: the program and its arguments; looked up in PATH as the shell does.
        policy: a policy file: a map for the program and the objects it needs is made from it.
        map: an exit map, or a file with one, JSON or binary; not together with ``policy``.
        mode: what a violation leads to; unless the environment says otherwise, ``enforce`` with a policy or map and
            ``observe`` without.
        backend: how memory is closed; ``auto`` unless the environment says otherwise.
        trace: keep the events in this file (schemas/events.schema.json).
        follow: cover children and what the program turns into by ``exec``, too.
        park_threads: stop all other threads for the exit phase, so that backend ``mprotect`` can close memory beside
            them: only for programs none of whose destructors waits for another thread.
        audit: name libia2_audit.so in LD_AUDIT: then objects of ``dlopen`` are known before their constructors run, and
            those of ``dlmopen`` at all. ld.so lays out thread-local storage in another way then.
        timeout: seconds that the program may run. After that its exit, if it has begun, is asked where it hangs (a
            fault ``timeout`` with the stacks of all threads), and it is ended: SIGTERM, then SIGKILL.
        env: the program's environment, ours if None; IA2_* variables in it count as
            :mod:`ia2exit.running.environment` says.

    Returns:
        How the program ended, and the destructors of each process.

    Raises:
        Ia2exitError: the program cannot be started or not be covered, the policy or map cannot be used, the mode
            and backend do not go together or not with this CPU, or the trace cannot be written.
    """
    words = [os.fspath(word) for word in command]
    variables = dict(os.environ if env is None else env)
    request.check(policy=policy, map=map, mode=mode, backend=backend, timeout=timeout, variables=variables)
    program = resolve(words, variables)
    if audit:
        _check_audit(program, variables)
    follow = follow or variables.get("IA2_EXIT_FOLLOW") == "1"
    target = None if trace is None else os.fspath(trace)
    if target is not None:
        keeping.check(target)
    from ia2exit.native import audit_path, runtime_path

    with keeping.private_folder() as folder:
        events, binary = os.path.join(folder, "events"), os.path.join(folder, "map")
        os.close(os.open(events, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        mapped = policy is not None or map is not None
        said, listed = _write_map(policy, map, program, binary) if mapped else ([], [])
        started = environments.with_runtime(
            variables,
            library=runtime_path(),
            trace=events,
            follow=follow,
            map=binary if mapped else None,
            mode=mode,
            backend=backend,
            park_threads=park_threads,
            audit=audit_path() if audit else None,
        )
        patience = None if timeout is None else _patience(timeout, events)
        ended = start_and_wait(program, started, patience)
        if target is not None:
            keeping.keep(events, target)
        elif variables.get("IA2_TRACE_EXIT", "0") not in ("", "0"):
            keeping.append(events, variables["IA2_TRACE_EXIT"])
        return _result(words, program, ended, _Wanted(events, target, follow, said, listed, patience))


def _check_audit(program: Program, variables: Mapping[str, str]) -> None:
    from ia2exit.running.auditing import check

    check(program.image, variables)


def _patience(seconds: float, events: str) -> Patience:
    from ia2exit.running.hang import Patience
    from ia2exit.running.launch import descends

    return Patience(seconds, events, descends)


class _Wanted(NamedTuple):
    """Where the events are and were kept, whether children were followed, what to say first, the map's objects."""

    events: str
    kept: str | None
    follow: bool
    said: list[str]
    listed: list[BinaryObject]
    patience: Patience | None


def _write_map(
    policy: str | os.PathLike[str] | None,
    map: ExitMap | str | os.PathLike[str] | None,
    program: Program,
    path: str,
) -> tuple[list[str], list[BinaryObject]]:
    """Write the binary map for the runtime, as given or made from a policy.

    Returns what is to be known about it, and its objects.
    """
    from ia2exit import exitmap

    said: list[str] = []
    if policy is not None:
        made: ExitMap | exitmap.BinaryMap = exitmap.build_map(policy, [program.image], notice=said.append)
    elif isinstance(map, str | os.PathLike):
        made = exitmap.read_map(map)  # refuses what the runtime would refuse, but in time
    else:
        assert map is not None
        made = map
    with open(path, "wb") as file:
        file.write(exitmap.write_binary(made))
    return said, (made if isinstance(made, exitmap.BinaryMap) else exitmap.as_binary(made)).objects


def _result(command: list[str], program: Program, ended: Ended, wanted: _Wanted) -> RunResult:
    from ia2exit.running import outcome, trace
    from ia2exit.running.naming import named
    from ia2exit.running.records import RunResult

    with open(wanted.events, "rb") as file:
        found = trace.read(file)
    return RunResult(
        command=command,
        program=program.image,
        status=ended.status,
        signal=ended.signal,
        core=ended.core,
        ns=ended.ns,
        timed_out=wanted.patience is not None and wanted.patience.over,
        processes=[named(process) for process in found.processes],
        notes=[
            *wanted.said,
            *outcome.notes(found, ended, program.image, wanted.patience, follow=wanted.follow),
            *outcome.never_loaded(found, wanted.listed),
        ],
        malformed=found.malformed,
        truncated=found.truncated,
        trace=wanted.kept,
    )

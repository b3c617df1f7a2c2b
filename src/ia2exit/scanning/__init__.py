"""Objects and their destructors, read from the files without running anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from ia2exit.errors import Ia2exitError
from ia2exit.model import Problem, ScannedObject, ScanResult

__all__ = ["scan"]

Path = str | os.PathLike[str]


def scan(
    paths: Path | Iterable[Path],
    *,
    dependencies: bool | None = None,
    disassemble: bool = True,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """List objects and their destructors.

    Args:
        paths: programs, shared objects, folders (searched with all folders below).
        dependencies: also scan all objects that these need, found as ld.so would find them. None: for files that are
            named, not for those in folders. False: nothing but the files themselves is read. A dependency that ld.so
            would not find may be among the files that are named.
        disassemble: also find registrations in code (``__cxa_atexit`` and its relatives).
        jobs: processes; None means one for each CPU, fewer for little work.
        progress: called in this thread with (files done, files in all).

    Returns:
        The objects, each file once: a named file is followed by what it needs in ld.so's look-up order, a folder's
        files are sorted by path. The destructors of an object are in the order in which they would run, as far as a
        file can tell: those registered in code (by call site), ``.fini_array`` from its end, ``DT_FINI``.
        ``problems`` holds the files of folders that could not be used.

    Raises:
        Ia2exitError: a named file cannot be used, or a dependency of it is missing.
    """
    from ia2exit.scanning.plan import Plan
    from ia2exit.scanning.pool import scan_files

    given = [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    plan = Plan(dependencies, given)
    for path in given:
        plan.add(path)
    objects: list[ScannedObject] = []
    outcomes = scan_files(plan.tasks, disassemble=disassemble, jobs=jobs, progress=progress)
    for task, outcome in zip(plan.tasks, outcomes, strict=True):
        if isinstance(outcome, ScannedObject):
            objects.append(plan.bound(task, outcome))
        elif isinstance(outcome, Problem):
            if task.path in plan.required:
                raise Ia2exitError(outcome.message)
            plan.problems.append(outcome)
    return ScanResult(objects=objects, problems=plan.problems)

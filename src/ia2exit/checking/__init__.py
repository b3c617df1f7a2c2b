"""The verb ``check``: does what a program loads, binds and runs agree with its exit map.

:mod:`.parts` finds what loads and :mod:`.metadata` what the map says; each group of checks compares the two:
:mod:`.objects`, :mod:`.destructors` and :mod:`.ld_so` for ``ldd``, :mod:`.symbols` (over :mod:`.references`), and
:mod:`.trace`. A finding is a record; adding a check is adding its name to :data:`~ia2exit.checking.records.Name` and a
function, or a line in one, that yields it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import get_args

from ia2exit.checking.allowed import Allowed
from ia2exit.checking.destructors import check_destructors
from ia2exit.checking.ld_so import check_ld_so
from ia2exit.checking.metadata import Metadata, read_metadata
from ia2exit.checking.objects import check_objects, check_unused
from ia2exit.checking.parts import collect
from ia2exit.checking.records import CheckResult, Finding, Group, Severity
from ia2exit.checking.symbols import check_symbols
from ia2exit.checking.trace import check_trace, read_processes
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.binary import BinaryMap
from ia2exit.model import ExitMap

__all__ = ["CheckResult", "Finding", "check"]

Path = str | os.PathLike[str]


def check(
    program: Path,
    map: ExitMap | BinaryMap | Path,
    *,
    plugins: Iterable[Path] = (),
    trace: Path | None = None,
    only: Group | None = None,
    allow: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> CheckResult:
    """Compare a program with its exit map. The program does not run; its ld.so does, to list what it would load.

    Args:
        program: a program or shared object; what it needs is found as ld.so would find it now, ``LD_LIBRARY_PATH``
            included.
        map: the map, or a file that holds one, JSON or binary. A binary one has no paths to compare.
        plugins: objects that the program loads by ``dlopen``.
        trace: a file with the events of a run of the program with that map.
        only: one group of checks; None: all for which there is something to check.
        allow: data that may cross compartments: ``SYMBOL@OBJECT``, the object by soname, base name or path, globs.
        progress: called with (files scanned, files in all).

    Raises:
        Ia2exitError: a file cannot be read or used, a dependency is missing, the map contradicts itself, or something
            in ``allow`` allows nothing.
    """
    allowed = Allowed(allow)
    groups = _groups(only, trace is not None, allowed)
    path, files = os.fspath(program), [os.fspath(plugin) for plugin in plugins]
    metadata = Metadata(map, "map") if isinstance(map, ExitMap | BinaryMap) else read_metadata(map)
    processes = read_processes(os.fspath(trace), path) if trace is not None else []
    parts = collect(path, files, metadata, disassemble="ldd" in groups, progress=progress)
    used = {id(entry) for part in parts for entry in (part.entry, part.meant) if entry is not None}
    findings: list[Finding] = []
    count = 0
    if "ldd" in groups:
        findings += check_objects(parts, metadata)
        findings += check_ld_so(parts[0].closure.objects, os.environ)
        findings += check_destructors(parts, metadata)
    if "symbols" in groups:
        count, found = check_symbols(parts, metadata, allowed)
        findings += found
    if "trace" in groups:
        findings += check_trace(processes, metadata, used)
    if "ldd" in groups or "trace" in groups:
        findings += check_unused(parts, metadata, used, traced=trace is not None)
    ranks: tuple[Severity, ...] = get_args(Severity)
    return CheckResult(
        program=parts[0].path,
        map=metadata.source,
        trace=None if trace is None else os.fspath(trace),
        groups=groups,
        agrees=not any(one.severity in ("error", "crossing") for one in findings),
        objects=len(parts),
        destructors=sum(len(part.scanned.destructors) for part in parts) if "ldd" in groups else 0,
        references=count,
        ran=sum(len(process.destructors) for process in processes),
        allowed=allowed.count,
        findings=sorted(findings, key=lambda one: ranks.index(one.severity)),
    )


def _groups(only: Group | None, traced: bool, allowed: Allowed) -> list[Group]:
    """What is to be checked; refuses what would go unused."""
    if only == "trace" and not traced:
        raise Ia2exitError("--only trace: no trace, expected one; add --trace FILE")
    if only not in (None, "trace") and traced:
        raise Ia2exitError(f"--only {only}: the trace would not be looked at; leave --trace or --only out")
    if only not in (None, "symbols") and allowed:
        raise Ia2exitError(
            f"--only {only}: no symbol is looked at, so none can be allowed; leave --allow or --only out"
        )
    if only is not None:
        return [only]
    return ["ldd", "symbols", "trace"] if traced else ["ldd", "symbols"]

"""Group ``trace``: what a run says, beside the map that it ran with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial

from ia2exit import events
from ia2exit.checking.metadata import Entry, Metadata, short
from ia2exit.checking.records import Finding
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.build import OWNED_BY_HOLDER
from ia2exit.model import SHARED
from ia2exit.running.records import Process, Ran
from ia2exit.running.trace import read

_finding = partial(Finding, group="trace")


def read_processes(path: str, program: str) -> list[Process]:
    """What a trace says of the processes of one program.

    Raises:
        Ia2exitError: it cannot be read, is no trace, has no process of the program, or one that ran without a map.
    """
    try:
        with open(path, "rb") as lines:  # noqa: PTH123 (a FIFO will do)
            trace = read(lines)
    except OSError as error:
        raise Ia2exitError(f"{path}: cannot be read ({error.strerror}); expected a trace (run --trace)") from None
    if trace.malformed:
        raise Ia2exitError(
            f"{path}: {trace.why}, expected an event; keep the program's own output out of it: run --trace FILE"
        )
    real = os.path.realpath(program)
    found = [one for one in trace.processes if one.start and os.path.realpath(one.start.program) == real]
    if not found:
        others = sorted({one.start.program for one in trace.processes if one.start})
        raise Ia2exitError(
            f"{path}: no process of {program}, expected one (it has {', '.join(others) or 'none'});"
            " give the trace of a run of this program"
        )
    if any(one.start is not None and one.start.map is None for one in found):
        raise Ia2exitError(
            f"{path}: {program} ran without a map, expected a run with one; run it again with: ia2exit run --map"
        )
    return found


def check_trace(processes: Sequence[Process], metadata: Metadata, used: set[int]) -> Iterator[Finding]:
    """Where these processes and the map disagree, each thing once.

    Args:
        processes: of one program.
        metadata: the map.
        used: gets ``id()`` of each entry whose object was loaded.
    """
    told: set[tuple[str, str, str]] = set()
    for process in processes:
        for finding in _Run(process, metadata, used).findings():
            key = (finding.name, finding.object, finding.what)
            if key not in told:
                told.add(key)
                yield finding


class _Run:
    """One process and the entries of its objects."""

    def __init__(self, process: Process, metadata: Metadata, used: set[int]) -> None:
        self.process = process
        self.metadata = metadata
        self.loaded = [one for one in process.objects if one.when != "unload"]
        self.entries: dict[str, Entry] = {}
        for one in self.loaded:
            entry = self._entry(one)
            if entry is not None:
                self.entries[one.path] = entry
                used.add(id(entry))

    def _entry(self, one: events.Object) -> Entry | None:
        """By build ID; an object without one by the name of its file, for its soname is not in the trace."""
        if one.build_id:
            return self.metadata.entry(one.build_id, "")
        named = [*self.metadata.at(one.path), *self.metadata.called(os.path.basename(one.path))]  # noqa: PTH119
        return next((entry for entry in named if not entry.build_id), None)

    def findings(self) -> Iterator[Finding]:
        for one in self.loaded:
            yield from self._object(one)
        for row in self.process.destructors:
            yield from self._destructor(row)
        if self.process.end is None:
            yield _finding(
                name="trace-incomplete",
                severity="warning",
                object=self.process.program,
                what=f"process {self.process.pid}",
                expected="an event end",
                found="none: it was killed, or became another program; what it would have run is not checked",
                remedy="let it exit",
            )

    def _object(self, one: events.Object) -> Iterator[Finding]:
        entry, label = self.entries.get(one.path), self.metadata.label
        if entry is None:
            if one.compartment == SHARED and one.decided_by == "default":
                return  # shared by default whatever the map says: libgcc_s at thread end, the vdso, a preloaded runtime
            meant = next(self.metadata.at(one.path), None)
            yield _finding(
                name="trace-object",
                severity="error",
                object=one.path,
                what="it was loaded" + (" by dlopen" if one.when == "load" else ""),
                expected="an entry in the map" if meant is None else f"build ID {short(meant.build_id) or 'none'}",
                found=f"{'none' if meant is None else f'build ID {one.build_id}'}; it was in {label(one.compartment)}",
                remedy="name it behind the program and write the map again with: ia2exit map",
            )
        elif one.compartment != entry.compartment:
            yield _finding(
                name="trace-compartment",
                severity="error",
                object=one.path,
                what="the compartment that it was in",
                expected=label(entry.compartment),
                found=f"{one.compartment} ({one.compartment_name}), decided by {one.decided_by}",
                remedy="run it again with this map",
            )

    def _destructor(self, row: Ran) -> Iterator[Finding]:
        label = self.metadata.label
        if row.owner is None:
            why = f": {row.fallback}" if row.fallback else ""
            remedy = "register it with a dso_handle, from code of an object"
            yield self._finding(row, "trace-owner", "an owner", f"none, it ran with all rights{why}", remedy)
            return
        holder = self.entries.get(row.object or "")
        listed = holder is not None and row.dso in (None, row.object) and not self._is_lent_by_shared(row, holder)
        if holder is not None and listed:
            kinds = {one.kind for one in holder.destructors if one.rva == row.rva}
            if row.kind not in kinds:
                yield self._finding(
                    row,
                    "trace-destructor",
                    f"{row.kind} {row.rva} of {holder.name} in the map",
                    f"it has it as {', '.join(sorted(kinds))}" if kinds else "it is not listed",
                    "write the map again with: ia2exit map; if it is not found then, name it in the object's note"
                    " (IA2_EXIT_DESTRUCTOR)",
                )
                return
        expected = self._owner(row, holder if listed else None)
        if expected is not None and row.owner != expected:
            found = f"{row.owner} ({row.owner_name})"
            yield self._finding(row, "trace-owner", label(expected), found, "run it again with this map")

    @staticmethod
    def _is_lent_by_shared(row: Ran, holder: Entry) -> bool:
        """Functions of a shared object that others give to ``on_exit`` or a key are the registrar's, and not listed."""
        return row.kind in OWNED_BY_HOLDER and holder.compartment == SHARED

    def _owner(self, row: Ran, holder: Entry | None) -> int | None:
        """Whose a destructor is by the map (docs/exit-handling.md, "Ownership"); None: it does not say."""
        if row.dso is not None and row.dso != row.object:
            registrar = self.entries.get(row.dso)
            return registrar.compartment if registrar else None
        destructors = holder.destructors if holder else []
        return next((one.compartment for one in destructors if (one.rva, one.kind) == (row.rva, row.kind)), None)

    def _finding(self, row: Ran, name: str, expected: str, found: str, remedy: str) -> Finding:
        where = f"{row.kind} {row.rva if row.object else row.address}"
        return _finding(
            name="trace-owner" if name == "trace-owner" else "trace-destructor",
            severity="error",
            object=row.object or row.dso or self.process.program,
            what=f"destructor {where}" + (f", registered for {row.dso}" if row.dso not in (None, row.object) else ""),
            expected=expected,
            found=found,
            remedy=remedy,
        )

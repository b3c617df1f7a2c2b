"""The commands that only look: info compartments, info exit-records, info destructor."""

from __future__ import annotations

from collections import Counter, defaultdict

import gdb

from ia2exit.debugger.gdb_commands import filters, records, register
from ia2exit.debugger.gdb_commands.compartments import Pieces
from ia2exit.debugger.gdb_commands.objects import Object
from ia2exit.debugger.gdb_commands.panel import panel
from ia2exit.debugger.gdb_commands.records import Record
from ia2exit.debugger.gdb_commands.register import Register
from ia2exit.debugger.gdb_commands.scene import Scene
from ia2exit.debugger.gdb_commands.table import table
from ia2exit.pkru import right


class InfoCompartments(gdb.Command):
    """Compartments of the program: their objects, and what of their memory is open to the selected thread now.

    Usage: info compartments

    "closed" counts pieces of memory (runs of pages with one protection) that are closed to whoever is not let in.
    """

    def __init__(self) -> None:
        super().__init__("info compartments", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Print the table."""
        if argument.strip():
            raise gdb.GdbError(f"info compartments: {argument.strip()}: expected no argument")
        scene = Scene()
        members: dict[int, list[Object]] = defaultdict(list)
        for each in scene.objects:
            members[each.compartment].append(each)
        now = register.pkru(scene.runtime)
        rows = []
        for number, name in scene.compartments.names.items():
            pieces = scene.compartments.pieces.get(number, Pieces(0, 0))
            objects = ", ".join(f"{each.name}{' (not isolated)' if each.why_not else ''}" for each in members[number])
            closed = f"{pieces.closed} of {pieces.total}" if pieces.total else "-"
            rows.append(
                [str(number), name, _key(scene, number), _now(scene, number, pieces, now), closed, objects or "-"]
            )
        print(_how(scene))
        print(table(["id", "name", "key", "open now", "closed", "objects"], rows, right=(0, 2)))
        if scene.runtime.backend == "pku":
            value = f"{now.value:#010x}" if now.value is not None else f"not known: {now.why_not}"
            print(f"PKRU of this thread: {value}; the runtime's own memory has key {scene.compartments.runtime_key}")


def _how(scene: Scene) -> str:
    runtime = scene.runtime
    why = runtime.text(runtime.sealed("backend_why")) if runtime.sealed("backend_why") else ""
    exiting = "in the exit phase" if runtime.number("exiting", "exit_phase.c") else "before the exit phase"
    closed = "memory is closed" if runtime.number("closing", "backend.c") else "all memory is open"
    return f"backend {runtime.backend}{f' (not pku: {why})' if why else ''}, mode {runtime.mode}; {exiting}, {closed}"


def _key(scene: Scene, number: int) -> str:
    if scene.runtime.backend != "pku":
        return "-"
    return str(scene.compartments.keys.get(number, 0 if number == 0 else "none"))


def _now(scene: Scene, number: int, pieces: Pieces, now: Register) -> str:
    """What the selected thread can do with a compartment's memory."""
    if number == 0 or pieces.closed == 0:
        return "read-write"
    if scene.runtime.backend != "pku":
        return "none" if pieces.closed == pieces.total else "partly"
    key = scene.compartments.keys.get(number)
    return "?" if now.value is None or key is None else right(now.value, key)


class InfoExitRecords(gdb.Command):
    """Destructors that have been registered: one line each, those that run now marked with *.

    Usage: info exit-records [FILTER]

    FILTER is a function, the base name of an object, a compartment (number or name), a kind or a state; * ? [ ] as
    in a shell.
    """

    def __init__(self) -> None:
        super().__init__("info exit-records", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Print the table."""
        wanted = filters.parse("info exit-records", argument)
        scene = Scene()
        rows, counts, shown = [], Counter[str](), 0
        for record in records.records(scene.runtime):
            counts[record.state] += 1
            place = scene.places.at(record.function) if record.state != "free" else None
            by_word = wanted.word and wanted.word in (record.kind, _state(record))
            if place is None or not (by_word or wanted.matches(record, scene)):
                continue
            shown += 1
            rows.append(
                [
                    "*" if record.state in ("running", "copy") else "",
                    record.name,
                    _state(record),
                    record.kind,
                    place.label,
                    place.object,
                    scene.compartments.label(record.owner),
                    "-" if record.is_fini else scene.places.near(record.registrar),
                    record.flag_names,
                ]
            )
        if rows:
            head = ["", "record", "state", "kind", "function", "object", "owner", "registered at", "flags"]
            print(table(head, rows, right=(1,)))
        some = f"{shown} of " if wanted.word else ""
        total = sum(count for state, count in counts.items() if state not in ("free", "copy"))
        print(
            f"{some}{total} records: {counts['live']} live, {counts['running'] + counts['copy']} running, "
            f"{counts['done']} done; {counts['free']} free slots"
        )


def _state(record: Record) -> str:
    if record.state == "copy":
        return "running"
    return record.outcome if record.state == "done" and record.outcome != "success" else record.state


class InfoDestructor(gdb.Command):
    """The destructor that the selected thread runs, or is about to run: record, owner, and PKRU around it.

    Usage: info destructor [RECORD]

    RECORD is a number that info exit-records shows.
    """

    def __init__(self) -> None:
        super().__init__("info destructor", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Print the panel."""
        word = argument.strip()
        number = word.partition(".")[0]
        if word and not number.isdecimal():
            raise gdb.GdbError(
                f"info destructor: {word}: expected the number of a record; info exit-records shows them"
            )
        scene = Scene()
        record = records.record(scene.runtime, int(number)) if word else scene.current()
        if record is None or record.state == "free":
            raise gdb.GdbError(
                f"info destructor: {word}: no such record; info exit-records shows them"
                if word
                else "this thread runs no destructor (info exit-records shows all)"
            )
        print(panel(scene, record))

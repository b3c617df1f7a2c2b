"""One destructor in full: its record, whose rights it gets, and what PKRU is around it."""

from __future__ import annotations

from collections.abc import Iterator

from ia2exit.debugger.gdb_commands import register, rights
from ia2exit.debugger.gdb_commands.records import NO_OWNER, Record
from ia2exit.debugger.gdb_commands.rights import Rights
from ia2exit.debugger.gdb_commands.scene import Scene
from ia2exit.debugger.gdb_commands.table import table
from ia2exit.pkru import KEYS, right


def panel(scene: Scene, record: Record) -> str:
    """Several lines of text, without a newline at the end."""
    return "\n".join([*lines(scene, record), *_pkru(scene, record)])


def lines(scene: Scene, record: Record) -> Iterator[str]:
    """The record alone."""
    place = scene.places.at(record.function)
    where = f" ({place.where}{', ' + place.line if place.line else ''})" if place.function else ""
    yield f"destructor {record.name}: {record.kind} {place.label}{where}, {_state(scene, record)}"
    also = f", and {scene.compartments.label(record.also)} (vague)" if "vague" in record.flag_names else ""
    yield f"  owner       {scene.compartments.label(record.owner)}{also}{_why_all(scene, record)}"
    if record.is_fini:
        yield "  registered  by nobody: it is in its object's dynamic section"
    else:
        foreign = ", which is foreign to the owner" if "foreign" in record.flag_names else ""
        yield f"  registered  at {scene.places.near(record.registrar)}{foreign}"
    if record.state == "live" and not record.is_fini:
        yield f"  argument    {record.argument:#x}"
    if record.outer and any(record.address == each.address for each in scene.chain):
        yield f"  interrupts  destructor {record.outer}"


def _why_all(scene: Scene, record: Record) -> str:
    if scene.runtime.sealed("allow_all"):
        return ", but everything is open (IA2_EXIT_ALLOW_ALL)"
    return ": everything is open to it" if record.owner == NO_OWNER else ""


def _state(scene: Scene, record: Record) -> str:
    if record.state == "live":
        return "not run yet"
    if record.state == "done":
        return f"done: {record.outcome}"
    return "running" if record.state in ("running", "copy") else record.state


def _pkru(scene: Scene, record: Record) -> Iterator[str]:
    if record.state in ("done", "free"):
        return
    around = rights.of(scene.runtime, scene.compartments, scene.thread, scene.chain, record)
    columns = ("before", "wanted", "after")
    values = (around.before, around.wanted, around.after)
    yield "  " + "  ".join(
        ["PKRU      ", *(f"{name} {_hex(value)}" for name, value in zip(columns, values, strict=True))]
    )
    if around.why:
        yield f"              wanted is not known: {around.why}"
    yield from (f"    {line}" for line in table(["key", "memory", *columns], _keys(scene, values)).splitlines())
    yield f"  register    {_register(scene, around)}"


def _hex(value: int | None) -> str:
    return "?" if value is None else f"{value:#010x}"


def _keys(scene: Scene, values: tuple[int | None, ...]) -> Iterator[list[str]]:
    """A row for each key that stands for something; neighbours among the others that are alike share one."""
    pending: list[str] | None = None
    for key in range(KEYS):
        whose = scene.compartments.of_key(key)
        can = ["?" if value is None else right(value, key) for value in values]
        if pending is not None and not whose and pending[2:] == can:
            pending[0] = f"{pending[0].partition('-')[0]}-{key}"
            continue
        if pending is not None:
            yield pending
        pending = None if whose else [str(key), "no compartment's", *can]
        if whose:
            yield [str(key), whose, *can]
    if pending is not None:
        yield pending


def _register(scene: Scene, around: Rights) -> str:
    if around.virtual:
        return f"none: the values above are virtual (backend {scene.runtime.backend}; key = number of the compartment)"
    now = register.pkru(scene.runtime)
    if now.value is None:
        return f"not known: {now.why_not}"
    if now.stale:
        return f"{now.value:#010x} in the core file, where the kernel writes the one that it has last saved"
    names = {around.before: "before", around.wanted: "wanted"}
    is_one = names.get(now.value)
    own = scene.runtime.sealed("runtime_bits")
    if is_one is None and now.value | own in names:
        is_one = f"{names[now.value | own]}, with the runtime's own memory open"
    return (
        f"{now.value:#010x}{f': {is_one}' if is_one else ': neither (the runtime is at work, or let a touch through)'}"
    )

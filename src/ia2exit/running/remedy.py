"""What to write where, so that a violation is none any more: lines of a policy to paste."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable

from ia2exit.model import SHARED
from ia2exit.policy import MAIN, RESERVED
from ia2exit.running.records import Process, Violation
from ia2exit.running.words import base, function_of

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_UNFIT = re.compile(r"[^A-Za-z0-9_.+-]")
#: Characters with a meaning in the patterns of a policy.
_GLOB = re.compile(r"([*?\[])")


def remedy(violation: Violation, process: Process) -> tuple[str, list[str]] | None:
    """What to do and the lines of TOML that do it; None where nobody knows whose memory it was, or who touched it."""
    victim, owner = violation.victim, _owner(violation, process)
    if victim is None or owner is None or victim == owner:
        return None
    first = ["version = 1"] if process.start is None or process.start.map is None else []
    if owner == SHARED:
        objects = _objects(process, [victim])
        what = f"if shared code may touch {_list(objects)}, share it in the policy:"
        return what, [*first, f"shared = {_toml(objects)}"]
    objects = _objects(process, [victim, owner])
    name = _name(violation.victim_name, victim)
    what = "if they belong together, one compartment in the policy in place of the two:"
    return what, [*first, f"[compartments.{name}]", f"objects = {_toml(objects)}"]


def for_one_variable(violation: Violation) -> str | None:
    """What to do to share no more than the variable that was touched; None where nobody knows which it was."""
    address = violation.address
    if address is None or address.object is None or violation.victim is None:
        return None
    what = function_of(address) if address.symbol else "that variable"
    return f"if everyone may touch {what}, define it with IA2_SHARED_DATA (ia2_exit_note.h) in {base(address.object)}"


def _owner(violation: Violation, process: Process) -> int | None:
    """The compartment that would have to be the victim's, too."""
    if violation.destructor is not None and not violation.handler:
        return violation.destructor.owner
    owners = {event.path: event.compartment for event in process.objects}
    return owners.get(violation.instruction.object or "")


def _objects(process: Process, compartments: list[int]) -> list[str]:
    """Patterns for all objects of these compartments, in the order of the compartments."""
    found: dict[str, None] = {}
    for number in compartments:
        for event in process.objects:
            if event.compartment == number:
                found[_pattern(event.path, process)] = None
    return list(found)


def _pattern(path: str, process: Process) -> str:
    return MAIN if path == process.program else _GLOB.sub(r"[\1]", os.path.basename(path))


def _name(name: str | None, number: int) -> str:
    """A compartment's name as a policy can have it, quoted where TOML wants that."""
    fit = _UNFIT.sub("_", name or "").lstrip(".+-")[:64]
    if not fit or fit in RESERVED:
        fit = f"compartment{number}"
    return fit if _BARE.fullmatch(fit) else json.dumps(fit)


def _toml(patterns: Iterable[str]) -> str:
    return json.dumps(list(patterns), ensure_ascii=False)


def _list(patterns: list[str]) -> str:
    return ", ".join("the program" if pattern == MAIN else pattern for pattern in patterns)

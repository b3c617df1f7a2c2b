"""``.note.ia2.exit``: what an object says about its own destructors (runtime/libia2/include/ia2_exit_note.h).

Owner ``IA2``. Type 1 claims a compartment for the object: u32 compartment, u32 reserved (0). Type 2 names a destructor:
i64 function relative to this field, u32 kind, u32 compartment. Type 3, empty, marks an object that was built with the
header: the runtime looks for shared data in it. A note is a claim; a policy is the law.
"""

from __future__ import annotations

import struct

from ia2exit.elf.image import ElfImage, Note
from ia2exit.model import KINDS, MAX_COMPARTMENT, Address, Destructor

OWNER = b"IA2"
NT_COMPARTMENT, NT_DESTRUCTOR, NT_MARKER = 1, 2, 3
_COMPARTMENT = struct.Struct("<II")
_DESTRUCTOR = struct.Struct("<qII")
_MARKER = struct.Struct("")


def read(image: ElfImage) -> tuple[int | None, list[Destructor]]:
    """The compartment that the object claims (None: no claim) and the destructors that it lists, in their order.

    Raises:
        Ia2exitError: a note of owner IA2 has another size, an unknown type or kind, a compartment above the limit, a
            function outside the object's code, or contradicts an earlier claim.
    """
    claimed: int | None = None
    destructors: list[Destructor] = []
    for note in image.notes():
        if note.owner != OWNER:
            continue
        if note.type == NT_COMPARTMENT:
            number = _compartment(image, note)
            if claimed not in (None, number):
                raise image.error(
                    f".note.ia2.exit claims compartment {claimed} and compartment {number}, expected one",
                    "keep one IA2_EXIT_COMPARTMENT in each object",
                )
            claimed = number
        elif note.type == NT_DESTRUCTOR:
            destructor = _destructor(image, note)
            if destructor is not None:
                destructors.append(destructor)
        elif note.type == NT_MARKER:
            _checked(image, note, _MARKER)
        else:
            raise image.error(
                f".note.ia2.exit has a note of type {note.type}, expected 1 to 3",
                "rebuild it with the ia2_exit.h of this version",
            )
    return claimed, destructors


def _checked(image: ElfImage, note: Note, layout: struct.Struct) -> tuple[int, ...]:
    if len(note.description) != layout.size:
        raise image.error(
            f".note.ia2.exit: a note of type {note.type} has {len(note.description)} bytes, expected {layout.size}",
            "rebuild it with the ia2_exit.h of this version",
        )
    return layout.unpack(note.description)


def _limit(image: ElfImage, number: int) -> int:
    if number > MAX_COMPARTMENT:
        raise image.error(
            f".note.ia2.exit: compartment {number} is above the limit of {MAX_COMPARTMENT}", "use a smaller number"
        )
    return number


def _compartment(image: ElfImage, note: Note) -> int:
    number, _reserved = _checked(image, note, _COMPARTMENT)
    return _limit(image, number)


def _destructor(image: ElfImage, note: Note) -> Destructor | None:
    """The destructor that a note lists; None where it names a weak symbol that the link did not find (address 0)."""
    relative, kind, compartment = _checked(image, note, _DESTRUCTOR)
    rva = note.rva + relative
    if rva == 0:
        return None
    if not 1 <= kind <= len(KINDS):
        raise image.error(
            f".note.ia2.exit: destructor of kind {kind}, expected 1 to {len(KINDS)}",
            "rebuild it with the ia2_exit.h of this version",
        )
    if not image.is_code(rva):
        raise image.error(
            f".note.ia2.exit: destructor at {rva:#x} lies outside the object's code",
            "name a function that the object itself defines",
        )
    return Destructor(kind=KINDS[kind - 1], rva=Address(rva), found="note", claimed=_limit(image, compartment))

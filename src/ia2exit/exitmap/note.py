"""The exit map of one object as an ELF note: assembler source to be linked into it.

The layout is that of runtime/libia2/include/ia2_exit_note.h: what the macros there write from C and C++ source.
Destructors are named by symbol, since linking the note in moves every address, and a file of assembler can name fewer
functions than the macros can:

- static functions have no name outside their own file. Hidden ones have, and a linked object no longer tells the two
  apart, so both are referenced weakly: where the link finds no such name the entry holds address 0, which readers skip;
- an exported function of a shared object can be replaced by another object's, so the linker would leave a relocation in
  the read-only note: it is left out, and the macro, which makes a local alias, is the way;
- functions without a symbol, or with a name that several have, are left out.
"""

from __future__ import annotations

import os
import re

import msgspec

from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.patterns import object_name
from ia2exit.model import KINDS, SHARED, Compartment, ExitMap, MapDestructor, MapObject, ScanResult
from ia2exit.policy import PolicyFile

_HEAD = """\
/* .note.ia2.exit of {name}, written by `ia2exit map --note`. Assemble it and link it into the object:
 *
 *     cc -c note.S
 *     cc -shared -o {name} ... note.o
 *
 * An entry for a static function resolves to nothing and is ignored: name it in its source with IA2_EXIT_DESTRUCTOR. */
        .section .note.ia2.exit, "a", @note
        .balign 4

        /* type 1: the object belongs to compartment {id}, {compartment} */
        .long   4, 8, 1
        .asciz  "IA2"
        .long   {id}, 0
"""
_WEAK = """\
        .weak   "{symbol}"
        .hidden "{symbol}"
"""
_ENTRY = """\

        /* type 2: {kind} {text} */
{reference}        .long   4, 16, 2
        .asciz  "IA2"
        .quad   "{symbol}" - .
        .long   {number}, {compartment}
"""
# Without the property note the linker would take the object's CET marks away; without the other its stack would be
# executable.
_TAIL = """\

        .section .note.gnu.property, "a", @note
        .balign 8
        .long   4, 16, 5
        .asciz  "GNU"
        .long   0xc0000002, 4, 3, 0

        .section .note.GNU-stack, "", @progbits
"""
_PLAIN = re.compile(r'[^\s"\\\x00-\x1f\x7f]+')


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Assembler source for GNU as and clang, and what it leaves out."""

    text: str
    #: Entries in it.
    entries: int
    #: reason -> the destructors left out for it, by symbol or RVA.
    left_out: dict[str, list[str]]


def _definitions(image: ElfImage, symbol: str) -> tuple[bool, int]:
    """Whether the object exports ``symbol``, and how many addresses bear that name in it."""
    dynamic = image.dynsym
    exported = any(dynamic.entries["section"][index] != 0 for index in dynamic.named({symbol}).get(symbol, []))
    if image.symtab is None:
        return exported, 1
    table = image.symtab
    values = {
        int(table.entries["value"][index])
        for index in table.named({symbol}).get(symbol, [])
        if table.entries["section"][index] != 0
    }
    return exported, max(1, len(values))


def _reference(image: ElfImage, entry: MapDestructor) -> tuple[str, str]:
    """The directives that an entry's symbol needs, and why it must be left out ("": it need not)."""
    if entry.symbol is None:
        return "", "no symbol"
    if not _PLAIN.fullmatch(entry.symbol):
        return "", "a name that assembler cannot spell"
    exported, definitions = _definitions(image, entry.symbol)
    if definitions > 1:
        return "", "a name that several functions have"
    if not exported:
        return _WEAK.format(symbol=entry.symbol), ""
    return ("", "exported") if image.type == "shared-object" else ("", "")


def _comment(text: str) -> str:
    return text.replace("*/", "* /").replace("/*", "/ *")


def write_note(item: MapObject, compartments: list[Compartment]) -> Note:
    """The note for one object of a map. Raises :class:`~ia2exit.errors.Ia2exitError` when its file cannot be read."""
    image = ElfImage(item.path)
    names = {compartment.id: compartment.name for compartment in compartments}
    parts = [_HEAD.format(name=_comment(item.name), id=item.compartment, compartment=_comment(names[item.compartment]))]
    left_out: dict[str, list[str]] = {}
    for entry in item.destructors:
        reference, why = _reference(image, entry)
        if why:
            left_out.setdefault(why, []).append(entry.symbol or str(entry.rva))
            continue
        parts.append(
            _ENTRY.format(
                kind=entry.kind,
                text=_comment(entry.symbol or ""),
                reference=reference,
                symbol=entry.symbol,
                number=KINDS.index(entry.kind) + 1,
                compartment=entry.compartment,
            )
        )
    return Note(text="".join([*parts, _TAIL]), entries=len(parts) - 1, left_out=left_out)


def note_notices(note: Note, item: MapObject, loaded: PolicyFile) -> list[str]:
    """What the user of a note should know: what it leaves out, and a number that may change."""
    notices = []
    if note.left_out:
        reasons = "; ".join(f"{why}: {', '.join(names)}" for why, names in note.left_out.items())
        count = sum(map(len, note.left_out.values()))
        notices.append(
            f"{item.path}: {count} of {count + note.entries} destructors are not in the note ({reasons});"
            " name them in their source with IA2_EXIT_DESTRUCTOR"
        )
    fixed = {rule.id for rule in loaded.policy.compartments.values()}
    if item.compartment != SHARED and item.decided_by != "note" and item.compartment not in fixed:
        notices.append(
            f"{item.path}: compartment {item.compartment} was numbered automatically and may change;"
            f" write its id into {loaded.source}"
        )
    return notices


def note_for(path: str, loaded: PolicyFile, scanned: ScanResult, exit_map: ExitMap) -> tuple[Note, list[str]]:
    """The note for the object at ``path``, which was scanned, and what to tell its user. Raises Ia2exitError."""
    found = [item for item in scanned.objects if os.path.realpath(item.path) == os.path.realpath(path)]
    if not found:
        raise Ia2exitError(f"{path}: expected one object to write a note for; name a file first, not a folder")
    key = (found[0].build_id, object_name(found[0]))
    item = next(item for item in exit_map.objects if (item.build_id, item.name) == key)
    note = write_note(item, exit_map.compartments)
    return note, note_notices(note, item, loaded)

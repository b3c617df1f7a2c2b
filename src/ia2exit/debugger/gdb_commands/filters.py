"""What the argument of a command names: destructors by function, by object or by compartment."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

import gdb

from ia2exit.debugger.gdb_commands.compartments import LAST, Compartments
from ia2exit.debugger.gdb_commands.records import Record
from ia2exit.debugger.gdb_commands.scene import Scene


class Filter(NamedTuple):
    """One word; empty: everything."""

    word: str

    def matches(self, record: Record, scene: Scene) -> bool:
        """Is the destructor meant? Looks no further than it must: this is asked before each destructor."""
        if not self.word:
            return True
        if self.word.isdecimal():
            return record.owner == int(self.word)
        place = scene.places.at(record.function)
        known = (place.function, place.function.partition("(")[0], place.linkage, place.object)
        return any(fnmatchcase(name, self.word) for name in known if name) or fnmatchcase(
            scene.compartments.names.get(record.owner, ""), self.word
        )

    def __str__(self) -> str:
        return f"destructors that match {self.word}" if self.word else "every destructor"


def parse(command: str, text: str) -> Filter:
    """The filter of a command's arguments.

    Raises:
        gdb.GdbError: they are not one word, or not one that can ever match.
    """
    words = gdb.string_to_argv(text)
    if len(words) > 1:
        raise gdb.GdbError(
            f"{command}: {len(words)} words: expected one function, object or compartment; quote a name with blanks"
        )
    word = words[0] if words else ""
    if word.startswith("-"):
        raise gdb.GdbError(f"{command}: {word}: no such option: expected a function, object or compartment")
    if word.isdecimal() and int(word) > LAST:
        raise gdb.GdbError(f"{command}: {word}: compartments have numbers from 0 to {LAST}")
    return Filter(word)


def check_number(command: str, wanted: Filter, known: Compartments) -> None:
    """Refuse the number of a compartment that this process does not have.

    Raises:
        gdb.GdbError: it has not.
    """
    if wanted.word.isdecimal() and int(wanted.word) not in known.names:
        there = ", ".join(known.label(number) for number in known.names)
        raise gdb.GdbError(f"{command}: {wanted.word}: no such compartment (there are {there})")

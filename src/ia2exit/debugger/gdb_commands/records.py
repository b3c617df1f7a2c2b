"""Exit records (records.h)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ia2exit.debugger.gdb_commands.runtime import Row, Runtime

# Numbers of the runtime's; tests/unit/test_debugger_words.py compares them with its headers.
STATES = ("free", "live", "running", "done", "copy")
KINDS = (
    "?",
    "fini_array",
    "fini",
    "cxa_atexit",
    "atexit",
    "on_exit",
    "quick_exit",
    "thread_atexit",
    "pthread_key",
)
OUTCOMES = ("success", "fallback", "violation", "contained", "unenforced", "bypassed", "unfinished")
FLAGS = {1: "foreign", 2: "vague", 4: "repeated"}
NO_OWNER = 0xFFFF


class Record(NamedTuple):
    """One registration. ``number`` is what other records and glibc call it by: its place, from 1."""

    number: int
    address: int
    function: int
    argument: int
    #: Of a running one, number of the record that it interrupted (0: none), and the PKRU that it goes back to.
    outer: int
    outer_pkru: int
    generation: int
    dso: int
    registrar: int
    owner: int
    also: int
    kind: str
    flags: int
    state: str
    outcome: str

    @property
    def name(self) -> str:
        """Number, and generation where the slot has been used before."""
        return f"{self.number}.{self.generation}" if self.generation else str(self.number)

    @property
    def flag_names(self) -> str:
        """The flags in words."""
        return " ".join(word for bit, word in FLAGS.items() if self.flags & bit)

    @property
    def is_fini(self) -> bool:
        """Of an object's dynamic section: nobody registered it."""
        return self.kind in ("fini_array", "fini")


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if number < len(words) else f"{number}?"


def _record(number: int, row: Row) -> Record:
    return Record(
        number=number,
        address=row.address,
        function=row("function"),
        argument=row("argument"),
        outer=row("outer"),
        outer_pkru=row("outer_pkru"),
        generation=row("number") >> 32,
        dso=row("dso"),
        registrar=row("registrar"),
        owner=row("owner"),
        also=row("also"),
        kind=_word(KINDS, row("kind")),
        flags=row("flags"),
        state=_word(STATES, row("state")),
        outcome=_word(OUTCOMES, row("outcome")),
    )


def records(runtime: Runtime) -> Iterator[Record]:
    """All slots that were ever used, in the order of the table."""
    table = runtime.variable("ia2_records")
    for number, row in enumerate(runtime.rows(table["base"], int(table["used"])), start=1):
        yield _record(number, row)


def record(runtime: Runtime, number: int) -> Record | None:
    """One record by its number."""
    table = runtime.variable("ia2_records")
    if not 1 <= number <= int(table["used"]):
        return None
    return _record(number, next(runtime.rows(table["base"], number, number - 1)))


def record_at(runtime: Runtime, address: int) -> Record | None:
    """One record by its address, None where that is none of the table."""
    base = runtime.variable("ia2_records")["base"]
    place, rest = divmod(address - int(base), base.type.strip_typedefs().target().sizeof)
    return None if rest else record(runtime, place + 1)

"""The records that travel from one stage to the next: read -> map -> run -> events -> report.

Everything here is a frozen msgspec struct: checked once where it enters (a file, the command line), trusted
afterwards. JSON carries addresses as hexadecimal strings (``"0x1a40"``), Python as :class:`Address`, an ``int``.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

import msgspec

#: Version of each published JSON document and of the binary map; a reader refuses any other.
SCAN_VERSION = 1
MAP_VERSION = 1
POLICY_VERSION = 1
EVENTS_VERSION = 1

#: Compartment 0 is *shared*: everyone may touch it.
SHARED = 0
#: Largest compartment id (the runtime's table has one slot for each).
MAX_COMPARTMENT = 4095

#: What can run at exit, unload or thread end (docs/exit-handling.md, "Kinds").
Kind = Literal["fini_array", "fini", "cxa_atexit", "atexit", "on_exit", "quick_exit", "thread_atexit", "pthread_key"]
KINDS: tuple[Kind, ...] = (
    "fini_array",
    "fini",
    "cxa_atexit",
    "atexit",
    "on_exit",
    "quick_exit",
    "thread_atexit",
    "pthread_key",
)


class Address(int):
    """An address or RVA in bytes; ``"0x…"`` in JSON, an ``int`` in Python."""

    __slots__ = ()

    def __str__(self) -> str:
        return hex(self)

    __repr__ = __str__


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records: immutable, compared by value, named arguments only."""


class CallSite(Record, frozen=True, kw_only=True):
    """Where a registration is made in code: the evidence for a destructor that no table lists."""

    #: RVA of the call or jump instruction.
    rva: Address
    instruction: Literal["call", "jmp"]
    #: How the registration function is reached: a PLT entry, a GOT slot, or the object's own copy of
    #: ``atexit`` / ``at_quick_exit`` from libc_nonshared (or a direct call inside libc itself).
    via: Literal["plt", "got", "stub", "direct"]
    #: The registration function as the object names it, for example ``__cxa_atexit``.
    function: str
    #: Symbol of the function that holds the call, if known.
    caller: str | None = None


class Destructor(Record, frozen=True, kw_only=True):
    """One piece of code that will, or may, run at exit, unload or thread end."""

    kind: Kind
    #: Bytes from the load base of the object that holds the function; None where the argument is no constant.
    rva: Address | None
    #: Name of the object that holds the function when it is not the one scanned (an imported function), by
    #: soname when the defining object is known; None means the scanned object itself.
    object: str | None = None
    #: Linker symbol, or None.
    symbol: str | None = None
    #: The same, demangled where it is a C++ or Rust name.
    name: str | None = None
    #: Where the symbol came from.
    symbol_source: Literal["symtab", "dynsym", "dwarf", "debug-file", "import", "note"] | None = None
    #: How the destructor was found.
    found: Literal["fini_array", "dt_fini", "code", "note"]
    #: Position in ``.fini_array`` (they run from the last to the first).
    index: int | None = None
    site: CallSite | None = None
    #: Compartment that a note inside the object claims, or None.
    claimed: int | None = None


class ScannedObject(Record, frozen=True, kw_only=True):
    """One ELF file and its destructors."""

    path: str
    build_id: str | None
    soname: str | None
    #: ``executable`` (ET_EXEC), ``pie``, ``shared-object``, ``static`` or ``static-pie``.
    type: Literal["executable", "pie", "shared-object", "static", "static-pie"]
    needed: list[str]
    interpreter: str | None
    #: Whether the runtime can cover it, and if not why (one clause).
    coverable: bool
    why_not: str | None = None
    #: Compartment that the object's ``.note.ia2.exit`` claims, or None.
    claimed: int | None = None
    #: Whether it defines ``malloc``: everyone allocates through the first such object, so it is shared by default.
    defines_malloc: bool = False
    destructors: list[Destructor]


class Problem(Record, frozen=True, kw_only=True):
    """A file that could not be used, and the one line that says why."""

    path: str
    message: str


class ScanResult(Record, frozen=True, kw_only=True):
    """What :func:`ia2exit.scan` returns and ``ia2exit scan --json`` prints (schemas/scan.schema.json)."""

    version: int = SCAN_VERSION
    objects: list[ScannedObject]
    problems: list[Problem]


class Compartment(Record, frozen=True, kw_only=True):
    """A set of objects that may touch each other's memory."""

    id: int
    name: str


class MapDestructor(Record, frozen=True, kw_only=True):
    """A destructor and the compartment whose rights it gets when its own object registers it."""

    rva: Address
    kind: Kind
    symbol: str | None
    compartment: int


class MapObject(Record, frozen=True, kw_only=True):
    """An object of the exit map. ``name`` is the soname, or the base name of a program."""

    name: str
    path: str
    build_id: str | None
    compartment: int
    #: Who decided: the policy, a note inside the object, the default list of shared objects, or ``unlisted``.
    decided_by: Literal["policy", "note", "default", "unlisted"]
    #: True for the main program.
    main: bool = False
    destructors: list[MapDestructor]


class ExitMap(Record, frozen=True, kw_only=True):
    """Which destructor belongs to which compartment (schemas/map.schema.json).

    ``compartments`` is sorted by id and holds id 0 (``shared``); ``objects`` by (build_id, name);
    the destructors of an object by (rva, kind). ``unlisted`` is what the runtime does with objects that the
    map does not name: ``each`` a compartment of its own, or the id of a compartment (0: shared).
    """

    version: int = MAP_VERSION
    unlisted: Literal["each"] | int
    compartments: list[Compartment]
    objects: list[MapObject]


T = TypeVar("T")

_ADDRESS = re.compile("0x[0-9a-fA-F]+")


def _encode_hook(value: Any) -> Any:
    if isinstance(value, Address):
        return hex(value)
    raise NotImplementedError(type(value).__name__)


def _decode_hook(kind: type, value: Any) -> Any:
    if kind is Address and isinstance(value, str):
        if not _ADDRESS.fullmatch(value):
            raise ValueError(f'expected an address such as "0x1a40", got "{value}"')
        return Address(value, 16)
    raise ValueError(f'expected an address such as "0x1a40", got {value!r}')


def to_json(record: Any, *, indent: int | None = 2) -> bytes:
    """Encode a record as JSON: ``indent`` spaces a level, or one line when None; always ends in a newline."""
    data = msgspec.json.encode(record, enc_hook=_encode_hook)
    if indent is not None:
        data = msgspec.json.format(data, indent=indent)
    return data + b"\n"


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """A decoder for many documents of one kind; it raises what :func:`from_json` raises."""
    return msgspec.json.Decoder(kind, dec_hook=_decode_hook)


def from_json(data: bytes | str, kind: type[T]) -> T:
    """Decode and check JSON. Raises ``msgspec.ValidationError`` or ``msgspec.DecodeError``."""
    return msgspec.json.decode(data, type=kind, dec_hook=_decode_hook)

"""What a register or a word of memory may hold, as far as it can be told without running the program.

A known number or address is an ``int`` (addresses are RVAs), an unknown value is None. Everything else is one of the
small records here. Only what leads to a function pointer is kept: sums of unknown values are unknown.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

#: A merge of more values than this is unknown.
MAX_CHOICES = 16
#: Chains of loads through a parameter (``p->a->b``) deeper than this are unknown.
_MAX_DEPTH = 3
_MASK = (1 << 64) - 1


class Import(msgspec.Struct, frozen=True):
    """The address that the loader binds a dynamic symbol to; ``own`` is the object's own definition (RVA), if any."""

    name: str
    own: int | None


class Entry(msgspec.Struct, frozen=True):
    """What a register held when the function was entered; ``register`` is its number (0 rax, …, 7 rdi, …, 15 r15)."""

    register: int


class Stack(msgspec.Struct, frozen=True):
    """An address in the function's frame: bytes from the stack pointer at its entry."""

    offset: int


class Offset(msgspec.Struct, frozen=True):
    """``base`` plus a number of bytes."""

    base: Entry | Load
    offset: int


class Load(msgspec.Struct, frozen=True):
    """The 64-bit word at an address that depends on a parameter."""

    address: Entry | Offset | Load


class Result(msgspec.Struct, frozen=True):
    """What the function at an RVA returned (a lambda's conversion to a function pointer, for one)."""

    function: int


class Choice(msgspec.Struct, frozen=True):
    """One of several values, depending on the path taken; None among them stands for paths that are unknown."""

    values: frozenset[Simple]


Simple: TypeAlias = int | Import | Entry | Stack | Offset | Load | Result | None
Value: TypeAlias = Simple | Choice


def alternatives(value: Value) -> frozenset[Simple]:
    """The values that a value may be."""
    return value.values if isinstance(value, Choice) else frozenset((value,))


def join(one: Value, other: Value) -> Value:
    """Either of two values: what a register holds where two paths meet."""
    if one == other:
        return one
    values = alternatives(one) | alternatives(other)
    return Choice(values) if len(values) <= MAX_CHOICES else None


def plus(value: Value, number: int) -> Value:
    """The sum of a value and a number."""
    if isinstance(value, int):
        return (value + number) & _MASK
    if isinstance(value, Stack):
        return Stack(value.offset + number)
    if number == 0:
        return value
    if isinstance(value, Offset):
        return Offset(value.base, value.offset + number) if value.offset + number else value.base
    if isinstance(value, Entry | Load):
        return Offset(value, number)
    return None


def load(address: Entry | Offset | Load) -> Load | None:
    """The word at an address that depends on a parameter; None where the chain of loads gets too long."""
    depth, link = 1, address
    while not isinstance(link, Entry):
        depth += isinstance(link, Load)
        link = link.address if isinstance(link, Load) else link.base
    return Load(address) if depth <= _MAX_DEPTH else None


def depends_on_entry(value: Simple) -> bool:
    """Whether the value is known once the function's arguments are."""
    return isinstance(value, Entry | Offset | Load)

"""The words and marks that all parts of a report share."""

from __future__ import annotations

import os

from ia2exit.errors import printable
from ia2exit.running.records import Location, Ran

BOLD, YELLOW, RED, PLAIN = "\033[1m", "\033[1;33m", "\033[1;31m", "\033[0m"


def paint(text: str, escape: str, colour: bool) -> str:
    """``text`` in a colour, where colours are wanted."""
    return f"{escape}{text}{PLAIN}" if colour else text


def plural(number: int, noun: str) -> str:
    """``1 fault``, ``2 faults``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(ns: int | None) -> str:
    """Nanoseconds for people, to the microsecond or better: ``312 ns``, ``12.345 µs``, ``1.234 ms``, ``2.345678 s``."""
    if ns is None:
        return "no return"
    if ns < 1_000:
        return f"{ns} ns"
    if ns < 1_000_000:
        return f"{ns / 1e3:.1f} µs"
    return f"{ns / 1e6:.3f} ms" if ns < 1_000_000_000 else f"{ns / 1e9:.6f} s"


def base(path: str) -> str:
    """Name of an object without its folder."""
    return printable(os.path.basename(path) or path)


def function_of(what: Ran | Location) -> str:
    """The best name of a function: demangled, else its symbol, else object and RVA, else its address."""
    if what.name or what.symbol:
        return printable(what.name or what.symbol or "")
    if what.object is not None and what.rva is not None:
        return f"{base(what.object)}+{what.rva}"
    return str(what.address)


def place_of(location: Location) -> str:
    """Where an address is: ``secret+0x8 (libplug.so+0x4048)``."""
    if location.object is None or location.rva is None:
        was = "no object" if location.unloaded is None else f"{base(location.unloaded)} until it was unloaded"
        return f"{location.address} ({was})"
    raw = f"{base(location.object)}+{location.rva}"
    if location.symbol is None:
        return raw
    inside = f"+{location.offset:#x}" if location.offset else ""
    return f"{function_of(location)}{inside} ({raw})"

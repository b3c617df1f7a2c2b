"""Giving the destructors of a process their names, once the process has ended."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ia2exit.running.records import Process, Ran
from ia2exit.running.symbols import names


def named(process: Process) -> Process:
    """The same process with the symbol and name of every destructor that its objects tell, and of what went wrong."""
    build_ids = {event.path: event.build_id for event in process.objects}
    wanted: dict[str, set[int]] = {}
    for row in process.destructors:
        if row.object is not None and row.rva is not None:
            wanted.setdefault(row.object, set()).add(row.rva)
    symbols = {path: names(path, rvas, build_ids.get(path)) for path, rvas in wanted.items()}
    rows = [_with_name(row, symbols) for row in process.destructors]
    process = msgspec.structs.replace(process, destructors=rows)
    if not process.violations and not process.faults:
        return process
    from ia2exit.running.locations import located  # numpy comes with it

    return located(process, build_ids)


def _with_name(row: Ran, symbols: Mapping[str, Mapping[int, str]]) -> Ran:
    symbol = symbols[row.object].get(row.rva) if row.object is not None and row.rva is not None else None
    if symbol is None:
        return row
    return msgspec.structs.replace(row, symbol=symbol, name=demangled(symbol))


def demangled(symbol: str) -> str:
    """A C++ or Rust symbol as people write it; any other as it is."""
    if not symbol.startswith(("_Z", "_R")):
        return symbol  # without the demangler, which takes 5 ms to load
    from ia2exit.elf.demangle import demangle

    return demangle(symbol) or symbol

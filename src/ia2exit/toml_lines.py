"""On which line of a TOML file a key stands: :mod:`tomllib` does not say.

For messages only, so a best effort: keys inside inline tables and arrays take the line of the key around them.
"""

from __future__ import annotations

import tomllib
from typing import Any

#: Path of a key from the root, for example ``("compartments", "ssl", "id")``.
Key = tuple[str, ...]


def _path(text: str) -> Key:
    """The key path that a header or a dotted key spells, through tomllib, or () when it is none."""
    try:
        table: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        (name, table) = next(iter(table.items()))
        path.append(name)
    return tuple(path)


def _complete(text: str) -> bool:
    """Whether ``text`` ends outside of any string, array or inline table: it parses by itself."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _key_of(statement: str) -> str:
    """The part of ``key = value`` before the equals sign; a quoted key may hold one itself."""
    quote = ""
    for at, letter in enumerate(statement):
        if letter == "=" and not quote:
            return statement[:at]
        if letter in "\"'" and quote in ("", letter):
            quote = "" if quote else letter
    return ""


def key_lines(text: str) -> dict[Key, int]:
    """Line, from 1, of every key and table header in a valid TOML document."""
    lines: dict[Key, int] = {}
    table: Key = ()
    pending = ""
    for number, line in enumerate(text.split("\n"), 1):
        pending = f"{pending}\n{line}" if pending else line.strip()
        if not _complete(pending):
            continue
        # the statement ends here; its key stands where it began
        start = number - pending.count("\n")
        if pending.startswith("["):
            table = _path(pending)
            path = table
        else:
            key = _key_of(pending)
            path = (*table, *_path(f"{key} = 0")) if key.strip() else ()
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], start)
        pending = ""
    return lines

"""Names as a person reads them: C++ and Rust, by LLVM's demangler (pydemumble), in this process."""

from __future__ import annotations

from functools import lru_cache

import pydemumble  # type: ignore[import-untyped]

#: A longer symbol stays as it is: demangled, it would be unreadable.
_MAX_SYMBOL = 4096


@lru_cache(maxsize=65536)
def demangle(symbol: str) -> str | None:
    """The demangled name without symbol version, or None for a symbol that is not mangled."""
    base = symbol.partition("@")[0]
    if not base.startswith(("_Z", "_R", "__Z")) or len(base) > _MAX_SYMBOL:
        return None
    name: str = pydemumble.demangle(base)
    return name or None

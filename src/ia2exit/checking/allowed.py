"""Crossings that the user accepts: ``SYMBOL@OBJECT``, both globs."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from ia2exit.checking.parts import Part
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.patterns import matches


class Allowed:
    """What was allowed, and how often each pattern was used.

    Args:
        patterns: each ``SYMBOL@OBJECT``: a symbol without its version, and the object that defines it, as a policy
            names objects.

    Raises:
        Ia2exitError: a pattern has another form.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._used: dict[tuple[str, str], int] = {}
        for pattern in patterns:
            symbol, at, target = pattern.rpartition("@")
            if target == "main" and symbol.endswith("@"):  # SYMBOL@@main: the program, as a policy names it
                symbol, target = symbol.removesuffix("@"), "@main"
            if not (symbol and at and target):
                raise Ia2exitError(f'--allow "{pattern}": expected SYMBOL@OBJECT; write counter@libfoo.so.*')
            self._used[symbol, target] = 0

    def __bool__(self) -> bool:
        """Whether anything may be."""
        return bool(self._used)

    def accepts(self, symbol: str, holders: Iterable[Part]) -> bool:
        """Whether a reference to ``symbol``, which one of ``holders`` defines, was allowed."""
        found = False
        for name, target in self._used:
            if fnmatch.fnmatchcase(symbol, name) and any(matches(target, part.scanned) for part in holders):
                self._used[name, target] += 1
                found = True
        return found

    @property
    def count(self) -> int:
        """How many crossings were."""
        return sum(self._used.values())

    def check(self) -> None:
        """Refuse a pattern that allowed nothing: it hides nothing now and something else later."""
        for (symbol, target), count in self._used.items():
            if count == 0:
                raise Ia2exitError(
                    f'--allow "{symbol}@{target}": no crossing to allow: expected one of a symbol {symbol} that'
                    f" {target} defines; correct it or leave it out"
                )

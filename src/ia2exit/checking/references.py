"""What ld.so binds by name, each reference with the definition that it finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from ia2exit.checking.parts import Part
from ia2exit.elf import constants as elf
from ia2exit.elf.image import ElfImage
from ia2exit.elf.writable import is_closed

What = Literal["function", "data", "tls"]
_FUNCTIONS = (elf.STT_FUNC, elf.STT_GNU_IFUNC)


class Variable(NamedTuple):
    """A definition: the object, and the position in its dynamic symbols."""

    part: Part
    symbol: int

    def _field(self, name: str) -> int:
        return int(self.part.loaded.image.dynsym.entries[name][self.symbol])

    @property
    def what(self) -> What:
        """Function or data; a symbol without type is what it lies in."""
        kind = self._field("info") & 15
        if kind == elf.STT_TLS:
            return "tls"
        in_code = kind == elf.STT_NOTYPE and self.part.loaded.image.is_code(self._field("value"))
        return "function" if kind in _FUNCTIONS or in_code else "data"

    @property
    def weak(self) -> bool:
        """Whether one of many copies was meant to win: WEAK or UNIQUE (vague linkage)."""
        return self._field("info") >> 4 in (elf.STB_WEAK, elf.STB_GNU_UNIQUE)

    @property
    def closed(self) -> bool:
        """Whether the runtime closes its memory to other compartments; TLS it does not, but a host runtime may."""
        return self.what == "tls" or is_closed(self.part.loaded.image, self._field("value"), self._field("size"))


class Reference(NamedTuple):
    """A symbol that relocations of an object name, and what it binds to.

    Attributes:
        user: the object.
        symbol: its name, without version.
        own: the object's own definition of it, or None.
        bound: what ld.so takes.
        copied: whether it is R_X86_64_COPY: the user gets a copy of its own, in the place of what is ``bound``.
        origin: what was copied, where ``bound`` is such a copy.
    """

    user: Part
    symbol: str
    own: Variable | None
    bound: Variable
    copied: bool
    origin: Variable | None


def references(parts: Sequence[Part]) -> Iterator[Reference]:
    """Every symbol that relocations of these objects name and that binds to something, object by object.

    Raises Ia2exitError where the tables of an object are corrupt.
    """
    by_loaded = {id(part.loaded): part for part in parts}
    copies: dict[tuple[int, int], Variable] = {}  # by address: `environ` is copied, `__environ` an alias of the copy
    for part in parts:  # the program, which alone has copies, is the first
        image = part.loaded.image
        for index, copied in _symbols(image):
            found = part.closure.bind(part.loaded, index, copy=copied)
            if found is None:
                continue
            bound = Variable(by_loaded[id(found.loaded)], found.symbol)
            if copied:
                copies[id(part.loaded), int(image.dynsym.entries["value"][index])] = bound
            own = Variable(part, index) if int(image.dynsym.entries["section"][index]) and not copied else None
            origin = None if copied or found.rva is None else copies.get((id(found.loaded), found.rva))
            yield Reference(part, image.dynsym.name(index), own, bound, copied, origin)


def _symbols(image: ElfImage) -> list[tuple[int, bool]]:
    """(position, whether it is copied) of each dynamic symbol that a relocation names; copies come first."""
    rows = image.relocations
    rows = rows[rows["symbol"] != 0]
    copied = set(np.unique(rows["symbol"][rows["type"] == elf.R_X86_64_COPY]).tolist())
    others = np.unique(rows["symbol"][rows["type"] != elf.R_X86_64_COPY]).tolist()
    return [*((index, True) for index in sorted(copied)), *((index, False) for index in others)]

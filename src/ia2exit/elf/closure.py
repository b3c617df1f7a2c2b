"""Binding imported symbols across a program's objects, in ld.so's global look-up order.

Source: glibc ``elf/dl-lookup.c`` (do_lookup_x, check_match); versions: Linux Standard Base, "Symbol Versioning".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from ia2exit.elf import constants as elf
from ia2exit.elf.image import ElfImage
from ia2exit.elf.search import Loaded

_TYPES = {elf.STT_NOTYPE, elf.STT_OBJECT, elf.STT_FUNC, 5, elf.STT_TLS, elf.STT_GNU_IFUNC}
_HIDDEN_VERSION = 0x8000
_SHN_ABS = 0xFFF1
_DT_SYMBOLIC, _DF_SYMBOLIC = 16, 2
_STV_DEFAULT = 0


class Definition(NamedTuple):
    """Where a symbol is bound to. ``rva`` is None for an IFUNC: only running its resolver would tell."""

    loaded: Loaded
    rva: int | None
    #: Its position in the dynamic symbols of that object.
    symbol: int


class Closure:
    """A program's objects in look-up order.

    Args:
        objects: as :func:`ia2exit.elf.search.needed_objects` returns them.
        many: most of their symbols will be looked up: index all first.
    """

    def __init__(self, objects: Sequence[Loaded], *, many: bool = False) -> None:
        self.objects = list(objects)
        self._exports = [Exports(loaded.image, many=many) for loaded in self.objects]
        self._bound: dict[tuple[str, str | None], Definition | None] = {}
        self._defined: dict[tuple[str, str | None], Definition | None] = {}

    def resolve(self, user: Loaded, symbol: str) -> Definition | None:
        """What a reference of ``user`` to an imported ``symbol`` (taking its address) binds to, or None.

        Raises Ia2exitError where the tables of an object on the way are corrupt.
        """
        at = self.objects.index(user)
        exports = self._exports[at]
        version = exports.required_version(symbol)
        if exports.symbolic:
            found = exports.find(symbol, version)
            if found is not None:
                return Definition(user, *found)
        key = (symbol, version)
        if key not in self._bound:
            self._bound[key] = self._search(symbol, version)
        return self._bound[key]

    def bind(self, user: Loaded, index: int, *, copy: bool = False) -> Definition | None:
        """The definition that a relocation of ``user`` against its dynamic symbol ``index`` binds to, or None.

        The PLT entry to which a program without PIE fixes the address of a function is no definition. ``copy``: the
        relocation is R_X86_64_COPY, which looks for what is copied behind the program itself. Raises Ia2exitError as
        :meth:`resolve` does.
        """
        exports = self._exports[self.objects.index(user)]
        symbol = user.image.dynsym.name(index)
        own = exports.own(index)
        if own is not None:
            return Definition(user, *own)
        version = exports.version_of(index)
        if copy:
            return self._search(symbol, version, defined=True, behind=user)
        found = exports.find(symbol, version, defined=True) if exports.symbolic else None
        if found is not None:
            return Definition(user, *found)
        key = (symbol, version)
        if key not in self._defined:
            self._defined[key] = self._search(symbol, version, defined=True)
        return self._defined[key]

    def _search(
        self, symbol: str, version: str | None, *, defined: bool = False, behind: Loaded | None = None
    ) -> Definition | None:
        for loaded, exports in zip(self.objects, self._exports, strict=True):
            found = None if loaded is behind else exports.find(symbol, version, defined=defined)
            if found is not None:
                return Definition(loaded, *found)
        return None


class _Found(NamedTuple):
    rva: int | None
    symbol: int


class Exports:
    """Look-ups in one object's dynamic symbols; ``many``: by an index of them all."""

    def __init__(self, image: ElfImage, *, many: bool = False) -> None:
        self.image = image
        self._many = many

    @property
    def symbolic(self) -> bool:
        """Whether the object's own definitions win for its own references (-Bsymbolic)."""
        dynamic = self.image.dynamic
        return _DT_SYMBOLIC in dynamic or bool(dynamic.get(elf.DT_FLAGS, 0) & _DF_SYMBOLIC)

    def own(self, index: int) -> _Found | None:
        """The object's own definition, where references to that symbol never leave it: local, or not for others."""
        symbol = self.image.dynsym.entries[index]
        if not int(symbol["section"]):
            return None
        binds_here = int(symbol["info"]) >> 4 == elf.STB_LOCAL or int(symbol["other"]) & 3 != _STV_DEFAULT
        return self._found(index) if binds_here else None

    def find(self, name: str, version: str | None, *, defined: bool = False) -> _Found | None:
        """The definition of a name in a version (None: none required), or None. Rules: check_match in glibc.

        ``defined``: the address of a program's PLT entry does not count.
        """
        default: list[int] = []
        for index in self._candidates(name):
            if not self._usable(index, defined):
                continue
            number = self._version_number(index)
            if number is None or (version is not None and self._matches(number, version)):
                return self._found(index)
            if version is None:
                if number & 0x7FFF < 3:
                    return self._found(index)
                if not number & _HIDDEN_VERSION:
                    default.append(index)
        return self._found(default[0]) if len(default) == 1 else None

    def _candidates(self, name: str) -> list[int]:
        table = self.image.dynsym
        return (table.by_name if self._many else table.named([name])).get(name, [])

    def _usable(self, index: int, defined: bool) -> bool:
        symbol = self.image.dynsym.entries[index]
        binding, kind = int(symbol["info"]) >> 4, int(symbol["info"]) & 15
        if kind not in _TYPES or int(symbol["other"]) & 3 in (1, 2):
            return False
        if binding not in (elf.STB_GLOBAL, elf.STB_WEAK, elf.STB_GNU_UNIQUE):
            return False
        section = int(symbol["section"])
        if kind == elf.STT_TLS:
            return section != 0  # the first variable of an object's TLS has offset 0
        # An undefined symbol with a value is a function whose address a non-PIE program fixed to its own PLT entry.
        return (bool(symbol["value"]) or section == _SHN_ABS) and not (defined and section == 0)

    def _found(self, index: int) -> _Found:
        symbol = self.image.dynsym.entries[index]
        ifunc = int(symbol["info"]) & 15 == elf.STT_GNU_IFUNC
        return _Found(None if ifunc else int(symbol["value"]), index)

    # Versions ------------------------------------------------------------------------------------------

    def _version_number(self, index: int) -> int | None:
        """DT_VERSYM entry of a symbol, or None in an object without versions."""
        table = self.image.dynamic.get(elf.DT_VERSYM)
        if table is None:
            return None
        return int.from_bytes(self.image.read(table + 2 * index, 2), "little")

    def _matches(self, number: int, version: str) -> bool:
        """Whether a definition of this version number satisfies a reference to ``version``."""
        name = self._defined.get(number & 0x7FFF)
        if name == version:
            return True
        # The base version (global, no name) of an object satisfies a reference unless it is hidden.
        return name is None and not number & _HIDDEN_VERSION

    def required_version(self, symbol: str) -> str | None:
        """The version that this object's reference to ``symbol`` names, or None."""
        return next((self.version_of(index) for index in self._candidates(symbol)), None)

    def version_of(self, index: int) -> str | None:
        """The version that one dynamic symbol requires, or is defined in; None: none."""
        number = self._version_number(index)
        if number is None:
            return None
        return self._required.get(number & 0x7FFF) or self._defined.get(number & 0x7FFF)

    @cached_property
    def _defined(self) -> dict[int, str]:
        """Version number -> name, of DT_VERDEF; the base definition (VER_FLG_BASE) names the file and is left out."""
        versions: dict[int, str] = {}
        at = self.image.dynamic.get(elf.DT_VERDEF, 0)
        for _ in range(min(self.image.dynamic.get(elf.DT_VERDEFNUM, 0), 0x8000)):
            _, flags, number, _, _, first, following = struct.unpack("<HHHHIII", self.image.read(at, 20))
            if not flags & 1:
                (name,) = struct.unpack("<I", self.image.read(at + first, 4))
                versions[number & 0x7FFF] = self.image.dynamic_string(name)
            if following == 0:
                break
            at += following
        return versions

    @cached_property
    def _required(self) -> dict[int, str]:
        """Version number -> name, of DT_VERNEED."""
        versions: dict[int, str] = {}
        at = self.image.dynamic.get(elf.DT_VERNEED, 0)
        for _ in range(min(self.image.dynamic.get(elf.DT_VERNEEDNUM, 0), 0x8000)):
            _, count, _, first, following = struct.unpack("<HHIII", self.image.read(at, 16))
            inner = at + first
            for _ in range(count):
                _, _, number, name, further = struct.unpack("<IHHII", self.image.read(inner, 16))
                versions[number & 0x7FFF] = self.image.dynamic_string(name)
                if further == 0:
                    break
                inner += further
            if following == 0:
                break
            at += following
        return versions

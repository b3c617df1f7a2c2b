"""The objects that a program needs, found as ld.so would find them, without running anything.

Source: glibc ``elf/dl-load.c`` (_dl_map_object, open_path, decompose_rpath, _dl_dst_substitute) and ``elf/dl-deps.c``.
Not followed: LD_PRELOAD, /etc/ld.so.preload, DT_AUXILIARY and DT_FILTER, and the ``haswell``-like subdirectories that
glibc 2.37 dropped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ia2exit.elf import ldcache
from ia2exit.elf.constants import DF_1_NODEFLIB
from ia2exit.elf.file import NotLoadableError
from ia2exit.elf.image import ElfImage
from ia2exit.elf.loader import DEFAULT_INTERPRETER, Loader, hwcaps, loader
from ia2exit.errors import Ia2exitError

_TOKEN = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
LD_SO_CACHE = Path("/etc/ld.so.cache")


@dataclass(eq=False)
class Loaded:
    """An object as ld.so would have it in its list.

    ``path`` is the name under which it was found, ``names`` are the DT_NEEDED strings and sonames that match it
    (``l_libname``), ``by`` is the object that first needed it (``l_loader``), None for the first.
    """

    image: ElfImage
    path: str
    by: Loaded | None
    names: set[str] = field(default_factory=set)
    #: DT_NEEDED in order, resolved.
    needs: list[Loaded] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """What ``$ORIGIN`` stands for: the kernel resolves links for the program only."""
        path = os.path.realpath(self.path) if self.by is None else str(Path(self.path).absolute())
        return os.path.dirname(path)  # noqa: PTH120 (`..` and links stay as ld.so leaves them)


def needed_objects(
    path: str,
    *,
    environment: Mapping[str, str] | None = None,
    cache: Path = LD_SO_CACHE,
    given: Sequence[str] = (),
) -> list[Loaded]:
    """A program or library and all objects it needs, in ld.so's breadth-first order (the global look-up order).

    Args:
        path: the program or shared object.
        environment: where LD_LIBRARY_PATH is taken from; ``os.environ`` unless given.
        cache: ld.so's cache.
        given: other files that the user named: one of them stands in for a dependency that the search does not find
            (a program that loads plug-ins by ``dlopen`` has loaded what they need before).

    Raises:
        Ia2exitError: a file is bad, or a dependency is missing; the line names who needs it.
    """
    return _Search(path, os.environ if environment is None else environment, cache, given).run()


class _Search:
    def __init__(self, path: str, environment: Mapping[str, str], cache: Path, given: Sequence[str]) -> None:
        image = ElfImage(path)
        self.main = Loaded(image, path, None)
        self.loader = loader(image.interpreter or DEFAULT_INTERPRETER)
        library_path = environment.get("LD_LIBRARY_PATH", "")
        self.library_path = re.split("[:;]", library_path) if library_path else []
        self.cache = cache
        self.given = given
        self.objects: list[Loaded] = []
        self.by_file: dict[tuple[int, int], Loaded] = {}

    def run(self) -> list[Loaded]:
        self._add(self.main)
        for loaded in self.objects:  # grows while we go: breadth first
            for name in loaded.image.needed:
                loaded.needs.append(self._known(name) or self._load(name, loaded))
        interpreter = self.main.image.interpreter
        if interpreter and not self._known(interpreter):
            self._load(interpreter, self.main)
        return self.objects

    def _add(self, loaded: Loaded) -> None:
        self.objects.append(loaded)
        self.by_file[loaded.image.stat.st_dev, loaded.image.stat.st_ino] = loaded

    def _known(self, name: str) -> Loaded | None:
        """_dl_name_match_p, then the soname: an object that is there already satisfies the name."""
        for loaded in self.objects:
            if name in loaded.names or name in (loaded.path, loaded.image.soname):
                return loaded
        return None

    def _load(self, name: str, by: Loaded) -> Loaded:
        found = self._open(name, by) or self._stand_in(name)
        if found is None:
            where = "" if by is self.main else f", which {self.main.path} needs in turn"
            raise Ia2exitError(
                f"{by.path}: needs {name}{where}, but ld.so's search finds no such file; install the package that "
                "holds it, set LD_LIBRARY_PATH, name the file as well, or scan without dependencies (--no-dependencies)"
            )
        image, path = found
        same = self.by_file.get((image.stat.st_dev, image.stat.st_ino))
        if same is None:
            same = Loaded(image, path, by)
            self._add(same)
        same.names.add(name)
        return same

    def _open(self, name: str, by: Loaded) -> tuple[ElfImage, str] | None:
        interpreter = self.main.image.interpreter
        if interpreter and name == Path(interpreter).name:
            return _try(interpreter)  # the kernel has loaded it already: it satisfies its soname
        if "/" in name:
            return _try(self._expand(name, by))
        for folder in self._folders(by):
            for candidate in _with_hwcaps(folder):
                found = _try(f"{candidate}/{name}")
                if found:
                    return found
        no_default = bool(by.image.flags_1 & DF_1_NODEFLIB)
        cached = _cache(self.cache).get(name)
        if cached and not (no_default and os.path.dirname(cached) in self.loader.folders):  # noqa: PTH120
            found = _try(cached)
            if found:
                return found
        for folder in () if no_default else self.loader.folders:
            for candidate in _with_hwcaps(folder):
                found = _try(f"{candidate}/{name}")
                if found:
                    return found
        return None

    def _stand_in(self, name: str) -> tuple[ElfImage, str] | None:
        """A file that the user named, by its soname or file name; a bad one is told when its turn comes."""
        for path in self.given:
            try:
                image = ElfImage(path)
                if name in (image.soname, os.path.basename(path)):  # noqa: PTH119 (Path drops a trailing slash)
                    return image, path
            except Ia2exitError:
                continue
        return None

    def _folders(self, by: Loaded) -> Iterator[str]:
        """RPATH of the object and of those that led to it, LD_LIBRARY_PATH, then the object's own RUNPATH."""
        if by.image.runpath is None:
            chain: Loaded | None = by
            while chain is not None:
                yield from self._rpath(chain)
                chain = chain.by
        for folder in self.library_path:
            yield self._expand(folder or ".", self.main)
        if by.image.runpath is not None:
            yield from self._split(by.image.runpath, by)

    def _rpath(self, loaded: Loaded) -> Iterator[str]:
        if loaded.image.rpath is not None and loaded.image.runpath is None:
            yield from self._split(loaded.image.rpath, loaded)

    def _split(self, value: str, loaded: Loaded) -> Iterator[str]:
        for folder in value.split(":"):
            yield self._expand(folder or ".", loaded)

    def _expand(self, text: str, loaded: Loaded) -> str:
        return expand(text, loaded.origin, self.loader)


def expand(text: str, origin: str, ld_so: Loader) -> str:
    """Replace ``$ORIGIN``, ``$LIB`` and ``$PLATFORM``, braced or not; an unknown token stays (ld.so does the same)."""
    values = {"ORIGIN": origin, "LIB": ld_so.lib, "PLATFORM": "x86_64"}
    return _TOKEN.sub(lambda match: values.get(match[1] or match[2], match[0]), text)


def _with_hwcaps(folder: str) -> tuple[str, ...]:
    """The subdirectories of a folder that ld.so tries first, then the folder."""
    folder = folder.rstrip("/")
    if not _has_hwcaps(folder):
        return (folder,)
    return (*(f"{folder}/glibc-hwcaps/{level}" for level in hwcaps()), folder)


@lru_cache(maxsize=4096)
def _has_hwcaps(folder: str) -> bool:
    return Path(f"{folder}/glibc-hwcaps").is_dir()


@lru_cache(maxsize=4)
def _cache(path: Path) -> dict[str, str]:
    return ldcache.read(path, hwcaps())


def _try(path: str) -> tuple[ElfImage, str] | None:
    """Open a candidate. None where there is no such file, or one for another machine (ld.so goes on searching)."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (many candidates do not exist: a Path for each costs more)
            head = file.read(20)
    except OSError:
        return None
    if head[:4] == b"\x7fELF" and len(head) == 20 and (head[4:6] != b"\x02\x01" or head[18:20] != b"\x3e\x00"):
        return None
    try:
        return ElfImage(path), path
    except NotLoadableError as error:
        raise Ia2exitError(f"{error} (a dependency; ld.so would stop here)") from None

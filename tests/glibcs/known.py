"""The glibcs that the suite is run with besides the host's own, and where they lie."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ia2exit import packages
from ia2exit.errors import Ia2exitError

#: Debian's releases after the one that we work on: their packages of glibc, unchanged. Each name is a lane's.
SUITES = ("trixie", "forky")
#: The host's own version, built from Debian's sources with our hook (:mod:`.patching`).
PATCHED = "patched"
NAMES = (*SUITES, PATCHED)
#: How one is brought.
SETUP = "python -m tests.glibcs.lane setup"


@dataclass(frozen=True)
class Glibc:
    """A glibc in the cache: ld.so, libc.so.6 and the other libraries of it that a program may load."""

    name: str
    folder: Path

    @property
    def libraries(self) -> Path:
        """The folder of its libraries; its ``version`` lies beside them."""
        return self.folder / "lib"

    @property
    def loader(self) -> Path:
        """Its ld.so."""
        return self.libraries / "ld-linux-x86-64.so.2"

    @property
    def package(self) -> str:
        """The version of the package that it came from: 2.41-12."""
        return (self.folder / "version").read_text().strip()

    @property
    def version(self) -> str:
        """What ``gnu_get_libc_version`` says: 2.41."""
        return self.package.partition("-")[0]


def lane_name(name: str) -> str:
    """The name of its lane in the report."""
    return f"glibc-{name}"


def entering(glibc: Glibc) -> list[str | Path]:
    """What comes before a command in which every program is to have that glibc."""
    return [sys.executable, Path(__file__).with_name("entering.py"), glibc.libraries]


def cache_folder() -> Path:
    """Where they are kept."""
    return packages.cache_folder() / "glibcs"


def kept(name: str, key: str) -> Path:
    """The folder of one of them; ``key`` tells it from others of that name."""
    return cache_folder() / f"{name}-{key}"


def cached(name: str) -> Glibc:
    """The newest of that name in the cache.

    Raises:
        Ia2exitError: there is none.
    """
    found = [path.parent for path in cache_folder().glob(f"{name}-*/version")]
    if not found:
        raise Ia2exitError(f"{cache_folder()}: no glibc {name} yet: expected one that `{SETUP}` has brought; run that")
    return Glibc(name, max(found, key=lambda folder: (folder / "version").stat().st_mtime))

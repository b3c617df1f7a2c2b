"""What a dynamic linker has built in: its default folders, ``$LIB``, and the CPU levels that it looks for.

Source: glibc ``elf/dl-load.c`` (system_dirs), ``elf/dl-hwcaps.c``, ``sysdeps/x86_64/dl-hwcaps_subdirs.c``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

DEFAULT_INTERPRETER = "/lib64/ld-linux-x86-64.so.2"
_FALLBACK_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
#: ``system_dirs`` in ld.so: two or more absolute folders, each ended by a slash and a NUL, in one run.
_SYSTEM_DIRS = re.compile(rb"(?:/[\w./+-]{1,200}/\0){2,}")

#: CPU flags of /proc/cpuinfo that each level adds (x86-64 psABI, "Micro-Architecture Levels").
_LEVELS = (
    ("x86-64-v2", {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    ("x86-64-v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)


@dataclass(frozen=True)
class Loader:
    """A glibc ld.so: folders that it searches last, and the expansion of ``$LIB``."""

    path: str
    folders: tuple[str, ...]
    lib: str


@lru_cache(maxsize=8)
def loader(path: str) -> Loader:
    """The facts of the ld.so at ``path``, read from the file; Fedora-like folders where they cannot be read."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        return Loader(path, _FALLBACK_FOLDERS, "lib64")
    run = max(_SYSTEM_DIRS.findall(data), key=len, default=b"")
    folders = tuple(os.fsdecode(name).rstrip("/") for name in run.split(b"\0") if name)
    lib = str(Path(path).resolve().parent).removeprefix("/usr").removeprefix("/")
    return Loader(path, folders or _FALLBACK_FOLDERS, lib)


@lru_cache(maxsize=1)
def hwcaps() -> tuple[str, ...]:
    """Names of the glibc-hwcaps subdirectories that this CPU can use, best first."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ()
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    names: list[str] = []
    for name, needed in _LEVELS:
        if not needed <= flags:
            break
        names.insert(0, name)
    return tuple(names)

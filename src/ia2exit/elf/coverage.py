"""Whether the runtime can cover an object, and if not why.

What can be covered: PT_INTERP is a glibc ld.so, 64-bit x86-64, not AT_SECURE (docs/exit-handling.md, "Limits").
"""

from __future__ import annotations

import os
import re
import stat
import struct
from functools import lru_cache

from ia2exit.elf.image import ElfImage

_SECURE_ATTRIBUTE = "security.capability"
_MUSL = re.compile(r"(?:ld-musl-[^/]*|libc\.musl-[^/]*)\.so\.1$")
#: vfs_cap_data: magic_etc, then permitted and inheritable sets (linux/capability.h).
_CAPABILITY_WORDS = struct.Struct("<II")


def why_not(image: ElfImage) -> str | None:
    """One clause that says why the runtime cannot cover the object, or None where it can."""
    return not_glibc(image) or (_secure(image) if image.is_program else None)


def not_glibc(image: ElfImage) -> str | None:
    """One clause that says why no glibc ld.so loads the object, or None where one does."""
    if image.type == "static":
        return "static program: no ld.so, so no library can be preloaded"
    if image.type == "static-pie":
        return "static PIE: it relocates itself, so no library can be preloaded"
    if any(_MUSL.search(name) for name in image.needed):
        return "linked against musl: only glibc programs can be covered"
    return loader_problem(image.interpreter or "") if image.is_program else None


@lru_cache(maxsize=64)
def loader_problem(path: str) -> str | None:
    """Why a program with this PT_INTERP cannot be covered, or None for a glibc ld.so."""
    if _MUSL.search(path):
        return f"its dynamic linker {path} is musl's: only glibc programs can be covered"
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        return f"its dynamic linker {path} cannot be read ({error.strerror})"
    if b"GLIBC_PRIVATE\0" not in data:
        return f"its dynamic linker {path} is not glibc's"
    return None


def _secure(image: ElfImage) -> str | None:
    """The kernel sets AT_SECURE for these, and ld.so and the runtime then ignore LD_PRELOAD and IA2_*."""
    mode = image.stat.st_mode
    if mode & stat.S_ISUID:
        return "setuid: the kernel sets AT_SECURE, and nothing is preloaded"
    if mode & stat.S_ISGID and mode & stat.S_IXGRP:
        return "setgid: the kernel sets AT_SECURE, and nothing is preloaded"
    try:
        value = os.getxattr(image.path, _SECURE_ATTRIBUTE)
    except OSError:
        return None
    if len(value) >= _CAPABILITY_WORDS.size:
        return "file capabilities: the kernel sets AT_SECURE, and nothing is preloaded"
    return None

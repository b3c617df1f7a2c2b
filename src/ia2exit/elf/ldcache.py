"""/etc/ld.so.cache: which file ld.so takes for a soname.

Source: glibc ``sysdeps/generic/dl-cache.h`` (cache_file_new, cache_extension), ``elf/dl-cache.c`` (search_cache).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

_MAGIC_NEW = b"glibc-ld.so.cache1.1"
_MAGIC_OLD = b"ld.so-1.7.0\0"
_EXTENSION_MAGIC = 0xEAA42174
_HWCAPS_SECTION = 1
#: FLAG_ELF_LIBC6 | FLAG_X8664_LIB64.
_X86_64 = 0x0303
#: Upper half of ``hwcap`` where the lower half is an index into the glibc-hwcaps names.
_NAMED = 1 << 30


def read(path: Path, hwcaps: Sequence[str]) -> dict[str, str]:
    """Soname -> file for 64-bit x86-64.

    Args:
        path: the cache. One that is missing or malformed counts as empty: ld.so ignores it too.
        hwcaps: names of glibc-hwcaps subdirectories that this CPU can use, best first.
    """
    try:
        data = path.read_bytes()
        return _parse(data, hwcaps)
    except (OSError, struct.error, ValueError):
        return {}


def _parse(data: bytes, hwcaps: Sequence[str]) -> dict[str, str]:
    if data.startswith(_MAGIC_OLD):
        (count,) = struct.unpack_from("<I", data, 12)
        data = data[(16 + 12 * count + 7) & -8 :]
    if not data.startswith(_MAGIC_NEW):
        return {}
    count, _size, _flags, extension = struct.unpack_from("<IIB3xI", data, 20)
    names = _hwcap_names(data, extension) if extension else []
    best: dict[str, tuple[int, str]] = {}
    for flags, key, value, _version, hwcap in struct.iter_unpack("<iIIIQ", data[48 : 48 + 24 * count]):
        rank = _rank(hwcap, names, hwcaps)
        if flags != _X86_64 or rank is None:
            continue
        soname = _string(data, key)
        if soname not in best or rank < best[soname][0]:
            best[soname] = (rank, _string(data, value))
    return {soname: file for soname, (_, file) in best.items()}


def _rank(hwcap: int, names: list[str], usable: Sequence[str]) -> int | None:
    """Position in the order of preference (0 is best), or None for an entry that this CPU cannot use.

    Entries for the bit masks that glibc 2.37 dropped (``tls``, ``haswell``) are left out.
    """
    if hwcap == 0:
        return len(usable)
    index = hwcap & 0xFFFFFFFF
    if hwcap >> 32 == _NAMED and index < len(names) and names[index] in usable:
        return usable.index(names[index])
    return None


def _hwcap_names(data: bytes, extension: int) -> list[str]:
    magic, count = struct.unpack_from("<II", data, extension)
    if magic != _EXTENSION_MAGIC:
        return []
    for tag, _flags, offset, size in struct.iter_unpack("<IIII", data[extension + 8 : extension + 8 + 16 * count]):
        if tag == _HWCAPS_SECTION:
            return [_string(data, at) for (at,) in struct.iter_unpack("<I", data[offset : offset + size // 4 * 4])]
    return []


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode("utf-8", "surrogateescape")

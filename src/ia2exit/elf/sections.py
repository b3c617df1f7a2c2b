"""Section headers: only for what a debugger needs (gABI chapter 4); ld.so never reads them."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from ia2exit.elf.constants import SHF_COMPRESSED, SHT_NOBITS
from ia2exit.elf.image import Section

if TYPE_CHECKING:
    from ia2exit.elf.image import ElfImage

#: No section is read that would be larger than this once decompressed.
_MAX_SECTION = 1 << 32


def read(image: ElfImage) -> list[Section]:
    """All section headers; an empty list where the file has none. Raises Ia2exitError for a corrupt table."""
    start, size, count, names = image._shoff, image._shentsize, image._shnum, image._shstrndx
    if start == 0 or size == 0:
        return []
    if size != 64 or start + 64 > image.size:
        raise image.error(f"section headers of {size} bytes at {start:#x}, expected 64 inside the file")
    first = struct.unpack_from("<IIQQQQIIQQ", image.data, start)
    count = count or first[5]  # gABI: more than 0xff00 sections
    names = first[6] if names == 0xFFFF else names
    if start + count * 64 > image.size:
        raise image.error(f"{count} section headers at {start:#x} end beyond the file", "it is truncated")
    rows = list(struct.iter_unpack("<IIQQQQIIQQ", image.data[start : start + count * 64]))
    if names == 0:
        table = (0, 0)
    elif names < count:
        table = (rows[names][4], rows[names][4] + rows[names][5])
    else:
        raise image.error(f"section names are in section {names}, of {count}")
    return [
        Section(_name(image, row[0], table), row[1], row[2], row[3], row[4], row[5], row[6], row[9]) for row in rows
    ]


def _name(image: ElfImage, index: int, table: tuple[int, int]) -> str:
    return image.string(table[0] + index, table[1]) if table[1] else ""


def contents(image: ElfImage, section: Section) -> bytes:
    """The bytes of a section. Raises Ia2exitError where it does not lie in the file or does not decompress."""
    if section.type == SHT_NOBITS:
        return b""
    end = section.offset + section.size
    if end > image.size:
        raise image.error(f"section {section.name} ends at byte {end:#x}, the file at {image.size:#x}")
    data = image.data[section.offset : end]
    if not section.flags & SHF_COMPRESSED:
        return data
    if len(data) < 24:
        raise image.error(f"section {section.name} is compressed but has no header")
    kind, _, size, _ = struct.unpack_from("<IIQQ", data)
    if kind != 1:
        raise image.error(f"section {section.name} is compressed with method {kind}, expected zlib (1)", "strip it")
    if size > _MAX_SECTION:
        raise image.error(f"section {section.name} would be {size:#x} bytes once decompressed")
    try:
        return zlib.decompressobj().decompress(data[24:], size)
    except zlib.error as error:
        raise image.error(f"section {section.name} does not decompress ({error})") from None

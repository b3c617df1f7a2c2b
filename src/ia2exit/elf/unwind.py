"""Function ranges from ``.eh_frame_hdr``: they are there in stripped files too.

The header's table is sorted and holds (start, address of FDE); an FDE holds start and length (Linux Standard Base,
"Exception Frames"). Linkers write both as 32-bit relative values; where an FDE does not agree with its table entry, the
next function's start is taken as its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ia2exit.elf import constants as elf

if TYPE_CHECKING:
    from ia2exit.elf.image import ElfImage

_SDATA4, _UDATA4 = 0x0B, 0x03
_DATAREL_SDATA4 = 0x3B
_MAX_FUNCTION = 1 << 31


def function_ranges(image: ElfImage) -> NDArray[np.uint64]:
    """[start, end) of every function with an FDE, shape (n, 2), sorted by start, starts unique.

    Empty where the file has no table (``--no-eh-frame-hdr``). Raises Ia2exitError for one that is too long.
    """
    header = image.segment(elf.PT_GNU_EH_FRAME)
    if header is None or header.filesz < 12:
        return np.zeros((0, 2), dtype=np.uint64)
    base = header.vaddr
    version, pointer, count_encoding, table_encoding = image.read(base, 4)
    if version != 1 or table_encoding != _DATAREL_SDATA4 or count_encoding not in (_UDATA4, _SDATA4):
        return np.zeros((0, 2), dtype=np.uint64)
    start = 4 + (8 if pointer & 0x0F in (0x04, 0x0C) else 4)
    count = int.from_bytes(image.read(base + start, 4), "little")
    if count > (header.filesz - start - 4) // 8:
        raise image.error(
            f"the unwind table at {base:#x} says {count} functions, expected at most {header.filesz // 8}"
        )
    table = image.array(base + start + 4, "<i4", count * 2).reshape(count, 2).astype(np.int64) + base
    table = table[np.argsort(table[:, 0], kind="stable")]
    keep = np.ones(count, dtype=bool)
    keep[1:] = table[1:, 0] != table[:-1, 0]
    keep &= table[:, 0] >= 0
    table = table[keep]
    return np.stack([table[:, 0], _ends(image, table)], axis=1).astype(np.uint64)


def _ends(image: ElfImage, table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ends of the functions: start + length where the FDE says so, else the next start."""
    starts, entries = table[:, 0], table[:, 1]
    ends = np.append(starts[1:], starts[-1:] + 1) if len(starts) else starts
    segment = image.load_of(int(entries[0])) if len(entries) else None
    if segment is None or segment.filesz < 16:
        return ends
    raw = np.frombuffer(image.data, dtype=np.uint8, count=segment.filesz, offset=segment.offset)
    inside = np.flatnonzero((entries >= segment.vaddr) & (entries <= segment.vaddr + segment.filesz - 16))
    offsets = entries[inside] - segment.vaddr
    fields = raw[offsets[:, None] + np.arange(8, 16)].view("<i4").astype(np.int64)
    begins, lengths = entries[inside] + 8 + fields[:, 0], fields[:, 1]
    good = (begins == starts[inside]) & (lengths > 0) & (lengths < _MAX_FUNCTION)
    ends[inside[good]] = starts[inside[good]] + lengths[good]
    return ends

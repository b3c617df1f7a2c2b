"""A kernel image unpacked: an emulated CPU needs many seconds for what the host does in two, once.

A bzImage holds an ELF file, compressed (Linux, Documentation/arch/x86/boot.rst: ``payload_offset``). QEMU starts that
itself where it has an entry for PVH (``XEN_ELFNOTE_PHYS32_ENTRY``); where not, or where it is compressed in a way that
Python cannot undo, the image is booted as it is.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from ia2exit.vm.kernel import Kernel, cache_folder

#: First bytes of a payload -> what undoes it. Behind xz there are four bytes more: the size of the whole.
_UNPACKED_BY: dict[bytes, Callable[[bytes], bytes]] = {
    b"\xfd7zXZ\0": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x1f\x8b": lambda data: zlib.decompressobj(wbits=31).decompress(data),
    b"BZh": lambda data: bz2.BZ2Decompressor().decompress(data),
    b"\x5d\0\0": lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data),
}
#: As pyelftools gives the type of a note that it does not know.
_XEN_ELFNOTE_PHYS32_ENTRY = "18"
#: Unpacked kernels that are kept, of some 60 MiB each.
_KEPT = 3


def bootable(kernel: Kernel) -> Path:
    """What QEMU is to boot for a kernel: the image unpacked, from the cache if it is there, or the image itself."""
    try:
        made = kernel.image.stat()
        unpacked = cache_folder() / "unpacked" / f"vmlinux-{kernel.release}-{made.st_size}-{made.st_mtime_ns}"
        if not unpacked.is_file() and not _unpack(kernel.image, unpacked):
            return kernel.image
        os.utime(unpacked)
        return unpacked
    except OSError:  # a cache that cannot be written: slower, not impossible
        return kernel.image


def _unpack(image: Path, unpacked: Path) -> bool:
    whole = payload(image.read_bytes())
    if whole is None:
        return False
    unpacked.parent.mkdir(parents=True, exist_ok=True)
    beside = unpacked.with_name(f"new-{os.getpid()}")
    try:
        beside.write_bytes(whole)
        if not _has_pvh_entry(beside):
            return False
        beside.rename(unpacked)
    finally:
        beside.unlink(missing_ok=True)
    for old in sorted(unpacked.parent.glob("vmlinux-*"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return True


def payload(image: bytes) -> bytes | None:
    """The ELF file in a bzImage; None: there is none that can be unpacked here."""
    setup_sectors = image[0x1F1] or 4
    start = (setup_sectors + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    packed = image[start : start + int.from_bytes(image[0x24C:0x250], "little")]
    for magic, unpack in _UNPACKED_BY.items():
        if packed.startswith(magic):
            try:
                whole = unpack(packed)
            except (lzma.LZMAError, zlib.error, OSError, EOFError):
                return None
            return whole if whole.startswith(b"\x7fELF") else None
    return None


def _has_pvh_entry(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            segments = [segment for segment in ELFFile(file).iter_segments() if isinstance(segment, NoteSegment)]
            notes = [note for segment in segments for note in segment.iter_notes()]
        except ELFError:
            return False
    return any(note["n_name"] == "Xen" and str(note["n_type"]) == _XEN_ELFNOTE_PHYS32_ENTRY for note in notes)

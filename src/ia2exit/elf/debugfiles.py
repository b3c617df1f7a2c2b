"""Where the symbols of a stripped object went: separate debug files, and the small one inside the object itself.

Source: GDB manual, "Debugging Information in Separate Files" (build ID, ``.gnu_debuglink``) and "MiniDebugInfo".
"""

from __future__ import annotations

import lzma
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError

DEBUG_ROOT = Path("/usr/lib/debug")
#: A mini debug file is a few megabytes; nothing larger is unpacked.
_MAX_MINI = 1 << 28


def debug_images(image: ElfImage) -> Iterator[ElfImage]:
    """Debug files of an object, best first. One that is damaged, or belongs to another build, is passed over."""
    root = DEBUG_ROOT
    for path in _by_build_id(image, root):
        yield from _open(image, path)
    mini = _mini(image)
    if mini is not None:
        yield mini
    yield from _by_link(image, root)


def _by_build_id(image: ElfImage, root: Path) -> Iterator[Path]:
    if image.build_id and len(image.build_id) > 2:
        yield root / ".build-id" / image.build_id[:2] / f"{image.build_id[2:]}.debug"


def _open(image: ElfImage, path: Path) -> Iterator[ElfImage]:
    try:
        found = ElfImage(path, debug=True)
        if image.build_id is None or found.build_id in (None, image.build_id):
            yield found
    except Ia2exitError:
        return


def _mini(image: ElfImage) -> ElfImage | None:
    """``.gnu_debugdata``: an ELF file with the symbols that ``.dynsym`` lacks, compressed with xz."""
    section = image.section(".gnu_debugdata")
    if section is None:
        return None
    try:
        unpacker = lzma.LZMADecompressor()
        data = unpacker.decompress(image.section_data(section), max_length=_MAX_MINI)
        return ElfImage(f"{image.path}[.gnu_debugdata]", debug=True, data=data) if unpacker.eof else None
    except (Ia2exitError, lzma.LZMAError, EOFError):
        return None


def _by_link(image: ElfImage, root: Path) -> Iterator[ElfImage]:
    """``.gnu_debuglink``: a file name and the CRC-32 of that file."""
    section = image.section(".gnu_debuglink")
    if section is None or section.size < 8:
        return
    data = image.section_data(section)
    name, checksum = os.fsdecode(data.partition(b"\0")[0]), int.from_bytes(data[-4:], "little")
    if not name or "/" in name:
        return
    folder = Path(os.path.realpath(image.path)).parent
    for path in (folder / name, folder / ".debug" / name, root / str(folder).lstrip("/") / name):
        if path.is_file() and _crc(path) == checksum:
            yield from _open(image, path)


def _crc(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            value = 0
            while block := file.read(1 << 20):
                value = zlib.crc32(block, value)
            return value
    except OSError:
        return None

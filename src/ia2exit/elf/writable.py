"""Which of an object's data can be closed to others (runtime/libia2/ranges.c, docs/isolation.md, "What")."""

from __future__ import annotations

from ia2exit.elf.image import ElfImage
from ia2exit.elf.notes import NT_MARKER, OWNER

SHARED_SECTION = ".ia2.shared"
_PAGE = 4096


def is_closed(image: ElfImage, rva: int, size: int) -> bool:
    """Whether a variable of ``size`` bytes at ``rva`` lies, at least in part, where others may not touch it.

    That is writable memory, whole pages of it, less RELRO as ld.so rounds it (glibc ``elf/dl-reloc.c``,
    _dl_protect_relro) and less the pages that lie wholly within ``.ia2.shared`` of an object with the header's marker.
    """
    segment = image.load_of(rva)
    if segment is None or not segment.writable:
        return False
    end = rva + max(size, 1)
    if image.relro is not None and _down(image.relro[0]) <= rva and end <= _down(image.relro[1]):
        return False
    shared = image.section(SHARED_SECTION) if _is_marked(image) else None
    return shared is None or not (_up(shared.address) <= rva and end <= _down(shared.address + shared.size))


def _is_marked(image: ElfImage) -> bool:
    return any(note.owner == OWNER and note.type == NT_MARKER for note in image.notes())


def _down(rva: int) -> int:
    return rva & -_PAGE


def _up(rva: int) -> int:
    return _down(rva + _PAGE - 1)

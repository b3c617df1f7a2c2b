"""``.fini_array`` and ``DT_FINI``: what ld.so calls, in the addresses that relocation will have put there.

Source: System V gABI, chapter 5, "Initialization and Termination Functions"; glibc ``elf/dl-fini.c``.
"""

from __future__ import annotations

import numpy as np

from ia2exit.elf import constants as elf
from ia2exit.elf.image import ElfImage
from ia2exit.model import Address, Destructor

_SHT_FINI_ARRAY = 15
_STV_DEFAULT = 0
_ABSOLUTE = (elf.R_X86_64_64, elf.R_X86_64_GLOB_DAT)


def fini_destructors(image: ElfImage) -> list[Destructor]:
    """The entries in the order in which they run: the array from the last to the first, then ``DT_FINI``.

    Raises Ia2exitError for an entry outside the object's code: ld.so would jump there.
    """
    array, size, fini = _tables(image)
    found = _array(image, array, size) if size >= 8 else []
    if fini:
        if not image.is_code(fini):
            raise image.error(f"DT_FINI is {fini:#x}, expected an address in the object's code")
        found.append(Destructor(kind="fini", rva=Address(fini), found="dt_fini"))
    return found


def _tables(image: ElfImage) -> tuple[int, int, int]:
    """Address and size of the array, address of the function; a static program has them in sections only."""
    if image.dynamic:
        dynamic = image.dynamic
        array, size = dynamic.get(elf.DT_FINI_ARRAY, 0), dynamic.get(elf.DT_FINI_ARRAYSZ, 0)
        return array, size if array else 0, dynamic.get(elf.DT_FINI, 0)
    section = next((s for s in image.sections if s.type == _SHT_FINI_ARRAY), None)
    fini = image.section(".fini")
    return section.address if section else 0, section.size if section else 0, fini.address if fini else 0


def _array(image: ElfImage, array: int, size: int) -> list[Destructor]:
    words = image.array(array, "<u8", size // 8)
    relocations = image.relocations
    inside = (relocations["offset"] >= np.uint64(array)) & (relocations["offset"] < np.uint64(array + size))
    by_slot = {int(entry["offset"]): entry for entry in relocations[inside]}
    found: list[Destructor] = []
    for index in reversed(range(len(words))):
        entry = by_slot.get(array + 8 * index)
        made = _plain(image, index, int(words[index])) if entry is None else _relocated(image, index, entry)
        found.append(made)
    return found


def _plain(image: ElfImage, index: int, word: int) -> Destructor:
    """An entry that nothing relocates: right only where the load base is 0."""
    if image.elf_type != elf.ET_EXEC:
        raise image.error(f".fini_array[{index}] is {word:#x} and has no relocation, expected one")
    return _entry(image, index, word)


def _relocated(image: ElfImage, index: int, entry: np.void) -> Destructor:
    kind, symbol, addend = int(entry["type"]), int(entry["symbol"]), int(entry["addend"])
    if kind == elf.R_X86_64_RELATIVE:
        return _entry(image, index, addend)
    if kind == elf.R_X86_64_IRELATIVE:
        # The resolver decides when the object is loaded: name it, but do not claim its address.
        return Destructor(kind="fini_array", rva=None, found="fini_array", index=index)
    if kind not in _ABSOLUTE:
        raise image.error(f".fini_array[{index}] has a relocation of type {kind}, expected R_X86_64_RELATIVE or _64")
    name = image.dynsym.name(symbol)
    definition = image.dynsym.entries[symbol]
    own = _entry(image, index, int(definition["value"]) + addend) if definition["section"] else None
    if own is not None and (addend != 0 or not _is_preemptible(definition)):
        return own
    # ld.so binds it by name: another object's definition may come first. The own one stands until that is looked up.
    rva = None if own is None else own.rva
    return Destructor(kind="fini_array", rva=rva, symbol=name, symbol_source="import", found="fini_array", index=index)


def _is_preemptible(definition: np.void) -> bool:
    """Whether another object's definition may take its place: visible by default, and not local."""
    return int(definition["info"]) >> 4 != elf.STB_LOCAL and int(definition["other"]) & 3 == _STV_DEFAULT


def _entry(image: ElfImage, index: int, rva: int) -> Destructor:
    if not image.is_code(rva):
        raise image.error(f".fini_array[{index}] is {rva:#x}, expected an address in the object's code")
    return Destructor(kind="fini_array", rva=Address(rva), found="fini_array", index=index)

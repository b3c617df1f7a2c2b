"""Names of functions from DWARF, for files that have it but no symbol table (DWARF 5, sections 3.3 and 6.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ia2exit.elf.image import ElfImage

#: .debug_info larger than this is not read: it would take minutes for one name.
_MAX_INFO = 1 << 29


def function_names(image: ElfImage, addresses: Iterable[int]) -> dict[int, str]:
    """Linkage name (else name) of the functions that start at these addresses; a missing key is an unknown function.

    Damaged DWARF counts as none: names are a help for the reader, nothing is decided by them.
    """
    section = image.section(".debug_info") or image.section(".zdebug_info")
    if section is None or section.size > _MAX_INFO:
        return {}
    wanted = set(addresses)
    found: dict[int, str] = {}
    try:
        from elftools.elf.elffile import ELFFile

        with Path(image.path).open("rb") as file:
            info = ELFFile(file).get_dwarf_info(relocate_dwarf_sections=False)
            for unit in _units(info, wanted):
                _collect(unit, wanted, found)
                if len(found) == len(wanted):
                    break
    except Exception:  # pyelftools raises whatever a damaged section makes it stumble over
        return found
    return found


def _units(info: Any, wanted: set[int]) -> Iterator[Any]:
    """The compilation units that may hold the addresses: by .debug_aranges where it knows them, else all."""
    ranges = info.get_aranges()
    offsets: set[int | None] = {ranges.cu_offset_at_addr(address) for address in wanted} if ranges else {None}
    known = sorted(offset for offset in offsets if offset is not None)
    if len(known) == len(offsets):
        yield from (info.get_CU_at(offset) for offset in known)
    else:
        yield from info.iter_CUs()


def _collect(unit: Any, wanted: set[int], found: dict[int, str]) -> None:
    for entry in unit.iter_DIEs():
        if entry.tag != "DW_TAG_subprogram":
            continue
        low = entry.attributes.get("DW_AT_low_pc")
        if low is None or low.value not in wanted:
            continue
        name = _name(entry)
        if name:
            found.setdefault(low.value, name)


def _name(entry: Any) -> str | None:
    """A function's name may stand at the declaration or the abstract instance that the entry refers to."""
    for _ in range(4):
        for attribute in ("DW_AT_linkage_name", "DW_AT_MIPS_linkage_name", "DW_AT_name"):
            if attribute in entry.attributes:
                value: bytes = entry.attributes[attribute].value
                return value.decode("utf-8", "replace")
        for attribute in ("DW_AT_specification", "DW_AT_abstract_origin"):
            if attribute in entry.attributes:
                entry = entry.get_DIE_from_attribute(attribute)
                break
        else:
            return None
    return None

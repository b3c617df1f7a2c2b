"""One object: everything that its own file says about its destructors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from ia2exit.elf import coverage, notes
from ia2exit.elf.closure import Closure
from ia2exit.elf.demangle import demangle
from ia2exit.elf.image import ElfImage
from ia2exit.elf.naming import Naming
from ia2exit.elf.search import Loaded, needed_objects
from ia2exit.errors import Ia2exitError
from ia2exit.model import Address, Destructor, Problem, ScannedObject
from ia2exit.scanning.fini import fini_destructors


def scan_object(path: str, *, disassemble: bool, bind: bool = False) -> ScannedObject:
    """Scan one file.

    Args:
        path: a program or shared object.
        disassemble: also find registrations in code.
        bind: look imported destructors up in the objects that this one needs; where one is missing they stay unbound.

    Raises:
        Ia2exitError: the file is bad.
    """
    image = ElfImage(path)
    claimed, noted = notes.read(image)
    destructors = _with_claims([*_registrations(image, disassemble), *fini_destructors(image)], noted)
    scanned = ScannedObject(
        path=_text(path),
        build_id=image.build_id,
        soname=image.soname and _text(image.soname),
        type=image.type,
        needed=[_text(name) for name in image.needed],
        interpreter=image.interpreter and _text(image.interpreter),
        coverable=(reason := coverage.why_not(image)) is None,
        why_not=reason,
        claimed=claimed,
        defines_malloc=_defines(image, "malloc"),
        destructors=_named(image, destructors),
    )
    return _bound_alone(path, scanned) if bind else scanned


def _defines(image: ElfImage, name: str) -> bool:
    """Whether others can bind to a definition of ``name`` here."""
    table = image.dynsym
    return any(table.entries["section"][index] != 0 for index in table.named([name]).get(name, []))


def problem(path: str, error: Ia2exitError) -> Problem:
    """The record of a file that could not be used."""
    return Problem(path=_text(path), message=_text(str(error)))


def _text(name: str) -> str:
    """A name from a file or the file system, its bytes that are no UTF-8 written as escapes: JSON cannot hold them."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def _registrations(image: ElfImage, disassemble: bool) -> list[Destructor]:
    if not disassemble:
        return []
    from ia2exit.scanning.code import find_registrations

    found = find_registrations(image)
    return sorted(found, key=_site_order)


def _site_order(found: Destructor) -> tuple[int, int, str, str, str]:
    """By call site; a total order, so that the same file always gives the same list."""
    site = found.site
    where, function = (site.rva, f"{site.function} {site.via}") if site else (0, "")
    return where, found.rva or 0, found.symbol or "", found.kind, function


def _with_claims(found: list[Destructor], noted: list[Destructor]) -> list[Destructor]:
    """Give found destructors the compartment that a note claims for them; put those that only a note names in front."""
    claims = {(note.kind, note.rva): note.claimed for note in noted}
    known = {(one.kind, one.rva) for one in found}
    only_noted = [note for note in noted if (note.kind, note.rva) not in known]
    return only_noted + [replace(d, claimed=claims[d.kind, d.rva]) if (d.kind, d.rva) in claims else d for d in found]


def _named(image: ElfImage, destructors: list[Destructor]) -> list[Destructor]:
    """Fill in symbols, demangled names and the functions that hold the call sites."""
    naming = Naming(image)
    names = naming.functions(d.rva for d in destructors if d.rva is not None and d.symbol is None)
    callers = naming.holding(d.site.rva for d in destructors if d.site and d.site.caller is None)
    named: list[Destructor] = []
    for destructor in destructors:
        changes: dict[str, object] = {}
        symbol = destructor.symbol
        if symbol is None and destructor.rva in names:
            symbol, source = names[destructor.rva]
            changes |= {"symbol": _text(symbol), "symbol_source": source}
        elif symbol is not None:
            changes["symbol"] = _text(symbol)
        if symbol is not None:
            changes["name"] = demangle(_text(symbol))
        if destructor.site and destructor.site.rva in callers:
            changes["site"] = replace(destructor.site, caller=_text(callers[destructor.site.rva]))
        named.append(replace(destructor, **changes) if changes else destructor)
    return named


# Imported functions ------------------------------------------------------------------------------------------


def is_unbound(destructor: Destructor) -> bool:
    """Whether the loader binds its function by name, and nobody has said yet where to (own definitions included)."""
    return destructor.symbol_source == "import" and destructor.object is None


def bind_imports(scanned: ScannedObject, closure: Closure, user: Loaded) -> ScannedObject:
    """Say in which object, and where, each imported destructor of ``scanned`` is found in this look-up order."""

    def bound(destructor: Destructor) -> Destructor:
        found = closure.resolve(user, destructor.symbol or "")
        if found is None:
            return destructor
        rva = None if found.rva is None else Address(found.rva)
        if found.loaded is user:
            return replace(destructor, rva=rva)
        name = found.loaded.image.soname or found.loaded.path.rpartition("/")[2]
        return replace(destructor, rva=rva, object=name)

    return _replaced(scanned, bound)


def _bound_alone(path: str, scanned: ScannedObject) -> ScannedObject:
    if not scanned.coverable or not any(map(is_unbound, scanned.destructors)):
        return scanned
    try:
        objects = needed_objects(path)
        return bind_imports(scanned, Closure(objects), objects[0])
    except Ia2exitError:
        return scanned


def _replaced(scanned: ScannedObject, change: Callable[[Destructor], Destructor]) -> ScannedObject:
    if not any(map(is_unbound, scanned.destructors)):
        return scanned
    return replace(scanned, destructors=[change(d) if is_unbound(d) else d for d in scanned.destructors])


def kinds(objects: Iterable[ScannedObject]) -> dict[str, int]:
    """How many destructors there are of each kind, kinds without any left out."""
    counts: dict[str, int] = {}
    for scanned in objects:
        for destructor in scanned.destructors:
            counts[destructor.kind] = counts.get(destructor.kind, 0) + 1
    return counts

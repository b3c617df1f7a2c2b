"""What a program loads, each object beside its entry in the map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ia2exit.checking.metadata import Entry, Metadata
from ia2exit.elf.closure import Closure
from ia2exit.elf.search import Loaded
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.patterns import is_default_shared, object_name
from ia2exit.model import SHARED, ScannedObject
from ia2exit.scanning.one import bind_imports
from ia2exit.scanning.plan import Task, closure_of
from ia2exit.scanning.pool import scan_files


@dataclass(eq=False)
class Part:
    """An object that loads.

    Attributes:
        loaded: the file, and who needs it.
        closure: the objects that its references are looked up in.
        scanned: its destructors (those in tables and notes alone, where only symbols are checked).
        entry: the map's, as the runtime would find it; None: it would find none.
        meant: an entry for that path or name, where there is no ``entry``: that of another build.
        compartment: whose it is, by ``entry`` or ``meant``, else as the runtime decides; None: one of its own.
    """

    loaded: Loaded
    closure: Closure
    scanned: ScannedObject
    entry: Entry | None = None
    meant: Entry | None = None
    compartment: int | None = None

    @property
    def path(self) -> str:
        return self.scanned.path

    @property
    def name(self) -> str:
        return object_name(self.scanned)

    @property
    def shared(self) -> bool:
        """Whether everyone may touch it."""
        return self.compartment == SHARED

    def together(self, other: Part) -> bool:
        """Whether both belong to one compartment."""
        return self is other or (self.compartment is not None and self.compartment == other.compartment)


def collect(
    program: str,
    plugins: Sequence[str],
    metadata: Metadata,
    *,
    disassemble: bool,
    progress: Callable[[int, int], None] | None = None,
) -> list[Part]:
    """The program, what it needs, and what it loads by ``dlopen`` with what that needs, in the order of loading.

    Raises:
        Ia2exitError: a file is bad or cannot be covered, or a dependency is missing.
    """
    scopes = _scopes(program, plugins)
    closures: dict[int, tuple[Loaded, Closure]] = {}
    for scope in scopes:
        closure = Closure(scope, many=True)
        for loaded in scope:
            closures.setdefault(id(loaded), (loaded, closure))
    tasks = [Task(loaded.path, bind=False) for loaded, _ in closures.values()]
    parts: list[Part] = []
    outcomes = scan_files(tasks, disassemble=disassemble, progress=progress)
    for (loaded, closure), outcome in zip(closures.values(), outcomes, strict=True):
        if not isinstance(outcome, ScannedObject):
            raise Ia2exitError(outcome.message if outcome else f"{loaded.path}: not an ELF object; reinstall it")
        _check_coverable(loaded, outcome, (program, *plugins))
        parts.append(Part(loaded, closure, bind_imports(outcome, closure, loaded)))
    _match(parts, metadata)
    return parts


def _check_coverable(loaded: Loaded, scanned: ScannedObject, named: Sequence[str]) -> None:
    if loaded.path in named and not scanned.coverable:
        raise Ia2exitError(
            f"{scanned.path}: the runtime cannot cover it ({scanned.why_not}), expected a glibc program or shared"
            " object; name another"
        )


def _scopes(program: str, plugins: Sequence[str]) -> list[list[Loaded]]:
    """The look-up order of the program, then that of each plug-in: the program's first, then its own (dlopen(3))."""
    base = closure_of(program, plugins)
    scopes, known = [base], list(base)
    for plugin in plugins:
        own = [_known(loaded, known) or loaded for loaded in closure_of(plugin, plugins)]
        known += [loaded for loaded in own if loaded not in known]
        scopes.append([*base, *(loaded for loaded in own if loaded not in base)])
    return scopes


def _known(loaded: Loaded, known: Sequence[Loaded]) -> Loaded | None:
    """The object that is there already for a file, or for one of its soname."""
    for other in known:
        same_file = (other.image.stat.st_dev, other.image.stat.st_ino) == (
            loaded.image.stat.st_dev,
            loaded.image.stat.st_ino,
        )
        if same_file or (loaded.image.soname is not None and loaded.image.soname == other.image.soname):
            return other
    return None


def _match(parts: Sequence[Part], metadata: Metadata) -> None:
    for part in parts:
        part.entry = metadata.entry(part.scanned.build_id, part.name)
    taken = {id(part.entry) for part in parts}
    for part in parts:
        if part.entry is None:
            candidates = [*metadata.at(part.path), *metadata.called(part.name)]
            part.meant = next((entry for entry in candidates if id(entry) not in taken), None)
        entry = part.entry or part.meant
        part.compartment = _without_map(part.scanned, metadata) if entry is None else entry.compartment


def _without_map(scanned: ScannedObject, metadata: Metadata) -> int | None:
    """The compartment that the runtime gives an object that the map does not name."""
    if scanned.claimed is not None:
        return scanned.claimed
    if is_default_shared(scanned) or scanned.defines_malloc:
        return SHARED
    return None if metadata.unlisted == "each" else int(metadata.unlisted)

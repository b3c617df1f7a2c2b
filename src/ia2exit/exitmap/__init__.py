"""The exit map: which destructor of which object belongs to which compartment.

:func:`build_map` makes it from a policy and a scan; :mod:`~ia2exit.exitmap.binary` is the form that the runtime maps,
:mod:`~ia2exit.exitmap.note` the form that is linked into an object, :mod:`~ia2exit.exitmap.files` reads and writes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable

from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.binary import BinaryMap, BinaryObject, as_binary, read_binary, write_binary
from ia2exit.exitmap.build import Built, build
from ia2exit.exitmap.files import parse_map, read_map, write_output
from ia2exit.model import ExitMap, ScanResult
from ia2exit.policy import Policy, PolicyFile, load_policy

__all__ = [
    "BinaryMap",
    "BinaryObject",
    "Built",
    "MapWarning",
    "as_binary",
    "build",
    "build_map",
    "parse_map",
    "read_binary",
    "read_map",
    "scan_for_map",
    "write_binary",
    "write_output",
]


class MapWarning(UserWarning):
    """Something about a map that does not stop it: a note that the policy overrules, a copy left out."""


def _warn(text: str) -> None:
    warnings.warn(text, MapWarning, stacklevel=3)


def scan_for_map(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """Scan what a map is to be made of: files with all that they need, folders.

    Raises:
        Ia2exitError: nothing was found, a named file cannot be used, or the runtime cannot cover it (a static program,
            one for musl, a setuid one): a map of it would never be read.
    """
    from ia2exit.scanning import scan

    named = [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    scanned = scan(named, progress=progress)
    for item in scanned.objects:
        if item.path in named and not item.coverable:
            raise Ia2exitError(
                f"{item.path}: the runtime cannot cover it ({item.why_not}), expected a glibc program or shared object;"
                " name another"
            )
    return scanned


def build_map(
    policy: PolicyFile | Policy | str | os.PathLike[str] | None,
    paths: ScanResult | str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    notice: Callable[[str], None] = _warn,
    progress: Callable[[int, int], None] | None = None,
) -> ExitMap:
    """The exit map of some objects: which destructor belongs to which compartment.

    Args:
        policy: path of a policy in TOML, or a policy; None gives every object a compartment of its own, except those
            that are shared by default or claim one in a note.
        paths: what :func:`ia2exit.scan` returned, or paths to scan: files, folders, a program with all that it needs.
        notice: called with one line for each thing that does not stop the map but should be known: a note that the
            policy overrules, copies of an object that disagree, a file that could not be used. By default a
            :class:`MapWarning`.
        progress: called with (files scanned, files in all).

    Raises:
        Ia2exitError: the policy cannot be read or does not fit the objects (a pattern that matches nothing, two that
            claim one object), there is nothing to map, or an object contradicts itself.
    """
    loaded = load_policy(policy)
    scanned = paths if isinstance(paths, ScanResult) else scan_for_map(paths, progress=progress)
    for problem in scanned.problems:
        notice(f"{problem.path}: left out: {problem.message.removeprefix(f'{problem.path}: ')}")
    if not scanned.objects:
        raise Ia2exitError("nothing to map: no ELF object was found; name a program, a shared object or a folder")
    built = build(loaded, scanned)
    for text in built.notices:
        notice(text)
    return built.map

"""Where the compiled parts of ia2exit lie."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ia2exit.errors import Ia2exitError

if TYPE_CHECKING:
    from pathlib import Path

#: Folder that holds libia2.so, when it is not the one that came with the package.
LIBDIR_VARIABLE = "IA2EXIT_LIBDIR"

_RUNTIME = "libia2.so"
_AUDIT = "libia2_audit.so"


def runtime_library() -> Path:
    """The absolute path of libia2.so, as :func:`runtime_path` finds it."""
    from pathlib import Path  # a tenth of what `ia2exit run` takes: not for those who need no more than the text

    return Path(runtime_path())


def runtime_path() -> str:
    """The absolute path of libia2.so.

    It is looked for in the folder that ``IA2EXIT_LIBDIR`` names if it is set (and then nowhere else), in ``lib``
    beside this file (where a wheel puts it), and in ``build`` of the checkout that this file is part of.

    Raises:
        Ia2exitError: the library is in none of these, or its path cannot stand in ``LD_PRELOAD``.
    """
    folder = os.environ.get(LIBDIR_VARIABLE)
    if folder:
        library = os.path.join(os.path.abspath(folder), _RUNTIME)
        if not os.path.isfile(library):
            raise Ia2exitError(
                f"{library}: no such file: expected the runtime where {LIBDIR_VARIABLE} points; "
                f"set it to the folder of {_RUNTIME}, or unset it"
            )
        return _loadable(library)
    package = os.path.dirname(os.path.abspath(__file__))
    beside = os.path.join(package, "lib", _RUNTIME)
    for library in (beside, os.path.join(os.path.dirname(os.path.dirname(package)), "build", _RUNTIME)):
        if os.path.isfile(library):
            return _loadable(library)
    raise Ia2exitError(
        f"{beside}: no such file: expected the compiled runtime; "
        f"install the package with pip, or build it (cmake -G Ninja -B build && ninja -C build) "
        f"and set {LIBDIR_VARIABLE} to the build folder"
    )


def audit_path() -> str | None:
    """The absolute path of libia2_audit.so beside the runtime; None where it is not (an older build).

    Raises:
        Ia2exitError: as :func:`runtime_path`.
    """
    module = os.path.join(os.path.dirname(runtime_path()), _AUDIT)
    return module if os.path.isfile(module) else None


def _loadable(library: str) -> str:
    """Refuse a path that ld.so would split or expand: ``LD_PRELOAD`` has no way to quote (ld.so(8))."""
    if any(letter in " :;$\t\n" for letter in library):
        raise Ia2exitError(
            f"{library}: ld.so cannot preload a path with a space, colon, semicolon or dollar sign: "
            f"expected one without; copy {_RUNTIME} elsewhere and set {LIBDIR_VARIABLE} to that folder"
        )
    return library

"""ia2exit: every destructor of a process runs with only its owner's memory open.

The verbs of the command line are functions here: :func:`scan`, :func:`build_map`, :func:`run`, :func:`check`,
:func:`doctor`. They return the records of :mod:`ia2exit.model`, :mod:`ia2exit.events` and raise :class:`Ia2exitError`
for unusable input. Everything is imported on first use, so that ``import ia2exit`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ia2exit.checking import check as check
    from ia2exit.errors import Ia2exitError as Ia2exitError
    from ia2exit.examining import doctor as doctor
    from ia2exit.exitmap import build_map as build_map
    from ia2exit.running import run as run
    from ia2exit.scanning import scan as scan

#: public name -> module that defines it.
_PUBLIC = {
    "Ia2exitError": "ia2exit.errors",
    "build_map": "ia2exit.exitmap",
    "check": "ia2exit.checking",
    "doctor": "ia2exit.examining",
    "run": "ia2exit.running",
    "scan": "ia2exit.scanning",
}

__all__ = ["Ia2exitError", "build_map", "check", "doctor", "run", "scan"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

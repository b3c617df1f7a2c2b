"""Whether this machine has what a guest needs."""

from __future__ import annotations

from ia2exit.errors import Ia2exitError
from ia2exit.vm import kernel, needs


def why_no_guest() -> str | None:
    """Why none can be booted here; None: one can."""
    try:
        needs.require()
        kernel.cached()
    except Ia2exitError as error:
        return str(error)
    return None

"""What the host must have for a guest, each with the command that brings it, for ``vm`` and ``doctor``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ia2exit.errors import Ia2exitError
from ia2exit.packages import tool

#: The emulator.
QEMU = "qemu-system-x86_64"


@dataclass(frozen=True)
class Need:
    """Something on the host.

    Attributes:
        name: what it is, as one would look for it.
        found: where it is; None: missing.
        why: what it does for the guest.
        remedy: the command that brings it.
    """

    name: str
    found: str | None
    why: str
    remedy: str


def _package(name: str, why: str, package: str, *others: str) -> Callable[[], Need]:
    def look() -> Need:
        found = next((path for path in map(tool, (name, *others)) if path), None)
        return Need(name, found, why, f"as root: apt-get install --no-install-recommends {package}")

    return look


def _virtme() -> Need:
    spec = importlib.util.find_spec("virtme")
    return Need(
        "virtme-ng",
        spec.origin if spec else None,
        "makes the guest's first files (its initramfs)",
        f"{sys.executable} -m pip install 'ia2exit[vm]', or: {sys.executable} -m pip install 'virtme-ng>=1.30,<2'",
    )


#: One a line, in the order in which they are named when missing.
_NEEDS: list[Callable[[], Need]] = [
    _package(QEMU, "emulates a CPU with protection keys", "qemu-system-x86"),
    _package("busybox", "takes the guest's first steps", "busybox-static", "busybox-static", "busybox.static"),
    _package("depmod", "lists the kernel's modules", "kmod"),
    _package("modprobe", "finds those that the guest starts with", "kmod"),
    _package("file", "tells the kernel's release to virtme-ng", "file", "strings"),
    _virtme,
]


def needs() -> list[Need]:
    """All of them, found or not."""
    return [look() for look in _NEEDS]


def missing() -> Iterator[Need]:
    """Those that are not there."""
    return (need for need in needs() if need.found is None)


def require() -> None:
    """Raise for the first that is missing; ``ia2exit doctor`` names all.

    Raises:
        Ia2exitError: with the command that brings it.
    """
    for need in missing():
        raise Ia2exitError(f"{need.name}: not found: the guest needs it ({need.why}); {need.remedy}")

"""The verb ``vm``: a command on an emulated CPU that has protection keys, over this machine's own file system.

QEMU emulates the CPU, a Debian kernel of the plain flavour runs on it, virtme-ng makes the initramfs that gets at the
host's root. :mod:`.kernel` keeps the kernel and :mod:`.image` unpacks it, :mod:`.needs` knows what the host must have,
:mod:`.initramfs` makes the guest's first files, :mod:`.boot` starts the machine, :mod:`.relay` passes streams and
signals on; ``guest/`` is what runs inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ia2exit.vm.boot import BOOT_LIMIT, Machine, booted
from ia2exit.vm.kernel import Kernel, cached, given
from ia2exit.vm.needs import require
from ia2exit.vm.relay import Ended, held_streams, relay
from ia2exit.vm.request import Request, check_command, check_writable

__all__ = ["BOOT_LIMIT", "Ended", "Guest", "Kernel", "Machine", "run_in_guest"]


@dataclass(frozen=True)
class Guest:
    """The machine that is wanted.

    Attributes:
        kernel: an image to boot instead of the one in the cache; its modules lie where its own package put them.
        memory: MiB of memory; 0: half of the host's, 4096 at most.
        cpus: emulated CPUs; 0: as many as the host has, 4 at most.
        writable: folders in which writes reach the host; elsewhere they are gone with the guest.
    """

    kernel: Path | None = None
    memory: int = 0
    cpus: int = 0
    writable: Sequence[Path] = ()


def run_in_guest(
    command: Sequence[str],
    guest: Guest = Guest(),
    *,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command in a guest, in the present folder, with the calling process's standard streams.

    Args:
        command: the program and its arguments.
        guest: which machine.
        timeout: seconds from now until the guest is ended, boot included; None: as long as the command takes.
        environment: the command's; None: the present one.

    Raises:
        Ia2exitError: something that is needed is missing, or the guest did not come up.
    """
    check_command(command)
    writable = check_writable(guest.writable)
    require()
    kernel = cached() if guest.kernel is None else given(guest.kernel)
    machine = Machine(kernel, guest.memory, guest.cpus, writable)
    with held_streams() as closed:
        request = Request.of(command, environment, closed)
        with booted(machine, timeout) as running:
            return relay(running, request)

"""Starting the guest: QEMU over the host's files, with a port for our own agent."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ia2exit.errors import Ia2exitError
from ia2exit.packages import tool
from ia2exit.vm import initramfs
from ia2exit.vm.guest.channel import PORT
from ia2exit.vm.image import bootable
from ia2exit.vm.kernel import Kernel, cache_folder
from ia2exit.vm.needs import QEMU

#: Seconds until a guest must have come up; an emulated CPU on a busy machine is slow.
BOOT_LIMIT = 600.0
#: Console logs that are kept in the cache.
_LOGS = 10
#: `-cpu max` of TCG has protection keys; five-level page tables would only cost.
_CPU = "max,la57=off"
#: Not KVM: /dev/kvm may be there and hang; and it would give the host's CPU, which has no keys.
_MACHINE = ("-accel", "tcg", "-machine", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
#: A panic ends the guest at once. The rest saves time: nobody attacks this kernel, and its clock need not be measured.
_KERNEL = (
    "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nopti nokaslr audit=0 apparmor=0 "
    "no_timer_check tsc=reliable random.trust_cpu=on"
)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Machine:
    """What is to be booted; 0 for ``memory`` (MiB) and ``cpus``: as fits the host."""

    kernel: Kernel
    memory: int
    cpus: int
    writable: Sequence[Path]

    def size(self) -> tuple[int, int]:
        """MiB and CPUs."""
        return self.memory or min(4096, host_memory() // 2), self.cpus or min(4, os.cpu_count() or 1)


def host_memory() -> int:
    """MiB of memory of the host."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


@dataclass
class Running:
    """A guest that is coming up or is there."""

    process: subprocess.Popen[bytes]
    #: Our end of its port.
    line: socket.socket
    console: Path
    began: float
    #: When its time is up (``time.monotonic()``), and by when it must be up; None: never.
    deadline: float | None
    boot_deadline: float

    def last_words(self) -> str:
        """The last line of its console, for a message."""
        lines = self.console.read_text(errors="replace").split("\n") if self.console.exists() else []
        told = [line.strip() for line in lines if line.strip()]
        return told[-1] if told else "nothing"


@contextmanager
def booted(machine: Machine, timeout: float | None) -> Iterator[Running]:
    """A guest that has been started; it and all that was made for it is gone afterwards.

    Raises:
        Ia2exitError: it cannot be started.
    """
    began = time.monotonic()
    deadline = None if timeout is None else began + timeout
    with tempfile.TemporaryDirectory(prefix="ia2exit-vm-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        console = folder / "console"
        image = bootable(machine.kernel)
        files = initramfs.make(machine.kernel, machine.writable, folder)
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, console.open("wb") as log:
                process = _start(command(machine, image, files, theirs.fileno()), log.fileno(), theirs.fileno())
            try:
                yield Running(process, ours, console, began, deadline, began + BOOT_LIMIT)
            finally:
                _end(process)


def _start(arguments: list[str], log: int, port: int) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)

    def die_with_us() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[port],
        start_new_session=True,
        preexec_fn=die_with_us,  # noqa: PLW1509  # a guest whose terminal is gone would run on for ever
    )


def command(machine: Machine, image: Path, files: Path, port: int) -> list[str]:
    """What starts the guest: ``image`` with the initramfs ``files``; ``port`` is a connected socket."""
    memory, cpus = machine.size()
    return [
        *(tool(QEMU) or QEMU, *_MACHINE, "-cpu", _CPU, "-m", f"{memory}M", "-smp", str(cpus), "-serial", "stdio"),
        *("-kernel", str(image), "-initrd", str(files), "-append", f"{_KERNEL} rdinit={initramfs.INIT}"),
        *_share("ia2host", Path("/"), readonly=True),
        *(option for i, path in enumerate(machine.writable) for option in _share(f"ia2rw{i}", path, readonly=False)),
        *("-chardev", f"socket,id=ia2port,fd={port}", "-device", "virtio-serial-pci"),
        *("-device", f"virtserialport,chardev=ia2port,name={PORT}"),
    ]


def _share(tag: str, path: Path, *, readonly: bool) -> list[str]:
    """A folder of the host, which the guest mounts by its tag (``guest/init.sh``)."""
    access = "readonly=on," if readonly else ""
    doubled = str(path).replace(",", ",,")
    return [
        *("-fsdev", f"local,id={tag},path={doubled},security_model=none,{access}multidevs=remap"),
        *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    ]


def keep_console(running: Running) -> Path:
    """Keep the console's log of a guest that failed; the oldest ones go. Returns its path.

    Raises:
        OSError: there is no place for it.
    """
    folder = cache_folder() / "console"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    beside = kept.with_suffix(".new")
    beside.write_bytes(running.console.read_bytes())
    beside.rename(kept)
    for old in sorted(folder.glob("*.log"))[:-_LOGS]:
        old.unlink(missing_ok=True)
    return kept


def failed(running: Running, what: str, status: int = 2) -> Ia2exitError:
    """The error that says so, with the last line of the console and where all of it is."""
    try:
        where = f"all of it: {keep_console(running)}"
    except OSError as error:
        where = f"it could not be kept: {error.filename}: {error.strerror}"
    return Ia2exitError(f'vm: {what}; its console ended with "{running.last_words()}"; {where}', status)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the guest at once: nothing of its own is worth keeping, and what reached the host has been written."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)

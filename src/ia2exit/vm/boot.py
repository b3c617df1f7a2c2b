"""Starting the guest: virtme-ng over QEMU, with a port for our own agent and the host's files once more, cached."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ia2exit.errors import Ia2exitError
from ia2exit.vm.guest.channel import PORT
from ia2exit.vm.kernel import Kernel, cache_folder

#: Seconds until a guest must have come up; an emulated CPU on a busy machine is slow.
BOOT_LIMIT = 600.0
#: Console logs that are kept in the cache.
_LOGS = 10
_GUEST = Path(__file__).resolve().parent / "guest"
#: `-cpu max` of TCG has protection keys; five-level page tables would only cost.
_CPU = "max,la57=off"
#: Runs virtme-ng's own command in the Python that has it.
_VIRTME = "import sys; from virtme.commands.run import main; sys.exit(main())"


@dataclass(frozen=True)
class Machine:
    """What is to be booted; 0 for ``memory`` (MiB) and ``cpus``: as fits the host."""

    kernel: Kernel
    memory: int
    cpus: int
    writable: Sequence[Path]

    def size(self) -> tuple[int, int]:
        """MiB and CPUs."""
        host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        return self.memory or min(4096, host // 2), self.cpus or min(4, os.cpu_count() or 1)


@dataclass
class Running:
    """A guest that is coming up or is there."""

    process: subprocess.Popen[bytes]
    #: Where its agent will connect.
    listener: socket.socket
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
    with tempfile.TemporaryDirectory(prefix="ia2exit-vm-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        console = folder / "console"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "port"))
            listener.listen(1)
            with console.open("wb") as log:
                process = subprocess.Popen(
                    command(machine, folder),
                    # virtme-ng makes files of its own, and is ended without a word.
                    env={**os.environ, "TMPDIR": scratch},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            began = time.monotonic()
            deadline = None if timeout is None else began + timeout
            try:
                yield Running(process, listener, console, began, deadline, began + BOOT_LIMIT)
            finally:
                _end(process)


def command(machine: Machine, folder: Path) -> list[str]:
    """What starts the guest; its port is ``folder/port``."""
    memory, cpus = machine.size()
    python = os.path.realpath(sys.executable)
    enter = [_GUEST / "enter.sh", python, _GUEST / "agent.py", machine.kernel.root, *machine.writable]
    return [
        *(sys.executable, "-c", _VIRTME),
        *("--kimg", str(machine.kernel.image), "--mods=auto"),
        # /dev/kvm may be there and hang; and it would give the host's CPU, which has no keys.
        *("--disable-kvm", "--disable-microvm", "--force-9p", "--show-boot-console"),
        *("--memory", f"{memory}M", "--cpus", str(cpus)),
        *("--script-sh", shlex.join(["sh", *map(str, enter)])),
        *("--qemu-opts", "-cpu", _CPU, *_share("ia2host", Path("/"), readonly=True)),
        *(option for i, path in enumerate(machine.writable) for option in _share(f"ia2rw{i}", path, readonly=False)),
        *("-chardev", f"socket,id=ia2port,path={folder / 'port'}", "-device", "virtio-serial"),
        *("-device", f"virtserialport,chardev=ia2port,name={PORT}"),
    ]


def _share(tag: str, path: Path, *, readonly: bool) -> list[str]:
    """A folder of the host, which the guest mounts by its tag (``guest/enter.sh``)."""
    access = "readonly=on," if readonly else ""
    return [
        *("-fsdev", f"local,id={tag},path={path},security_model=none,{access}multidevs=remap"),
        *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    ]


def keep_console(running: Running) -> Path:
    """Keep the console's log of a guest that failed; the oldest ones go. Returns its path."""
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
    last = running.last_words()
    return Ia2exitError(f'vm: {what}; its console ended with "{last}"; all of it: {keep_console(running)}', status)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the guest at once: nothing of its own is worth keeping, and what reached the host has been written."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)

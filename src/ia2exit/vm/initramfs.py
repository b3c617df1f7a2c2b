"""The guest's first files: virtme-ng's initramfs (a static busybox, the modules for 9p) and behind it our own part.

The kernel unpacks one archive after the other (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Ours
holds ``guest/init.sh``, which the kernel starts, its settings, and the agent, compiled for the Python that runs it.
"""

from __future__ import annotations

import os
import py_compile
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ia2exit.errors import Ia2exitError
from ia2exit.vm.kernel import Kernel

#: What the kernel is told to start (``rdinit=``).
INIT = "/ia2exit/init"
#: The range that pyproject.toml has.
WANTED = "virtme-ng>=1.30,<2"
_GUEST = Path(__file__).resolve().parent / "guest"
#: virtme-ng's own command in the Python that has it.
_VIRTME = "import sys; from virtme.commands.run import main; sys.exit(main())"
#: It finds the modules by the image's path; all but the initramfs is for a guest of its own, which it does not start.
_OPTIONS = ("--mods=auto", "--disable-kvm", "--disable-microvm", "--force-9p", "--force-initramfs", "--dry-run")
#: Seconds for virtme-ng; an idle machine needs half of one.
_LIMIT = 300
_FOLDER, _FILE = 0o40755, 0o100755


def make(kernel: Kernel, writable: Sequence[Path], folder: Path) -> Path:
    """Write the initramfs for a kernel into ``folder``, for a guest with these folders shared for writing.

    Raises:
        Ia2exitError: virtme-ng did not make its part.
    """
    whole = folder / "initramfs"
    _virtme(kernel, whole)
    with whole.open("ab") as file:
        file.write(b"\0" * (-file.tell() % 4))
        file.write(archive(_files(kernel, writable, folder)))
    return whole


def _virtme(kernel: Kernel, whole: Path) -> None:
    command = [sys.executable, "-c", _VIRTME, "--kimg", str(kernel.image), *_OPTIONS, "--save-initramfs", str(whole)]
    environment = {**os.environ, "TMPDIR": str(whole.parent)}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT, check=False
        )
        said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")
    except subprocess.TimeoutExpired:
        said = f"no answer within {_LIMIT} s"
    if not whole.is_file():
        why = said.splitlines()[-1] if said else "no message"
        raise Ia2exitError(
            f"virtme-ng {_version()}: it made no initramfs for {kernel.image}: {why}; expected {WANTED}; "
            f"{sys.executable} -m pip install '{WANTED}'"
        )


def _version() -> str:
    try:
        return version("virtme-ng")
    except PackageNotFoundError:
        return "(of unknown version)"


def _files(kernel: Kernel, writable: Sequence[Path], folder: Path) -> dict[str, bytes]:
    files = {INIT[1:]: (_GUEST / "init.sh").read_bytes(), "ia2exit/settings": settings(kernel, writable)}
    for number, module in enumerate(_overlay(kernel)):
        files[f"ia2exit/modules/{number}-{module.name}"] = module.read_bytes()
    for name in ("agent", "channel"):
        compiled = folder / f"{name}.pyc"
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(_GUEST / f"{name}.py"), str(compiled), doraise=True, invalidation_mode=mode)
        files[f"ia2exit/agent/{name}.pyc"] = compiled.read_bytes()
    return files


def settings(kernel: Kernel, writable: Sequence[Path]) -> bytes:
    """What ``guest/init.sh`` reads, as shell: names may hold anything."""
    lines = [
        f"python={shlex.quote(os.path.realpath(sys.executable))}",
        f"modules={shlex.quote(str(kernel.modules))}",
        f"set -- {shlex.join(map(str, writable))}",
    ]
    return os.fsencode("\n".join(lines) + "\n")


def _overlay(kernel: Kernel) -> Iterator[Path]:
    """The module for overlayfs, after those that it needs (depmod(8): ``modules.dep``); none where it is built in."""
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        name, _, needed = line.partition(":")
        if Path(name).name.split(".")[0] == "overlay":
            yield from (kernel.modules / module for module in (*reversed(needed.split()), name))


def archive(files: Mapping[str, bytes]) -> bytes:
    """A cpio archive in the format "newc" (cpio(5)) of executable files, their folders before them."""
    entries: dict[str, bytes | None] = {}
    for name, data in files.items():
        for parent in reversed(Path(name).parents[:-1]):
            entries.setdefault(str(parent), None)
        entries[name] = data
    members = [_member(number, name, data) for number, (name, data) in enumerate(entries.items(), start=1)]
    return b"".join([*members, _member(0, "TRAILER!!!", b"")])


def _member(inode: int, name: str, data: bytes | None) -> bytes:
    path, body = name.encode() + b"\0", data or b""
    fields = (inode, _FOLDER if data is None else _FILE, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08x" % value for value in fields) + path
    return head + b"\0" * (-len(head) % 4) + body + b"\0" * (-len(body) % 4)

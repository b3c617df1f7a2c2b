"""The guest's kernel: fetched once as a Debian package and unpacked into a cache of ours; never installed."""

from __future__ import annotations

import os
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ia2exit.errors import Ia2exitError
from ia2exit.vm.needs import tool

#: The plain flavour: the "cloud" one lacks 9p.
META_PACKAGE = "linux-image-amd64"
#: Folders of ``lib/modules/RELEASE/kernel`` that a guest of ours may want; the rest is drivers for other machines.
_MODULES = ("crypto", "drivers/char", "drivers/virtio", "fs", "lib", "net/9p", "net/unix")
#: What the kernel must have been built with (``y`` or ``m``).
WANTED = {
    "X86_INTEL_MEMORY_PROTECTION_KEYS": "protection keys",
    "NET_9P_VIRTIO": "9p over virtio",
    "9P_FS": "the 9p file system",
    "OVERLAY_FS": "overlayfs",
    "VIRTIO_CONSOLE": "virtio consoles",
}
#: Seconds for a download or an unpacking.
_LIMIT = 1800

#: Told what is being done, one short text at a time.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Kernel:
    """An image to boot, and the folder that holds ``lib/modules/RELEASE`` for it."""

    image: Path
    root: Path
    release: str

    @property
    def modules(self) -> Path:
        """The folder of its modules."""
        return self.root / "lib" / "modules" / self.release


def cache_folder() -> Path:
    """Where kernels and console logs are kept: ``ia2exit/vm`` of the user's cache (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "ia2exit" / "vm"


def cached() -> Kernel:
    """The newest kernel in the cache.

    Raises:
        Ia2exitError: there is none.
    """
    kernels = sorted(_kernels(), key=lambda kernel: kernel.image.stat().st_mtime)
    if not kernels:
        raise Ia2exitError(
            f"{cache_folder()}: no kernel for the guest yet: expected one that `ia2exit vm --setup` has fetched; "
            "run that once, or name one with --kernel"
        )
    return kernels[-1]


def _kernels() -> Iterator[Kernel]:
    for image in cache_folder().glob("kernel-*/boot/vmlinuz-*"):
        yield Kernel(image, image.parents[1], image.name.removeprefix("vmlinuz-"))


def given(image: Path) -> Kernel:
    """A kernel that the user names. Its modules are looked for beside it (an unpacked package), then in the system.

    Raises:
        Ia2exitError: it is no kernel image, its modules are missing, or it lacks what a guest needs.
    """
    release = _release(image)
    image = image.resolve()
    roots = [image.parents[1], Path("/")] if len(image.parents) > 1 else [Path("/")]
    root = next((root for root in roots if (root / "lib" / "modules" / release).is_dir()), None)
    if root is None:
        places = " or ".join(str(root / "lib" / "modules" / release) for root in roots)
        raise Ia2exitError(
            f"{image}: no modules for {release}: expected them in {places}; unpack the whole package "
            "(dpkg-deb -x FILE.deb FOLDER) and name its boot/vmlinuz"
        )
    _check_config(image, release)
    if not (root / "lib" / "modules" / release / "modules.dep").is_file():
        _depmod(root, release)  # a package that was only unpacked has none
    return Kernel(image, root, release)


def _release(image: Path) -> str:
    """The release that an x86 image says it is (Linux, Documentation/arch/x86/boot.rst: ``kernel_version``)."""
    try:
        with image.open("rb") as file:
            head = file.read(0x10000)
    except OSError as error:
        raise Ia2exitError(f"{image}: {error.strerror}: expected a kernel image (vmlinuz) for --kernel") from None
    if head[0x202:0x206] != b"HdrS":
        raise Ia2exitError(f"{image}: not a Linux kernel for x86: expected a bzImage (vmlinuz) for --kernel")
    start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    release = head[start : head.find(b"\0", start)].split(b" ")[0].decode("ascii", "replace")
    if not release.isprintable() or not release or "/" in release:
        raise Ia2exitError(f"{image}: does not say its release: expected a whole bzImage (vmlinuz) for --kernel")
    return release


def _check_config(image: Path, release: str) -> None:
    """Where the kernel's configuration lies beside it, what a guest needs must be in it."""
    config = image.parent / f"config-{release}"
    if not config.is_file():
        return
    lines = config.read_text(errors="replace").splitlines()
    built = {line.partition("=")[0] for line in lines if line.endswith(("=y", "=m"))}
    for option, what in WANTED.items():
        if f"CONFIG_{option}" not in built:
            raise Ia2exitError(
                f"{image}: built without CONFIG_{option} ({what}): expected a kernel like Debian's {META_PACKAGE}; "
                "leave out --kernel to take that one"
            )


# ---- fetching ----


def fetch(progress: Progress) -> Kernel:
    """Bring Debian's kernel into the cache, if it is not there. Nothing of it is installed into the system.

    Raises:
        Ia2exitError: apt or dpkg is missing, or one of them failed.
    """
    for name, package in (("apt-get", "apt"), ("apt-cache", "apt"), ("dpkg-deb", "dpkg")):
        if tool(name) is None:
            raise Ia2exitError(
                f"{name}: not found: expected Debian's {package} to fetch the package {META_PACKAGE}; "
                "elsewhere name a kernel with `ia2exit vm --kernel VMLINUZ`"
            )
    progress(f"looking up {META_PACKAGE}")
    package = _package()
    folder = cache_folder() / f"kernel-{package}"
    if not folder.is_dir():
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="fetching-") as scratch:
            progress(f"fetching {package}")
            file = _download(package, Path(scratch))
            progress(f"unpacking {file.name} ({file.stat().st_size >> 20} MiB)")
            unpacked = Path(scratch) / "unpacked"
            _unpack(file, unpacked)
            progress("listing its modules")
            image = _only(unpacked, "boot/vmlinuz-*", package)
            _depmod(unpacked, image.name.removeprefix("vmlinuz-"))
            _replace(unpacked, folder)
    return given(_only(folder, "boot/vmlinuz-*", package))


def _only(folder: Path, pattern: str, package: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise Ia2exitError(
            f"{package}: {len(found)} files {pattern} in it: expected one, as in Debian's kernels; "
            "unpack it by hand and name its kernel with --kernel"
        )
    return found[0]


def _replace(unpacked: Path, folder: Path) -> None:
    try:
        unpacked.rename(folder)
    except OSError:  # somebody else has brought it meanwhile
        if not folder.is_dir():
            raise


def _run(*command: str | Path, folder: Path | None = None) -> str:
    """A tool's standard output."""
    shown = " ".join(map(str, command))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Ia2exitError(f"{shown}: no end within {_LIMIT} s; run it by hand to see more") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Ia2exitError(f"{shown}: failed: {said}; run it by hand to see more")
    return done.stdout


def _package() -> str:
    """The package that the meta package stands for, by the host's own apt configuration and lists."""
    try:
        lines = _run("apt-cache", "depends", META_PACKAGE).splitlines()
    except Ia2exitError:  # it knows no such package
        lines = []
    names = [line.split()[-1] for line in lines if "Depends: linux-image-" in line]
    if not names:
        raise Ia2exitError(
            f"{META_PACKAGE}: apt knows no package of this name: expected Debian's package lists; "
            "as root, run: apt-get update"
        )
    return names[0]


def _download(package: str, folder: Path) -> Path:
    sandbox = ["-o", "APT::Sandbox::User=root"] if os.getuid() == 0 else []
    _run("apt-get", *sandbox, "-q", "download", package, folder=folder)
    return _only(folder, "*.deb", package)


def _unpack(package: Path, folder: Path) -> None:
    """The image, its configuration and the modules that a guest may want."""
    with tempfile.TemporaryFile() as complaints:
        unpacking = ["dpkg-deb", "--fsys-tarfile", str(package)]
        process = subprocess.Popen(unpacking, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        wrong: Exception | None = None
        try:
            _extract(process, folder)
        except (tarfile.TarError, OSError) as error:
            wrong = error
        finally:
            if process.stdout:
                process.stdout.close()
            status = process.wait(timeout=_LIMIT)
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip()
    if status not in (0, -signal.SIGPIPE):  # SIGPIPE: the tail of the archive that nobody wanted
        why = said.splitlines()[-1] if said else f"status {status}"
        raise Ia2exitError(f"dpkg-deb --fsys-tarfile {package.name}: failed: {why}; run ia2exit vm --setup again")
    if wrong is not None:
        raise Ia2exitError(f"{package.name}: cannot be unpacked: {wrong}; check the free space of {folder}")


def _extract(process: subprocess.Popen[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
        # The idiom of PEP 706: Python before 3.11.4 has no filters; the package is signed by the distribution.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        for member in archive:
            if _is_wanted(member.name):
                # Debian 13 has its modules in /usr/lib; here they lie in one place.
                archive.extract(member.replace(name=_without_usr(member.name)), folder)


def _without_usr(name: str) -> str:
    return name.removeprefix("./").removeprefix("usr/")


def _is_wanted(name: str) -> bool:
    parts = _without_usr(name).split("/")
    if parts[0] == "boot":
        return parts[-1].startswith(("vmlinuz-", "config-"))
    if parts[:2] != ["lib", "modules"] or len(parts) < 4:
        return False
    return parts[3].startswith("modules.") or "/".join(parts[4:]).startswith(tuple(f"{m}/" for m in _MODULES))


def _depmod(root: Path, release: str) -> None:
    depmod = tool("depmod")
    if depmod is None:
        raise Ia2exitError("depmod: not found: expected Debian's package kmod; as root, run: apt-get install kmod")
    _run(depmod, "-a", "-b", root, release)

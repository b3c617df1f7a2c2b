"""The guest's kernel: fetched once as a Debian package and unpacked into a cache of ours; never installed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ia2exit import packages
from ia2exit.errors import Ia2exitError

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
#: What to do where the package cannot be had.
_ELSEWHERE = "elsewhere name a kernel with `ia2exit vm --kernel VMLINUZ`"
_BY_HAND = "unpack it by hand and name its kernel with --kernel"
_AGAIN = "run ia2exit vm --setup again"


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
    """Where kernels and console logs are kept: ``ia2exit/vm`` of the user's cache."""
    return packages.cache_folder() / "vm"


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


def fetch(progress: packages.Progress) -> Kernel:
    """Bring Debian's kernel into the cache, if it is not there. Nothing of it is installed into the system.

    Raises:
        Ia2exitError: apt or dpkg is missing, or one of them failed.
    """
    packages.require(META_PACKAGE, _ELSEWHERE)
    progress(f"looking up {META_PACKAGE}")
    package = _package()
    folder = cache_folder() / f"kernel-{package}"
    if not folder.is_dir():
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="fetching-") as scratch:
            progress(f"fetching {package}")
            file = packages.download(package, Path(scratch), _BY_HAND)
            progress(f"unpacking {file.name} ({file.stat().st_size >> 20} MiB)")
            unpacked = Path(scratch) / "unpacked"
            packages.unpack(file, unpacked, _placed, _AGAIN)
            progress("listing its modules")
            image = packages.only(unpacked, "boot/vmlinuz-*", package, _BY_HAND)
            _depmod(unpacked, image.name.removeprefix("vmlinuz-"))
            packages.replace(unpacked, folder)
    return given(packages.only(folder, "boot/vmlinuz-*", package, _BY_HAND))


def _package() -> str:
    """The package that the meta package stands for, by the host's own apt configuration and lists."""
    try:
        lines = packages.run("apt-cache", "depends", META_PACKAGE).splitlines()
    except Ia2exitError:  # it knows no such package
        lines = []
    names = [line.split()[-1] for line in lines if "Depends: linux-image-" in line]
    if not names:
        raise Ia2exitError(
            f"{META_PACKAGE}: apt knows no package of this name: expected Debian's package lists; "
            "as root, run: apt-get update"
        )
    return names[0]


def _placed(name: str) -> str | None:
    """The image, its configuration and the modules that a guest may want, where Debian 12 has them."""
    name = name.removeprefix("usr/")  # Debian 13 has its modules in /usr/lib
    return name if _is_wanted(name) else None


def _is_wanted(name: str) -> bool:
    parts = name.split("/")
    if parts[0] == "boot":
        return parts[-1].startswith(("vmlinuz-", "config-"))
    if parts[:2] != ["lib", "modules"] or len(parts) < 4:
        return False
    return parts[3].startswith("modules.") or "/".join(parts[4:]).startswith(tuple(f"{m}/" for m in _MODULES))


def _depmod(root: Path, release: str) -> None:
    depmod = packages.tool("depmod")
    if depmod is None:
        raise Ia2exitError("depmod: not found: expected Debian's package kmod; as root, run: apt-get install kmod")
    packages.run(depmod, "-a", "-b", root, release)

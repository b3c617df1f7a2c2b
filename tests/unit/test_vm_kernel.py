"""The guest's kernel: one that is named, the one in the cache, and fetching it with tools that may fail."""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ia2exit.errors import Ia2exitError
from ia2exit.vm import image, kernel
from ia2exit.vm.initramfs import archive, settings

RELEASE = "6.1.0-9-amd64"
CONFIG = "".join(f"CONFIG_{option}=y\n" for option in kernel.WANTED)


def bzimage(release: str = RELEASE, payload: bytes = b"") -> bytes:
    """The head of an x86 kernel, with its release and a payload."""
    head = bytearray(0x400)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x300 - 0x200).to_bytes(2, "little")
    text = release.encode() + b" (debian) #1\0"
    head[0x300 : 0x300 + len(text)] = text
    head[0x24C:0x250] = len(payload).to_bytes(4, "little")
    return bytes(head) + payload


def unpacked(folder: Path, *, config: str = CONFIG, modules: bool = True, lib: str = "lib") -> Path:
    """A kernel's package, unpacked. Returns its image."""
    (folder / "boot").mkdir(parents=True)
    (folder / "boot" / f"config-{RELEASE}").write_text(config)
    if modules:
        (folder / lib / "modules" / RELEASE / "kernel" / "fs").mkdir(parents=True)
        (folder / lib / "modules" / RELEASE / "kernel" / "fs" / "x.ko").write_bytes(b"module")
        (folder / lib / "modules" / RELEASE / "modules.order").write_text("kernel/fs/x.ko\n")
    vmlinuz = folder / "boot" / f"vmlinuz-{RELEASE}"
    vmlinuz.write_bytes(bzimage())
    return vmlinuz


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# ---- named ----


def test_a_package_that_was_only_unpacked_is_enough(tmp_path: Path) -> None:
    vmlinuz = unpacked(tmp_path / "package")
    found = kernel.given(vmlinuz)
    assert (found.image, found.root, found.release) == (vmlinuz, tmp_path / "package", RELEASE)
    assert (found.modules / "modules.dep").is_file()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file or directory: expected a kernel image"),
        (lambda path: path.mkdir(), "Is a directory: expected a kernel image"),
        (lambda path: path.write_bytes(b""), "not a Linux kernel for x86"),
        (lambda path: path.write_bytes(b"\x7fELF" + b"x" * 5000), "not a Linux kernel for x86"),
        (lambda path: path.write_bytes(bzimage("")), "does not say its release"),
        (lambda path: path.write_bytes(bzimage("../../x")), "does not say its release"),
        (lambda path: path.write_bytes(bzimage("9.9.9")), "no modules for 9.9.9"),
    ],
)
def test_what_is_no_kernel_is_said_in_a_line(tmp_path: Path, make: Callable[[Path], object], why: str) -> None:
    path = tmp_path / "vmlinuz"
    make(path)
    with pytest.raises(Ia2exitError) as told:
        kernel.given(path)
    assert str(told.value).startswith(f"{path}: ")
    assert why in str(told.value)
    assert told.value.status == 2


@pytest.mark.parametrize("option", sorted(kernel.WANTED))
def test_a_kernel_that_was_built_without_something_is_refused(tmp_path: Path, option: str) -> None:
    config = CONFIG.replace(f"CONFIG_{option}=y", f"# CONFIG_{option} is not set")
    with pytest.raises(Ia2exitError, match=f"built without CONFIG_{option} "):
        kernel.given(unpacked(tmp_path / "package", config=config))


def test_an_empty_cache_names_the_command_that_fills_it() -> None:
    with pytest.raises(Ia2exitError, match="run that once, or name one with --kernel") as told:
        kernel.cached()
    assert "ia2exit vm --setup" in str(told.value)


# ---- unpacking the image ----


@pytest.mark.parametrize(
    "pack",
    [
        lambda data: lzma.compress(data) + len(data).to_bytes(4, "little"),
        lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
        lambda data: zlib.compress(data, wbits=31) + b"size",
    ],
)
def test_what_is_in_an_image_is_found(pack: Callable[[bytes], bytes]) -> None:
    elf = b"\x7fELF" + bytes(range(256)) * 100
    assert image.payload(bzimage(payload=pack(elf))) == elf


@pytest.mark.parametrize("packed", [b"", b"\x28\xb5\x2f\xfdzstd", b"\xfd7zXZ\0broken", lzma.compress(b"no ELF")])
def test_what_cannot_be_unpacked_is_booted_as_it_is(tmp_path: Path, packed: bytes) -> None:
    vmlinuz = unpacked(tmp_path / "package")
    vmlinuz.write_bytes(bzimage(payload=packed))
    assert image.bootable(kernel.given(vmlinuz)) == vmlinuz


def test_an_elf_file_without_an_entry_for_pvh_is_not_booted(tmp_path: Path) -> None:
    vmlinuz = unpacked(tmp_path / "package")
    vmlinuz.write_bytes(bzimage(payload=lzma.compress(Path(sys.executable).resolve().read_bytes())))
    assert image.bootable(kernel.given(vmlinuz)) == vmlinuz
    assert not list((tmp_path / "cache").rglob("new-*"))


# ---- the guest's first files ----


def test_our_archive_is_read_by_a_kernels_own_format(tmp_path: Path) -> None:
    whole = archive({"a/b/init": b"#!/bin/sh\n", "a/c": b"odd"})
    listed = subprocess.run(["busybox", "cpio", "-t"], input=whole, capture_output=True, timeout=60, check=True)
    assert listed.stdout.split() == [b"a", b"a/b", b"a/b/init", b"a/c"]
    subprocess.run(["busybox", "cpio", "-i"], input=whole, cwd=tmp_path, stderr=subprocess.PIPE, timeout=60, check=True)
    assert (tmp_path / "a" / "b" / "init").read_bytes() == b"#!/bin/sh\n"
    assert os.access(tmp_path / "a" / "b" / "init", os.X_OK)


def test_settings_keep_odd_names(tmp_path: Path) -> None:
    odd = Path("/it's") / os.fsdecode(b"a $HOME\n\xff")
    text = settings(kernel.Kernel(Path("/k"), odd, RELEASE), [odd, Path("/b c")])
    (tmp_path / "settings").write_bytes(text)
    script = 'set -eu; . ./settings; printf "%s|" "$modules" "$@"'
    told = subprocess.run(["sh", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, timeout=60, check=True)
    assert told.stdout == os.fsencode(f"{odd}/lib/modules/{RELEASE}|{odd}|/b c|")


# ---- fetching ----

PACKAGE = f"linux-image-{RELEASE}"


class Tools:
    """Stand-ins for apt and dpkg, in a folder that is the whole PATH but for the shell's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sh", "cat", "cp", "touch", "mkdir"):
            (folder / name).symlink_to(f"/bin/{name}")
        self.archive = folder.parent / "package.tar"
        self.pack("lib")
        self.tool("apt-cache", f'echo "{kernel.META_PACKAGE}"; echo "  Depends: {PACKAGE}"')
        self.tool("apt-get", "touch x.deb")
        self.tool("dpkg-deb", f"cat {self.archive}")

    def pack(self, lib: str) -> None:
        """What the package holds."""
        source = self.archive.with_suffix(f".{lib.replace('/', '-')}")
        unpacked(source, lib=lib)
        with tarfile.open(self.archive, "w") as tar:
            tar.add(source, ".")

    def tool(self, name: str, script: str | None) -> None:
        """What a tool does; None: it is not there."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        if script is not None:
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    made = Tools(tmp_path / "tools")
    monkeypatch.setenv("PATH", str(made.folder))
    return made


def left_over() -> list[str]:
    """What lies in the cache."""
    folder = kernel.cache_folder()
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("lib", ["lib", "usr/lib"])
def test_a_kernel_is_fetched_once(tools: Tools, lib: str) -> None:
    tools.pack(lib) if lib != "lib" else None
    said: list[str] = []
    found = kernel.fetch(said.append)
    assert found == kernel.cached()
    assert (found.modules / "kernel" / "fs" / "x.ko").read_bytes() == b"module"
    assert left_over() == [f"kernel-{PACKAGE}"]
    assert said[:2] == [f"looking up {kernel.META_PACKAGE}", f"fetching {PACKAGE}"]
    tools.tool("apt-get", "exit 1")
    assert kernel.fetch(said.append) == found


@pytest.mark.parametrize(
    ("name", "script", "why"),
    [
        ("apt-get", None, "apt-get: not found: expected Debian's apt"),
        ("apt-cache", None, "apt-cache: not found: expected Debian's apt"),
        ("dpkg-deb", None, "dpkg-deb: not found: expected Debian's dpkg"),
        ("apt-cache", "echo 'E: No packages found' >&2; exit 100", "as root, run: apt-get update"),
        ("apt-cache", "exit 0", "as root, run: apt-get update"),
        ("apt-get", "echo 'E: no network' >&2; exit 100", "failed: E: no network"),
        ("apt-get", "exit 0", "0 files *.deb in it"),
        ("dpkg-deb", "echo 'dpkg-deb: error: not a package' >&2; exit 2", "failed: dpkg-deb: error: not a package"),
        ("dpkg-deb", "echo garbage", "cannot be unpacked"),
        ("dpkg-deb", "exit 0", "cannot be unpacked"),
    ],
)
def test_a_fetch_that_fails_says_why_and_leaves_nothing(tools: Tools, name: str, script: str | None, why: str) -> None:
    tools.tool(name, script)
    if script is None:
        os.environ["PATH"] = str(tools.folder)
    with pytest.raises(Ia2exitError) as told:
        kernel.fetch(lambda _: None)
    assert why in str(told.value)
    assert left_over() == []


def test_two_fetches_at_a_time_bring_one_kernel(tools: Tools) -> None:
    with ThreadPoolExecutor(2) as both:
        one, two = both.map(lambda _: kernel.fetch(lambda _: None), range(2))
    assert one == two
    assert left_over() == [f"kernel-{PACKAGE}"]

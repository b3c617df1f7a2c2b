"""Builds the patched glibc from Debian's package glibc-source, once, into the cache. Nothing is installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ia2exit import packages
from ia2exit.errors import Ia2exitError

from .known import PATCHED, Glibc, cache_folder, kept
from .patching import ANCHORS, patch

PACKAGE = "glibc-source"
REMEDY = "the lane of the patched glibc needs Debian's sources of it (component main, package glibc-source)"
#: As Debian configures it, as far as it matters here; its folders, so that libraries and locales are found as by the
#: host's.
CONFIGURE = (
    "--prefix=/usr",
    "--libdir=/usr/lib/x86_64-linux-gnu",
    "--enable-multi-arch",
    "--enable-stack-protector=strong",
    "--disable-werror",
    "--disable-nscd",
    "--without-selinux",
)
FOLDERS = "slibdir = /lib/x86_64-linux-gnu\nrtlddir = /lib64\ncomplocaledir = /usr/lib/locale\n"
#: What `make lib` leaves, and the name that it has for programs. The host's other libraries are of the same sources.
BUILT = {"elf/ld.so": "ld-linux-x86-64.so.2", "libc.so": "libc.so.6"}
#: Seconds that the compiler may take; about five minutes on two idle cores.
LIMIT = 5400


def build(progress: packages.Progress) -> Glibc:
    """Build it, unless the cache has it.

    Raises:
        Ia2exitError: the sources cannot be had, are others than expected, or do not compile.
    """
    packages.require(PACKAGE, REMEDY)
    cache_folder().mkdir(parents=True, exist_ok=True)
    key = f"{_version()}-{hashlib.sha256(repr((ANCHORS, CONFIGURE, FOLDERS)).encode()).hexdigest()[:8]}"
    folder = kept(PATCHED, key)
    if not (folder / "version").is_file():
        _check_tools()
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="building-") as scratch:
            _build(Path(scratch), folder, progress)
    return Glibc(PATCHED, folder)


def _version() -> str:
    """The host's own."""
    said = packages.run("dpkg-query", "--show", "--showformat=${Version}", "libc6").strip()
    if not said.startswith("2.36-"):
        raise Ia2exitError(f"libc6: version {said}: expected 2.36, which tests/glibcs/patching.py knows; adapt that")
    return said


def _check_tools() -> None:
    for tool in ("bison", "gawk", "make", "gcc"):
        if packages.tool(tool) is None:
            raise Ia2exitError(f"{tool}: not found: glibc is built with it; as root, run: apt-get install {tool}")


def _build(scratch: Path, folder: Path, progress: packages.Progress) -> None:
    progress(f"fetching {PACKAGE}")
    file = packages.download(f"{PACKAGE}={_version()}", scratch, REMEDY)
    progress("unpacking and patching glibc's sources")
    packages.unpack(file, scratch, lambda name: Path(name).name if name.endswith(".tar.xz") else None, REMEDY)
    sources = scratch / "sources"
    sources.mkdir()
    archive = packages.only(scratch, "glibc-*.tar.xz", PACKAGE, REMEDY)
    packages.run("tar", "--extract", "--strip-components=1", "--file", archive, folder=sources)
    patch(sources)  # Debian's own patches have been applied
    made = scratch / "made"
    made.mkdir()
    (made / "configparms").write_text(FOLDERS)
    progress("configuring glibc")
    packages.run(sources / "configure", *CONFIGURE, folder=made)
    _make(made, progress)
    unpacked = scratch / "unpacked"
    _collect(made, unpacked / "lib")
    (unpacked / "version").write_text(_version())
    packages.replace(unpacked, folder)


def _make(made: Path, progress: packages.Progress) -> None:
    """``make lib``: no programs, no tests, no locales. Tells every few seconds how far it is."""
    log = made / "make.log"
    began = time.monotonic()
    with log.open("wb") as output:
        command = ["nice", "make", f"-j{os.cpu_count() or 1}", "lib"]
        process = subprocess.Popen(command, cwd=made, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            while process.poll() is None and time.monotonic() - began < LIMIT:
                progress(
                    f"building glibc: {sum(1 for _ in made.rglob('*.os'))} files, {time.monotonic() - began:.0f} s"
                )
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=60)
    if process.returncode != 0:
        kept_log = cache_folder() / "make.log"
        shutil.copy(log, kept_log)
        raise Ia2exitError(f"make: glibc does not build (status {process.returncode}); {kept_log} says why")


def _collect(made: Path, to: Path) -> None:
    to.mkdir(parents=True)
    for built, name in BUILT.items():
        shutil.copy(made / built, to / name)

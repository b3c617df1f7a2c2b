"""Debian's packages of other releases: the host's own archive, with another suite.

Nothing of the host's apt is changed: lists and downloads go into a folder of ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ia2exit import packages
from ia2exit.errors import Ia2exitError

from .known import Glibc, cache_folder, cached, kept

PACKAGE = "libc6"
#: Where most converters of iconv are in newer releases.
CONVERTERS = "libc-gconv-modules-extra"
#: Where Debian has its archive's keys, the newest name first; apt's own trusted ones count as well.
KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg")
REMEDY = "the lanes of tests/glibcs need Debian's packages of glibc"
_FORMAT = "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)"


def fetch(suite: str, progress: packages.Progress) -> Glibc:
    """Bring the suite's glibc into the cache, unless one is there.

    Raises:
        Ia2exitError: apt or dpkg is missing, or one of them failed.
    """
    try:
        return cached(suite)
    except Ia2exitError:
        packages.require(PACKAGE, REMEDY)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="fetching-") as name:
        scratch = Path(name)
        progress(f"reading the package lists of {suite}")
        with _apt_for(suite, scratch) as options:
            packages.run("apt-get", *options, "-q", "update")
            progress(f"fetching {PACKAGE} of {suite}")
            file = packages.download(PACKAGE, scratch, REMEDY, *options)
            files = [file]
            if CONVERTERS in packages.run("dpkg-deb", "--field", file, "Depends"):
                (scratch / CONVERTERS).mkdir()
                files.append(packages.download(CONVERTERS, scratch / CONVERTERS, REMEDY, *options))
        unpacked = scratch / "unpacked"
        for file in files:
            progress(f"unpacking {file.name}")
            packages.unpack(file, unpacked, placed, REMEDY)
        packages.only(unpacked, "lib/ld-linux-x86-64.so.2", PACKAGE, REMEDY)
        version = packages.run("dpkg-deb", "--field", files[0], "Version").strip()
        (unpacked / "version").write_text(version)
        packages.replace(unpacked, kept(suite, version))
    return cached(suite)


def placed(name: str) -> str | None:
    """The libraries and the folder of converters; not the latter's cache, which does not know of a second package."""
    at = name.removeprefix("usr/").removeprefix("lib/x86_64-linux-gnu/")
    if at in {"gconv/gconv-modules.cache", name}:
        return None
    return f"lib/{at}" if at.startswith("gconv/") or ("/" not in at and ".so" in at) else None


@contextmanager
def _apt_for(suite: str, scratch: Path) -> Iterator[list[str]]:
    """Options that make apt know that suite alone."""
    (scratch / "lists" / "partial").mkdir(parents=True)
    (scratch / "archives" / "partial").mkdir(parents=True)
    signed = next((f"Signed-By: {ring}\n" for ring in KEYRINGS if Path(ring).exists()), "")
    source = f"Types: deb\nURIs: {debian_archive()}\nSuites: {suite}\nComponents: main\n{signed}"
    (scratch / "parts").mkdir()
    (scratch / "parts" / "suite.sources").write_text(source)
    settings = {
        "Dir::State::lists": scratch / "lists",
        "Dir::Cache": scratch,
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": scratch / "parts",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    # What the host does after an update is about the host's lists.
    text = "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
    (scratch / "apt.conf").write_text(text + "".join(f'{key} "{value}";\n' for key, value in settings.items()))
    yield ["-c", str(scratch / "apt.conf")]


def debian_archive() -> str:
    """The address from which the host has its own Debian packages.

    Raises:
        Ia2exitError: it has none.
    """
    rows = packages.run("apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages").splitlines()
    for row in rows:
        origin, component, codename, address = row.split(" ", 3)
        if (origin, component) == ("Debian", "main") and "-" not in codename:
            return address
    raise Ia2exitError(
        "apt-get indextargets: no archive of Debian's: expected one among apt's sources (Origin: Debian, component "
        f"main); {REMEDY}, so on another distribution these lanes cannot run"
    )

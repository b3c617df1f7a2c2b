"""Debian packages: fetched by the host's own apt configuration, and unpacked into a cache of ours; never installed.

Whoever fetches one says in ``remedy`` what to do where it cannot be had.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from ia2exit.errors import Ia2exitError

#: Told what is being done, one short text at a time.
Progress = Callable[[str], None]
#: The name that a file of a package gets in the folder; None: nobody wants it.
Placing = Callable[[str], str | None]

#: Seconds for a download or an unpacking.
_LIMIT = 1800


def cache_folder() -> Path:
    """Where what was fetched is kept: ``ia2exit`` of the user's cache (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "ia2exit"


def tool(name: str) -> str | None:
    """The path of a program of the host, system folders included."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def require(package: str, remedy: str) -> None:
    """The tools that fetch and unpack a package.

    Raises:
        Ia2exitError: one of them is missing.
    """
    for name, owner in (("apt-get", "apt"), ("apt-cache", "apt"), ("dpkg-deb", "dpkg")):
        if tool(name) is None:
            raise Ia2exitError(f"{name}: not found: expected Debian's {owner} to fetch the package {package}; {remedy}")


def run(*command: str | Path, folder: Path | None = None) -> str:
    """A tool's standard output.

    Raises:
        Ia2exitError: it failed, with the last line that it said.
    """
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


def download(package: str, folder: Path, remedy: str, *options: str | Path) -> Path:
    """Fetch one package into ``folder``; ``options`` are apt's, beside the host's own. Returns the file."""
    sandbox = ["-o", "APT::Sandbox::User=root"] if os.getuid() == 0 else []
    run("apt-get", *sandbox, *options, "-q", "download", package, folder=folder)
    return only(folder, "*.deb", package, remedy)


def only(folder: Path, pattern: str, package: str, remedy: str) -> Path:
    """The one file of that name that a package must have."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise Ia2exitError(f"{package}: {len(found)} files {pattern} in it: expected one, as in Debian's; {remedy}")
    return found[0]


def replace(unpacked: Path, folder: Path) -> None:
    """Make ``unpacked`` be ``folder``, unless somebody else has brought that meanwhile."""
    try:
        unpacked.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def unpack(package: Path, folder: Path, placing: Placing, remedy: str) -> None:
    """Unpack those files of a package that ``placing`` names, under the names that it gives them.

    Raises:
        Ia2exitError: it is no package, or there is no room for it.
    """
    with tempfile.TemporaryFile() as complaints:
        unpacking = ["dpkg-deb", "--fsys-tarfile", str(package)]
        process = subprocess.Popen(unpacking, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        wrong: Exception | None = None
        try:
            _extract(process, folder, placing)
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
        raise Ia2exitError(f"dpkg-deb --fsys-tarfile {package.name}: failed: {why}; {remedy}")
    if wrong is not None:
        raise Ia2exitError(f"{package.name}: cannot be unpacked: {wrong}; check the free space of {folder}")


def _extract(process: subprocess.Popen[bytes], folder: Path, placing: Placing) -> None:
    with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
        # The idiom of PEP 706: Python before 3.11.4 has no filters; the package is signed by the distribution.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        for member in archive:
            name = placing(member.name.removeprefix("./"))
            if name is not None:
                archive.extract(member.replace(name=name), folder)

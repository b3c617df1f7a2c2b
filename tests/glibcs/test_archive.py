"""Fetching another release's glibc, with stand-ins for apt and dpkg that may fail."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ia2exit.errors import Ia2exitError

from . import archive, known

ROWS = """\
Debian main bookworm-security http://archive.example/security/
Debian main bookworm-updates http://archive.example/debian/
Else main bookworm http://other.example/debian/
Debian contrib bookworm http://archive.example/debian/
Debian main bookworm http://archive.example/debian/
"""
#: apt-get: what it is asked goes to a file; `download` leaves a package.
APT_GET = """\
case " $* " in
*indextargets*) cat {rows} ;;
*" update "*) cp "$2" {asked}; cp "$(dirname "$2")"/parts/suite.sources {source} ;;
*download*) for package do :; done; touch "$package.deb" ;;
esac
"""
DPKG_DEB = """\
case "$1" in
--field) [ "$3" = Version ] && echo 2.99-1 || echo "libgcc-s1, {depends}" ;;
*) cat {package} ;;
esac
"""


class Host:
    """A machine whose apt and dpkg are scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = folder / "rows"
        self.asked = folder / "asked"
        self.source = folder / "source"
        self.package = folder / "package.tar"
        self.rows.write_text(ROWS)
        for name in ("sh", "cat", "cp", "touch", "dirname"):
            (folder / name).symlink_to(f"/usr/bin/{name}")
        self.tool("apt-cache", "exit 1")
        self.tool("apt-get", APT_GET.format(rows=self.rows, asked=self.asked, source=self.source))
        self.depends_on("nothing")
        self.pack("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/gconv/UTF-7.so")

    def tool(self, name: str, script: str) -> None:
        """What a tool does."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def depends_on(self, package: str) -> None:
        """What the package of glibc needs."""
        self.tool("dpkg-deb", DPKG_DEB.format(depends=package, package=self.package))

    def pack(self, *names: str) -> None:
        """What every package holds."""
        with tarfile.open(self.package, "w") as tar:
            for name in names:
                member = tarfile.TarInfo(f"./{name}")
                member.size = len(name)
                tar.addfile(member, io.BytesIO(name.encode()))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    (tmp_path / "host").mkdir()
    made = Host(tmp_path / "host")
    monkeypatch.setenv("PATH", str(made.folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


def test_the_archive_is_the_hosts_and_the_suite_another(host: Host) -> None:
    glibc = archive.fetch("trixie", lambda _: None)
    assert (glibc.name, glibc.package, glibc.version) == ("trixie", "2.99-1", "2.99")
    assert glibc.loader.is_file()
    assert (glibc.libraries / "gconv" / "UTF-7.so").is_file()
    source = host.source.read_text()
    assert "URIs: http://archive.example/debian/\nSuites: trixie\nComponents: main\n" in source
    assert 'Dir::Etc::sourcelist "/dev/null"' in host.asked.read_text()


def test_it_is_fetched_once(host: Host) -> None:
    first = archive.fetch("trixie", lambda _: None)
    host.tool("apt-get", "exit 1")
    assert archive.fetch("trixie", lambda _: None) == first
    assert [path.name for path in known.cache_folder().iterdir()] == ["trixie-2.99-1"]


def test_converters_come_from_a_package_of_their_own_where_they_are_in_one(host: Host) -> None:
    host.depends_on(f"{archive.CONVERTERS} (= 2.99-1)")
    said: list[str] = []
    archive.fetch("forky", said.append)
    assert f"unpacking {archive.CONVERTERS}.deb" in said


@pytest.mark.parametrize(
    ("name", "script", "why"),
    [
        ("apt-get", "echo 'E: no network' >&2; exit 100", "failed: E: no network"),
        ("apt-get", "exit 0", "no archive of Debian's: expected one among apt's sources"),
        ("dpkg-deb", "echo 2.99-1", "cannot be unpacked"),
    ],
)
def test_a_fetch_that_fails_says_why_and_leaves_nothing(host: Host, name: str, script: str, why: str) -> None:
    host.tool(name, script)
    with pytest.raises(Ia2exitError) as told:
        archive.fetch("trixie", lambda _: None)
    assert why in str(told.value)
    assert list(known.cache_folder().iterdir()) == []


def test_a_package_without_ld_so_is_none_of_glibc(host: Host) -> None:
    host.pack("usr/lib/x86_64-linux-gnu/libm.so.6")
    with pytest.raises(Ia2exitError, match=r"libc6: 0 files lib/ld-linux-x86-64\.so\.2 in it: expected one"):
        archive.fetch("trixie", lambda _: None)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("usr/lib/x86_64-linux-gnu/libc.so.6", "lib/libc.so.6"),
        ("lib/x86_64-linux-gnu/libc.so.6", "lib/libc.so.6"),
        ("usr/lib/x86_64-linux-gnu/gconv/gconv-modules.d/extra.conf", "lib/gconv/gconv-modules.d/extra.conf"),
        ("usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache", None),
        ("usr/share/doc/libc6/copyright", None),
        ("lib64/ld-linux-x86-64.so.2", None),
        ("usr/lib/x86_64-linux-gnu/audit/sotruss-lib.so", None),
    ],
)
def test_libraries_and_converters_are_unpacked(name: str, place: str | None) -> None:
    assert archive.placed(name) == place

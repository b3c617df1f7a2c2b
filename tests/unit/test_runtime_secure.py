"""AT_SECURE: a setuid or setgid program listens to nobody's ``IA2_*``."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from runtime_running import LIMIT, RUNTIME, build

#: Nobody: a user without rights, and a group that the program may change to.
USER, GROUP, OTHER_GROUP = 65534, 65534, 1


@dataclass(frozen=True)
class Place:
    """A folder that every user can enter, with a program linked to libia2.so and a folder for what it writes."""

    program: Path
    written: Path


@pytest.fixture
def place() -> Iterator[Place]:
    """Not one of pytest's folders, which are open to their owner only."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a setgid program for another group; run the tests as root")
    folder = Path(tempfile.mkdtemp(prefix="ia2exit-secure-"))
    try:
        folder.chmod(0o755)
        written = folder / "written"
        written.mkdir()
        written.chmod(0o777)
        runtime = shutil.copy(RUNTIME, folder / "libia2.so")
        # libia2.so as the first DT_NEEDED, by an absolute path in DT_RUNPATH: secure execution accepts that.
        program = build(folder, "secure.c", "-Wl,--no-as-needed", runtime, f"-Wl,-rpath,{folder}")
        yield Place(program, written)
    finally:
        shutil.rmtree(folder)


def run_as_nobody(place: Place, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [place.program],
        env={"PATH": "/usr/bin:/bin", **environment},
        user=USER,
        group=GROUP,
        extra_groups=[],
        cwd=place.written,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )


def settings(place: Place) -> dict[str, str]:
    """Everything that leaves something behind, and values that are complained about."""
    return {
        "IA2_TRACE_EXIT": str(place.written / "trace"),
        "IA2_DIAG_EXIT": str(place.written / "counters"),
        "IA2_EXIT_MAP": "/nonexistent/map",
        "IA2_EXIT_MODE": "no such mode",
        "IA2_EXIT_BACKEND": "no such backend",
        "IA2_EXIT_SCRUB": "1",
    }


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({}, "IA2_EXIT_MODE: expected observe, enforce or contain, not: no such mode"),
        ({"IA2_EXIT_MODE": "observe"}, "IA2_EXIT_BACKEND: expected auto, pku, mprotect or none, not: no such backend"),
    ],
)
def test_a_program_that_is_not_secure_is_refused_what_it_cannot_have(
    place: Place, given: dict[str, str], refusal: str
) -> None:
    """Without this and the next one, the tests below could pass for another reason."""
    done = run_as_nobody(place, **{**settings(place), **given})
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines() == [
        "libia2.so: /nonexistent/map: exit map cannot be opened",
        f"libia2.so: {refusal}",
    ]


def test_a_program_that_is_not_secure_listens(place: Place) -> None:
    done = run_as_nobody(place, **{**settings(place), "IA2_EXIT_MODE": "observe", "IA2_EXIT_BACKEND": "auto"})
    assert done.returncode == 3
    assert done.stdout == b"secure 0, other group 0, IA2_ variables 0\nhandler\n"
    assert {path.name for path in place.written.iterdir()} == {"trace", "counters"}
    assert done.stderr == b"libia2.so: /nonexistent/map: exit map cannot be opened\n"


def test_a_setgid_program_listens_to_nothing(place: Place) -> None:
    os.chown(place.program, -1, OTHER_GROUP)
    place.program.chmod(0o2755)
    given = settings(place)
    done = run_as_nobody(place, **given)
    assert done.returncode == 3
    assert done.stdout == f"secure 1, other group 1, IA2_ variables {len(given)}\nhandler\n".encode()
    assert done.stderr == b""
    assert list(place.written.iterdir()) == []
    done = run_as_nobody(place, **{**given, "IA2_TRACE_EXIT": "1", "IA2_DIAG_EXIT": "fd:2"})
    assert (done.returncode, done.stderr) == (3, b"")


def test_a_setuid_program_listens_to_nothing(place: Place) -> None:
    place.program.chmod(0o4755)
    done = run_as_nobody(place, **settings(place))
    assert done.returncode == 3
    assert done.stdout.startswith(b"secure 1, ")
    assert done.stderr == b""
    assert list(place.written.iterdir()) == []


def test_a_setgid_program_takes_no_preloaded_runtime(place: Place) -> None:
    """What is preloaded by path is dropped by ld.so: a program that is not linked with us never meets us."""
    plain = build(place.program.parent, "secure.c", name="plain")
    os.chown(plain, -1, OTHER_GROUP)
    plain.chmod(0o2755)
    preload = {"LD_PRELOAD": str(place.program.parent / "libia2.so")}
    done = run_as_nobody(Place(plain, place.written), **preload, **settings(place))
    assert done.returncode == 3
    assert done.stdout.startswith(b"secure 1, ")
    assert b"libia2.so: /nonexistent" not in done.stderr
    assert list(place.written.iterdir()) == []

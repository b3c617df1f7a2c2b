"""A glibc that the runtime does not know is refused in one line; nothing about it is guessed at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from runtime_running import RUNTIME, Outcome, library, run

#: What is different -> how the fixture is compiled, and what is said of it.
STRANGE = {
    "older": ('-DVERSION="2.31"', r"glibc 2\.31 was found: expected 2\.35 or a later 2"),
    "a-little-older": ('-DVERSION="2.34.9000"', r"glibc 2\.34\.9000 was found: expected 2\.35 or a later 2"),
    "another-major": ('-DVERSION="3.1"', r"glibc 3\.1 was found: expected 2\.35 or a later 2"),
    "no-number": ('-DVERSION="unknown"', r"glibc unknown was found: expected 2\.35 or a later 2"),
    "no-counts": ("-DSHORT", r"dl_iterate_phdr tells 32 bytes of an object: expected dlpi_adds and dlpi_subs, too"),
    "not-counted": ("-DUNCOUNTED", r"dl_iterate_phdr counts no objects \(dlpi_adds is 0\): expected as many as came"),
    "another-base": (
        "-DMOVED",
        r"the link_map of \S+/libc\.so\.6 has base 0x\w+ and dynamic section 0x\w+: expected 0x\w+ and 0x\w+, "
        r"as dl_iterate_phdr has it",
    ),
    "without-us": (
        "-DWITHOUT_US",
        r"dl_iterate_phdr and _dl_find_object do not show libia2\.so: expected all loaded objects",
    ),
    "a-hook": ("-DHOOKED", r"__ia2_dl_fini_hook is in \S+/stranger\.so: expected none, or that of a patched ld\.so"),
}
#: Writes its output in an exit handler.
COMMAND = ["/bin/echo", "said"]


@pytest.fixture(params=STRANGE)
def stranger(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """Such a libc, and what is said of it."""
    flag, said = STRANGE[request.param]
    return library(tmp_path, "stranger.c", "stranger.so", flag), said


def preloaded(stranger: Path, **given: str) -> tuple[Outcome, bool]:
    """What a program does under both; and whether there was any trace."""
    trace = stranger.parent / "trace"
    outcome = run(COMMAND, LD_PRELOAD=f"{stranger}:{RUNTIME}", IA2_TRACE_EXIT=str(trace), **given)
    return outcome, trace.exists() and trace.stat().st_size > 0


@pytest.mark.parametrize("given", [{}, {"IA2_EXIT_MODE": "observe"}, {"IA2_EXIT_BACKEND": "mprotect"}], ids=str)
def test_the_program_runs_without_us(stranger: tuple[Path, str], given: dict[str, str]) -> None:
    library_, said = stranger
    outcome, traced = preloaded(library_, **given)
    assert (outcome.status, outcome.stdout, traced) == (0, b"said\n", False)
    assert re.fullmatch(rf"libia2\.so: {said}: the program runs without us\n", outcome.stderr.decode())


@pytest.mark.parametrize(
    "given", [{"IA2_EXIT_MODE": "enforce"}, {"IA2_EXIT_MODE": "contain"}, {"IA2_EXIT_MAP": "/some/map"}], ids=str
)
def test_what_cannot_be_enforced_is_refused(stranger: tuple[Path, str], given: dict[str, str]) -> None:
    library_, said = stranger
    outcome, traced = preloaded(library_, **given)
    assert (outcome.status, outcome.stdout, traced) == (2, b"", False)
    assert re.fullmatch(rf"libia2\.so: {said}: nothing can be enforced here\n", outcome.stderr.decode())


def test_the_old_way_asks_nothing_of_glibc(tmp_path: Path) -> None:
    old = library(tmp_path, "stranger.c", "stranger.so", STRANGE["older"][0])
    outcome, _ = preloaded(old, IA2_EXIT_FORCE_LEGACY="1")
    assert (outcome.status, outcome.stdout) == (0, b"said\n")
    assert b"was found" not in outcome.stderr

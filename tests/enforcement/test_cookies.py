"""Callbacks of fopencookie: each runs with the rights of the object that holds it, whoever uses the stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from .watching import (
    CONTAIN,
    CONTROL,
    ENFORCE,
    OBSERVE,
    SIGSEGV,
    Way,
    build,
    check_unnoticed,
    kept,
    library,
    run,
    watch,
)

STATUS = 7
#: What is no violation: each with a line that the program prints.
GOOD = {
    "use": b"library: read=6\nlibrary: e stre\nlibrary: closed=0\n",
    "fail": b"errno=28\n",
    "nothing": b"library: closed=0\n",
    "hand-over": b"library: put=24576\n",
    "many": b"main: size=2096\nmain: at=2096\nmain: closed=100\n",
}
#: Violations: whose memory is touched, how, and what is so because that was not done.
BAD = {
    "intrude": ("cookies", "write", b"main secret: kept\n"),
    "meddle": ("libcookies.so", "write", b"library byte: kept\n"),
    "launder": ("cookies", "read", b"library: taken=15\n"),
}

every_way = pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
every_closing_way = pytest.mark.parametrize("way", [*OBSERVE, *ENFORCE, *CONTAIN], ids=str)


@pytest.fixture(scope="module")
def program() -> Path:
    folder = kept("cookies")
    return build(folder, "cookies.c", library(folder, "cookies_library.c", name="libcookies.so"))


@pytest.mark.control
@pytest.mark.parametrize("scenario", GOOD)
@every_way
def test_callbacks_work_as_they_always_did(program: Path, tmp_path: Path, scenario: str, way: Way) -> None:
    outcome = check_unnoticed([program, scenario], way, tmp_path / "trace")
    assert outcome.status == STATUS
    assert GOOD[scenario] in outcome.stdout
    assert b"library: taken=15\n" in outcome.stdout, "in main's destructor the library's callback ran"


@pytest.mark.enforces
@pytest.mark.parametrize("scenario", BAD)
@every_closing_way
def test_a_callback_has_no_more_rights_and_leaves_none_behind(
    program: Path, tmp_path: Path, scenario: str, way: Way
) -> None:
    """Touched are: main after its callback has run; the library by main's callback; what the library hands its own."""
    victim, access, kept = BAD[scenario]
    outcome = watch([program, scenario], way, tmp_path / "trace")
    (event,) = outcome.violations
    assert event.victim_name == victim
    assert (event.via, event.access, event.handler) == ("instruction", access, False)
    assert event.destructor is not None
    assert event.destructor.owner_name == "libcookies.so"
    if way.mode == "enforce":
        assert outcome.status == SIGSEGV
    else:
        assert outcome.status == STATUS
        assert (kept in outcome.stdout) == (way.mode == "contain")
    if way.mode == "observe":
        assert outcome.seen == run([program, scenario]).seen

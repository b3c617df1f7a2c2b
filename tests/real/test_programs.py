"""Unmodified programs of the distribution behave under the runtime as they do without it (programs.toml).

Nothing is enforced here: every object is in a compartment of its own, and what crosses is logged and let through.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from real_programs import PRELOADS, PROGRAMS, Covered, Program, check_lines, check_same, require, run, run_covered


def cases() -> list[object]:
    """All programs under either backend with nothing preloaded, with jemalloc and with libasan."""
    return [
        pytest.param(name, backend, preload, id="-".join(filter(None, (name, backend, preload))))
        for preload in PRELOADS
        for backend in ("none", "mprotect")
        for name, program in PROGRAMS.items()
        if preload not in program.not_with
    ]


@pytest.mark.parametrize(("name", "backend", "preload"), cases())
def test_same_as_without_us(name: str, backend: str, preload: str, tmp_path: Path) -> None:
    program, library = PROGRAMS[name], PRELOADS[preload]
    require(program.path, library)
    preloaded = [library] if library else []
    vanilla = run(program, [], tmp_path / "run", preloaded)
    options = ["--mode", "observe", "--backend", backend]
    ours = run_covered(program, options, tmp_path / "run", preloaded)

    check_same(program, vanilla, ours)
    check_trace(program, ours, backend)
    check_report(program, ours.report)


def check_trace(program: Program, ours: Covered, backend: str) -> None:
    """The events are those that the table expects."""
    process = check_lines(ours.lines)
    assert process.start
    assert (process.start.backend, process.start.mode) == (backend, "observe")
    objects = [event for event in process.objects if event.when != "unload"]
    assert len(objects) >= program.min_objects
    assert sum(event.when == "load" for event in objects) >= program.min_loaded
    assert {row.kind for row in process.destructors} >= program.kinds
    assert not process.faults
    assert (process.missed > 0) == program.left
    assert [row.order for row in process.destructors] == list(range(1, len(process.destructors) + 1))
    if backend == "none":
        assert not process.violations
    assert all(violation.action == "opened" for violation in process.violations)


def check_report(program: Program, report: str) -> None:
    """The report says what became of a program that did not simply exit."""
    assert report
    for child in program.children:
        assert re.search(rf"not followed \(.*\b{child}\b.*\); use --follow", report), report
    if program.replaced_by:
        assert f"replaced itself by {program.replaced_by}, which was not followed; use --follow" in report
    if program.signal:
        assert f"was ended by {program.signal}" in report

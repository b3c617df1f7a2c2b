"""What the lanes' judge (tests/guest/judging.py) takes for proof, and what it does not."""

from __future__ import annotations

import json
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from tests.guest.judging import Outcomes, by_backend, judge, judge_glibc, judge_host

GOOD = {"test_stops": "passed enforces", "test_works": "passed control", "test_recipe": "passed debugger"}
UNSWITCHED = {"test_stops": "failed enforces", "test_works": "passed control"}


def junit(path: Path, cases: dict[str, str]) -> None:
    """A JUnit file as pytest writes it; behind the outcome of a test its markers."""
    bodies = {"passed": "", "failed": "<failure/>", "error": "<error/>", "skipped": '<skipped message="no"/>'}
    inner = ""
    for name, said in cases.items():
        outcome, *markers = said.split()
        told = "".join(f"<property name='{marker}' value='yes'/>" for marker in markers)
        inner += f"<testcase classname='m' name={quoteattr(name)}><properties>{told}</properties>"
        inner += f"{bodies[outcome]}</testcase>"
    path.write_text(f"<testsuites><testsuite name='pytest' tests='{len(cases)}'>{inner}</testsuite></testsuites>")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Those of a lane with which all is well."""
    junit(tmp_path / "c.xml", {"phase2": "passed"})
    junit(tmp_path / "python.xml", GOOD)
    junit(tmp_path / "c-unswitched.xml", {"phase2": "failed"})
    junit(tmp_path / "python-unswitched.xml", UNSWITCHED)
    (tmp_path / "steps.json").write_text(json.dumps({"ways": [{"instructions": 900, "wrpkru": 4}]}))
    (tmp_path / "place.json").write_text(json.dumps({"cpu": "an emulated one", "kernel": "6.1"}))
    return tmp_path


def test_all_is_well(results: Path) -> None:
    lane = judge("guest", results)
    assert lane.problems == []
    assert lane.counts == {"C": (1, 0, 0), "Python": (3, 0, 0)}
    assert lane.proven == ["m::phase2", "m::test_stops"]
    assert lane.switch == (900, 4)
    assert lane.place == "an emulated one, Linux 6.1"


WRONG = {
    "a test fails": ("python.xml", {**GOOD, "test_more": "failed"}, "m::test_more: failed"),
    "no test ran": ("python.xml", {}, "no Python test ran"),
    "no debugger": ("python.xml", {"test_stops": "passed enforces"}, "no test of the debugger ran"),
    "only the debugger": ("python.xml", {"test_recipe": "passed debugger"}, "no Python test but the debugger's ran"),
    "all were skipped": ("c.xml", {"phase2": "skipped"}, "no C test ran"),
    "an assertion cannot fail": (
        "python-unswitched.xml",
        {**UNSWITCHED, "test_more": "passed enforces"},
        "m::test_more: passes with a runtime that closes nothing",
    ),
    "an assertion skips itself": (
        "python-unswitched.xml",
        {**UNSWITCHED, "test_more": "skipped enforces"},
        "m::test_more: skipped with a runtime that closes nothing",
    ),
    "no assertion was tried": (
        "python-unswitched.xml",
        {"test_works": "passed control"},
        "no Python test was shown to fail",
    ),
    "another was tried": (
        "python-unswitched.xml",
        {**UNSWITCHED, "test_else": "failed enforces"},
        "m::test_else: was not tried with the switch",
    ),
    "everything fails there": (
        "python-unswitched.xml",
        {"test_stops": "failed enforces", "test_works": "failed control"},
        "m::test_works: fails in the control group",
    ),
    "nothing was compared with": (
        "python-unswitched.xml",
        {"test_stops": "failed enforces"},
        "no test of the control group ran",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_proof(results: Path, what: str) -> None:
    file, cases, problem = WRONG[what]
    junit(results / file, cases)
    assert any(found.startswith(problem) for found in judge("guest", results).problems)


@pytest.mark.parametrize("file", ["c.xml", "python.xml", "c-unswitched.xml", "python-unswitched.xml"])
def test_a_part_that_did_not_run_is_a_problem(results: Path, file: str) -> None:
    (results / file).unlink()
    assert judge("guest", results).problems != []


@pytest.mark.parametrize("steps", ["", '{"ways": []}', '{"ways": [{"instructions": 9, "wrpkru": 5}]}'])
def test_a_switch_is_counted_and_takes_four_wrpkru_at_most(results: Path, steps: str) -> None:
    (results / "steps.json").write_text(steps)
    assert len(judge("guest", results).problems) == 1


def test_the_host_lane_proves_nothing_else(results: Path) -> None:
    lane = judge_host(results)
    assert (lane.problems, lane.proven, lane.switch) == ([], [], None)


# ---- other glibcs ----


@pytest.fixture
def with_another_glibc(results: Path) -> Path:
    """Those of such a lane with which all is well."""
    junit(results / "loader.xml", {"test_order": "passed"})
    (results / "place.json").write_text(json.dumps({"cpu": "a CPU", "kernel": "6.1", "glibc": "2.41"}))
    (results / "expected").write_text("2.41")
    (results / "seconds").write_text("240")
    return results


def test_a_lane_of_another_glibc(with_another_glibc: Path) -> None:
    lane = judge_glibc("glibc-trixie", with_another_glibc)
    assert (lane.problems, lane.glibc, lane.seconds) == ([], "2.41", 240)
    assert lane.counts == {"C": (1, 0, 0), "Python": (4, 0, 0)}


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("loader.xml", "no test of ld.so itself ran"),
        ("c.xml", "no C test ran"),
        ("place.json", "it ran with glibc unknown: expected 2.41"),
    ],
)
def test_what_is_missing_from_such_a_lane_is_a_problem(with_another_glibc: Path, file: str, problem: str) -> None:
    (with_another_glibc / file).unlink()
    assert judge_glibc("glibc-trixie", with_another_glibc).problems == [problem]


def test_the_hosts_glibc_is_not_another(with_another_glibc: Path) -> None:
    (with_another_glibc / "place.json").write_text(json.dumps({"cpu": "a CPU", "kernel": "6.1", "glibc": "2.36"}))
    lane = judge_glibc("glibc-trixie", with_another_glibc)
    assert lane.problems == ["it ran with glibc 2.36: expected 2.41"]


def test_tests_are_told_apart_by_the_backend_that_they_ask_for() -> None:
    names = {
        "m::test_a[observe-none]": "none",
        "m::test_a[enforce-mprotect-page]": "mprotect",
        "m::test_a[contain-pku]": "pku",
        "m::test_both[none-mprotect]": "",
        "m::test_with_mprotect_in_its_name": "",
        "tests.pku.test_keys::test_b": "pku",
    }
    tests = Outcomes(passed=frozenset(names))
    found = {backend: one.passed for backend, one in by_backend(tests).items()}
    assert found == {backend: {name for name, own in names.items() if own == backend} for backend in found}

"""What every Python test obeys.

In CI (``CI=true``) a skipped test is a failure with its reason: a lane that did not run has proved nothing. So is a run
that has no tests, by pytest's own exit status 5.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def _reason(longrepr: object) -> str:
    """Why a test was skipped, from a report's ``longrepr`` (path, line, reason)."""
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure in CI; an expected failure (xfail) stays one."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped, which CI does not accept: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module or folder that skips itself while it is collected."""
    report = yield
    if IN_CI and report.outcome == "skipped":
        reason = _reason(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped, which CI does not accept: {reason}"
    return report


def pytest_pycollect_makemodule(module_path: Path) -> None:
    """No property test fails for being slow: a machine may be busy.

    Said where there are property tests: to import hypothesis takes the emulated CPU of tests/guest half a minute.
    """
    if "hypothesis" in module_path.read_text():
        from hypothesis import settings

        settings.register_profile("ia2exit", deadline=None)
        settings.load_profile("ia2exit")


#: Markers that the judge of a lane goes by (tests/guest/judging.py).
TOLD = ("enforces", "control", "debugger")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell those of a test in the JUnit report, as properties."""
    for item in items:
        item.user_properties += [(name, "yes") for name in TOLD if item.get_closest_marker(name)]


@pytest.fixture(params=[False, True], ids=["preloaded", "audited"])
def either_way(request: pytest.FixtureRequest) -> Iterator[bool]:
    """For tests/unit: once by LD_PRELOAD alone and once with the audit module; the value says whether it is there."""
    from runtime_running import Ways  # beside the tests that ask for it

    Ways.audited = request.param
    yield request.param
    Ways.audited = False

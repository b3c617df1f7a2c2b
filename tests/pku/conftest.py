"""Tests that look at the register PKRU: they run where there are protection keys; elsewhere nothing is collected.

``IA2EXIT_PKU=1`` says that it has some (tests/guest): then a machine without keys is a failure.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: The flags in /proc/cpuinfo of a CPU and a kernel that have protection keys.
NEEDED = {"pku", "ospke"}

pytest.register_assert_rewrite(f"{__package__}.running")

_flags = set(Path("/proc/cpuinfo").read_text().split())
collect_ignore_glob = [] if _flags >= NEEDED or os.environ.get("IA2EXIT_PKU") == "1" else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def protection_keys() -> None:
    """Fail, rather than skip, on a machine without protection keys."""
    assert _flags >= NEEDED, f"IA2EXIT_PKU=1, but this CPU or kernel has no {', '.join(sorted(NEEDED - _flags))}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All here are with that backend, whatever mode they are in."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("pku")
            item.add_marker("enforced")

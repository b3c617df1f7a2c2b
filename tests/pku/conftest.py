"""Tests that look at the register PKRU: they run where the CPU has protection keys, and only when they are asked for.

``IA2EXIT_PKU=1`` asks for them; then a machine without keys is a failure. Without it nothing here is collected.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: The flags in /proc/cpuinfo of a CPU and a kernel that have protection keys.
NEEDED = {"pku", "ospke"}

pytest.register_assert_rewrite(f"{__package__}.running")

collect_ignore_glob = [] if os.environ.get("IA2EXIT_PKU") == "1" else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def protection_keys() -> None:
    """Fail, rather than skip, on a machine without protection keys."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert flags >= NEEDED, f"IA2EXIT_PKU=1, but this CPU or kernel has no {', '.join(sorted(NEEDED - flags))}"

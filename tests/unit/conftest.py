"""Fixtures of several modules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from runtime_running import Ways


@pytest.fixture(params=[False, True], ids=["preloaded", "audited"])
def either_way(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Once by LD_PRELOAD alone and once with the audit module; the value says whether it is there."""
    Ways.audited = request.param
    yield request.param
    Ways.audited = False

"""Marks tests by the way in which they watch (watching.Way), so that a lane can choose them."""

from __future__ import annotations

import pytest

from .watching import Way


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``pku``: with that backend; ``enforced``: in mode enforce."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        way = callspec.params.get("way") if callspec else None
        if isinstance(way, Way):
            if way.backend == "pku":
                item.add_marker("pku")
            if way.mode == "enforce":
                item.add_marker("enforced")

"""What the tests of real programs share."""

from __future__ import annotations

from pathlib import Path

import pytest
from enforcing import PASSENGERS, compiled


@pytest.fixture(scope="session")
def passengers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The passengers, compiled: compartment -> library."""
    folder = tmp_path_factory.mktemp("passengers")
    return {name: compiled("passenger.c", folder / f"lib{name}.so") for name in PASSENGERS}

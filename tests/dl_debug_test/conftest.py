"""The fixture that tests of the test bed share."""

from __future__ import annotations

import pytest

from .bed import MAP, PROGRAM, VANILLA, Bed


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    """The test bed, built."""
    for file in (PROGRAM, VANILLA, MAP):
        if not file.exists():
            pytest.skip(f"{file} is not there: cmake -G Ninja -B build && ninja -C build")
    return Bed(tmp_path_factory)

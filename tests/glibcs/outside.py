"""Runs what compares another glibc with the host's: tests that start programs with both.

python -m tests.glibcs.outside FOLDER BUILD RESULTS      FOLDER: that of the glibc in the cache
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.guest.suites import pytest


def main() -> int:
    """Run them. What their results say is for the lane to judge."""
    folder, build, results = (Path(argument).resolve() for argument in sys.argv[1:4])
    pytest(build, results / "loader.xml", ["tests/glibcs/test_loader.py"], IA2EXIT_GLIBC=str(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())

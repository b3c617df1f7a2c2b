"""What `entering.py` refuses; what it does, the lanes show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENTERING = Path(__file__).with_name("entering.py")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage: python tests/glibcs/entering.py FOLDER COMMAND…"),
        (["/"], "usage: python tests/glibcs/entering.py FOLDER COMMAND…"),
        (["/nowhere", "true"], "/nowhere: no ld-linux-x86-64.so.2 in it: expected the libraries of a glibc"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, ENTERING, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert said in done.stderr

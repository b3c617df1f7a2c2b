"""Commands through relay and agent without a guest, for the tests of ``ia2exit vm``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for anything that is waited for.
LIMIT = 60


def driver(command: Sequence[str | bytes], *, timeout: float = 0) -> list[str | bytes]:
    """What runs a command so."""
    return [sys.executable, str(ROOT / "tests" / "unit" / "vm_fixtures" / "relaying.py"), str(timeout), *command]


def environment(cache: Path | None = None, **more: str) -> dict[str, str]:
    """The driver's, with a cache of its own."""
    paths = {"PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(cache or "/nonexistent")}
    return {**os.environ, **paths, **more}


def relayed(
    command: Sequence[str | bytes],
    *,
    timeout: float = 0,
    env: Mapping[Any, Any] | None = None,
    input: bytes = b"",
    **more: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command so, to its end."""
    if "stdin" not in more:
        more["input"] = input
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        driver(command, timeout=timeout),
        env=environment() if env is None else env,
        capture_output=True,
        timeout=LIMIT,
        check=False,
        **more,
    )
    return done

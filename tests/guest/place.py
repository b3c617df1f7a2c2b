"""Where a lane ran: CPU model, kernel and glibc, in ``place.json``.

python -m tests.guest.place RESULTS
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path


def write_place(results: Path) -> None:
    """Make the folder, and say in it where this is."""
    results.mkdir(parents=True, exist_ok=True)
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    _, _, glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")  # of this very process
    (results / "place.json").write_text(json.dumps({"cpu": model, "kernel": platform.release(), "glibc": glibc}))


if __name__ == "__main__":
    write_place(Path(sys.argv[1]))

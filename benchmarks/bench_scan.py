"""Scanning the distribution's library folder: without disassembly against readelf, with it against bytes of code.

The baseline is ``readelf -dWs`` once for each file that scan reads. With disassembly each file is timed by itself in
one process, and time = c * bytes^k is fitted to the files with code enough to measure: k near 1 is linear.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from harness import TIME_LIMIT, Result, alternate, finish, milliseconds, plain_environment, ratio
from ia2exit.elf.image import ElfImage
from ia2exit.elf.loader import DEFAULT_INTERPRETER
from ia2exit.model import ScanResult, from_json
from ia2exit.scanning.one import scan_object

FOLDER = Path(DEFAULT_INTERPRETER).resolve().parent
ROUNDS = 3
READELF_LIMIT = 1.0
#: Largest exponent that still counts as linear: smaller files carry costs that do not grow with their code.
LINEAR_LIMIT = 1.1
#: Files with less code are measured, but not fitted: their time is not that of their code.
SMALLEST = 1 << 20


def main() -> int:
    """Measure, print, judge."""
    scan = [sys.executable, "-m", "ia2exit", "scan", str(FOLDER)]
    environment = plain_environment()
    listed = subprocess.run(
        [*scan, "--json", "--no-disassembly"], env=environment, capture_output=True, timeout=TIME_LIMIT, check=True
    )
    files = [scanned.path for scanned in from_json(listed.stdout, ScanResult).objects]

    def readelf() -> float:
        return sum(milliseconds(["readelf", "-dWs", file], env=environment) for file in files)

    fast = alternate(readelf, lambda: milliseconds([*scan, "--no-disassembly"], env=environment), rounds=ROUNDS)
    slow = [milliseconds(scan, env=environment) for _ in range(ROUNDS)]
    sizes, seconds = timed(files)
    total = sum(sizes)
    exponent, megabytes = fitted(sizes, seconds)
    return finish(
        "scan",
        [
            ratio(
                f"scan of {len(files)} objects / readelf of each",
                *fast,
                limit=READELF_LIMIT,
                side_unit="ms",
                command=f"ia2exit scan --no-disassembly {FOLDER}",
                note=f"{total / 1e6:.0f} MB of code in {len(files)} objects below {FOLDER}",
            ),
            Result(
                name="the same with disassembly",
                value=float(np.median(slow)),
                unit="ms",
                spread=(min(slow), max(slow)),
                command=f"ia2exit scan {FOLDER}",
            ),
            Result(name="code disassembled in one process", value=megabytes, unit="MB/s"),
            Result(
                name="k in time = c * bytes^k",
                value=exponent,
                unit="",
                limit=LINEAR_LIMIT,
                note=f"fitted to the files with {SMALLEST >> 20} MiB of code or more",
            ),
        ],
    )


def timed(files: list[str]) -> tuple[list[int], list[float]]:
    """Bytes of executable segments, and the best of two times to scan, of each file."""
    sizes: list[int] = []
    seconds: list[float] = []
    for file in files:
        sizes.append(sum(segment.filesz for segment in ElfImage(file).loads if segment.executable))
        seconds.append(min(once(file) for _ in range(2)))
    return sizes, seconds


def once(file: str) -> float:
    """Seconds that one scan of a file takes in this process."""
    start = time.perf_counter()
    scan_object(file, disassemble=True)
    return time.perf_counter() - start


def fitted(sizes: list[int], seconds: list[float]) -> tuple[float, float]:
    """Exponent of the power law through the larger files (least squares on logarithms), and MB/s over all files."""
    size, second = np.array(sizes, dtype=float), np.array(seconds)
    large = size >= SMALLEST
    if large.sum() < 3:
        sys.exit(f"{FOLDER}: {large.sum()} objects with {SMALLEST} bytes of code, expected 3; install more libraries")
    exponent = float(np.polyfit(np.log(size[large]), np.log(second[large]), 1)[0])
    return exponent, float(size.sum() / second.sum() / 1e6)


if __name__ == "__main__":
    sys.exit(main())

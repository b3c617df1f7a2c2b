"""`make bench`: run every ``benchmarks/bench_*.py`` in turn; exit status 1 if one fails or breaks a limit.

With arguments, only those whose names are given: ``python benchmarks/run_all.py handlers``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: Seconds that one benchmark may take.
TIME_LIMIT = 1800


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all; returns the exit status."""
    folder = Path(__file__).resolve().parent
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(folder.glob("bench_*.py"))}
    unknown = [name for name in names if name not in scripts]
    if unknown:
        print(f'bench: no benchmark "{unknown[0]}": expected one of {", ".join(scripts)}', file=sys.stderr)
        return 2
    failed = []
    for name in names or scripts:
        try:
            status = subprocess.run([sys.executable, scripts[name]], timeout=TIME_LIMIT, check=False).returncode
        except subprocess.TimeoutExpired:
            print(f"{name}: still running after {TIME_LIMIT} s", file=sys.stderr)
            status = 1
        if status:
            failed.append(name)
        print(flush=True)
    print(f"bench: failed: {', '.join(failed)}" if failed else "bench: every limit is kept")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

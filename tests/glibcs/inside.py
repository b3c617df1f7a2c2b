"""Runs where another glibc is in place of the host's (:mod:`.entering`): what may depend on it.

    python -m tests.glibcs.inside BUILD RESULTS

All that runs programs under the runtime, or asks ld.so and libc about this process: every C test, the tests of
enforcement and of the test bed, those of the runtime, and the real programs. Not what reads files and works them out in
Python (scan, map, check, policies, reports), the guest, and gdb's views. ThreadSanitizer is made for one libc.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.guest.place import write_place
from tests.guest.suites import ROOT, c_tests, pytest

C_TESTS = ["-E", "_tsan$"]
FOLDERS = ("tests/enforcement", "tests/pku", "tests/dl_debug_test")
#: It compares files with the map of the test bed, which names the host's glibc by its build ID.
NOT = "tests/dl_debug_test/test_two_keys.py"
FILES = ("tests/unit/test_runtime_*.py", "tests/unit/test_dispatch_*.py", "tests/real/test_programs.py")


def main() -> int:
    """Run them and count. What their results say is for the lane to judge."""
    build, results = (Path(argument).resolve() for argument in sys.argv[1:3])
    write_place(results)
    c_tests(build, results / "c.xml", C_TESTS)
    files = sorted(str(path.relative_to(ROOT)) for pattern in FILES for path in ROOT.glob(pattern))
    pytest(build, results / "python.xml", [*FOLDERS, *files, f"--ignore={NOT}"])
    return 0


if __name__ == "__main__":
    sys.exit(main())

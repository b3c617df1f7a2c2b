"""Runs where there are protection keys, in the guest or natively: the tests of enforcement with the backend ``pku``.

    python -m tests.guest.inside guest|native BUILD RESULTS

Twice: first with the runtime as it is, and all must pass. Then with one that closes nothing (``BUILD/unswitched``): of
those marked ``enforces`` each must fail, and those marked ``control`` must pass, or that failing would prove nothing.
What happened lies in RESULTS afterwards (JUnit XML, ``place.json``, ``steps.json``); :mod:`.lane` judges it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .place import write_place
from .suites import LIMIT, c_tests, pytest

#: Tests of the C suites that are about enforcement; some of them in programs that load the runtime that the environment
#: names.
C_ENFORCING = "^dl_debug_transitions_of_"
C_TESTS = f"{C_ENFORCING}|^dl_debug_compartment_fini_uses_|^unit_switch$|^unit_guard$"
PYTHON_TESTS = ["tests/pku", "tests/enforcement"]
#: A debugger's view: the sessions of the docs, and PKRU decoded by key. First, for they take longest.
DEBUGGER_TESTS = ["tests/unit/test_debugger_verb.py", "tests/unit/test_debugger_panels.py"]
#: What says that memory is closed, in each mode; and all the rest in one mode, where emulation takes its time.
CHOICE = {"guest": "debugger or pku and (enforces or enforced)", "native": "debugger or pku"}
#: Without the switch; in one session, for each start of pytest takes the guest half a minute.
PROOF = [*PYTHON_TESTS, "-m", "pku and (enforces or control)", "--tb=no", "-rN", "--assert=plain"]
#: The machine has keys: a test that finds none fails, and the test bed takes no other backend.
WITH_KEYS = {"IA2EXIT_PKU": "1", "DL_DEBUG_BACKENDS": "pku"}


def main() -> int:
    """Run both passes and count. Returns 0 when all of it could be run; what it says is for the lane to judge."""
    lane = sys.argv[1]
    build, results = (Path(argument).resolve() for argument in sys.argv[2:4])
    write_place(results)
    unswitched = build / "unswitched" / "libia2.so"
    c_tests(build, results / "c.xml", ["-R", C_TESTS], **WITH_KEYS)
    pytest(build, results / "python.xml", [*DEBUGGER_TESTS, *PYTHON_TESTS, "-m", CHOICE[lane]], **WITH_KEYS)
    other = {"LD_LIBRARY_PATH": str(unswitched.parent)}
    c_tests(build, results / "c-unswitched.xml", ["-R", C_ENFORCING], **WITH_KEYS, **other)
    other = {"IA2EXIT_TEST_RUNTIME": str(unswitched)}
    pytest(build, results / "python-unswitched.xml", PROOF, **WITH_KEYS, **other)
    with (results / "steps.json").open("wb") as counted:
        steps = [build / "tests" / "pku" / "steps", build / "libia2.so", build / "tests" / "pku" / "alternating"]
        subprocess.run(steps, stdout=counted, timeout=LIMIT, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

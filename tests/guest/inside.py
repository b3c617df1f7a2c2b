"""Runs where there are protection keys, in the guest or natively: the tests of enforcement with the backend ``pku``.

    python -m tests.guest.inside guest|native BUILD RESULTS

Twice: first with the runtime as it is, and all must pass. Then with one that closes nothing (``BUILD/unswitched``): of
those marked ``enforces`` each must fail, and the others of a control group must pass, or that failing would prove
nothing. What happened lies in RESULTS afterwards (JUnit XML, ``place.json``, ``steps.json``); :mod:`.lane` judges it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .place import write_place

ROOT = Path(__file__).resolve().parents[2]
#: Tests of the C suites that are about enforcement; some of them in programs that load the runtime that the environment
#: names.
C_ENFORCING = "^dl_debug_transitions_of_"
C_TESTS = f"{C_ENFORCING}|^dl_debug_compartment_fini_uses_|^unit_switch$|^unit_guard$"
PYTHON_TESTS = ["tests/pku", "tests/enforcement"]
#: What says that memory is closed, in each mode; and all the rest in one mode, where emulation takes its time.
CHOICE = {"guest": "pku and (enforces or enforced)", "native": "pku"}
#: A debugger's view: the sessions of the docs, and PKRU decoded by key.
DEBUGGER_TESTS = ["tests/unit/test_debugger_verb.py", "tests/unit/test_debugger_panels.py"]
DEBUGGER_CHOICE = "test_the_recipe or (test_the_rights_of_a_destructor and pku)"
#: Tests that need nothing closed: with a runtime that closes nothing they pass.
CONTROL_GROUP = "tests/enforcement/test_cookies.py"
#: Seconds for each part.
LIMIT = 3000


def main() -> int:
    """Run both passes and count. Returns 0 when all of it could be run; what it says is for the lane to judge."""
    lane = sys.argv[1]
    build, results = (Path(argument).resolve() for argument in sys.argv[2:4])
    write_place(results)
    unswitched = build / "unswitched" / "libia2.so"
    c_tests(build, results / "c.xml", C_TESTS)
    pytest(build, results / "python.xml", [*PYTHON_TESTS, "-m", CHOICE[lane]])
    pytest(build, results / "debugger.xml", [*DEBUGGER_TESTS, "-k", DEBUGGER_CHOICE])
    c_tests(build, results / "c-unswitched.xml", C_ENFORCING, LD_LIBRARY_PATH=str(unswitched.parent))
    proof = [*PYTHON_TESTS, "-m", "pku and enforces", "--tb=no", "-rN"]
    pytest(build, results / "python-unswitched.xml", proof, IA2EXIT_TEST_RUNTIME=str(unswitched))
    control = [CONTROL_GROUP, "-m", "pku and not enforces"]
    pytest(build, results / "control.xml", control, IA2EXIT_TEST_RUNTIME=str(unswitched))
    with (results / "steps.json").open("wb") as counted:
        steps = [build / "tests" / "pku" / "steps", build / "libia2.so", build / "tests" / "pku" / "alternating"]
        subprocess.run(steps, stdout=counted, timeout=LIMIT, check=False)
    return 0


def prepare(build: Path) -> None:
    """Have the fixtures of the guest's tests compile their programs here: an emulated CPU takes minutes for that.

    Every module has one of its tests for the backend ``none`` or ``mprotect``, which any machine collects.
    """
    options = ["--setup-only", "--quiet", "-p", "no:cacheprovider", "-m", "enforces or enforced"]
    command = [sys.executable, "-m", "pytest", *options, "tests/enforcement"]
    environment = {**os.environ, "IA2EXIT_LIBDIR": str(build), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if done.returncode != 0:
        print(f"the programs of the guest's tests are built there, slowly: {done.stdout.strip()[-2000:]}")


def _environment(build: Path, **more: str) -> dict[str, str]:
    given = {
        "IA2EXIT_PKU": "1",
        "DL_DEBUG_BACKENDS": "pku",
        "IA2EXIT_LIBDIR": str(build),
        "PYTHONPATH": str(ROOT / "src"),
    }
    return {**os.environ, **given, **more}


def c_tests(build: Path, report: Path, which: str, **environment: str) -> None:
    """Some of the C tests, through ctest."""
    jobs = str(os.cpu_count() or 1)
    options = ["--no-tests=error", "-j", jobs, "-R", which, "--timeout", str(LIMIT), "--output-junit", str(report)]
    _run(["ctest", *options], build, report, _environment(build, **environment))


def pytest(build: Path, report: Path, selection: list[str], **environment: str) -> None:
    """Some of the Python tests; the emulated CPU is slow, so no test is ended for that."""
    options = ["-q", "-n", str(os.cpu_count() or 1), "-p", "no:cacheprovider", "--timeout", str(LIMIT)]
    command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *selection]
    _run(command, ROOT, report, _environment(build, **environment))


def _run(command: list[str], folder: Path, report: Path, environment: dict[str, str]) -> None:
    """What is meant to fail goes into a file beside its report: nobody should take it for a failure."""
    if not report.stem.endswith("-unswitched"):
        subprocess.run(command, cwd=folder, env=environment, timeout=LIMIT, check=False)
        return
    said = report.with_suffix(".log")
    print(f"{report.stem}: with a runtime that closes nothing; each must fail, and says so in {said}", flush=True)
    with said.open("wb") as log:
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=LIMIT, check=False)


if __name__ == "__main__":
    sys.exit(main())

"""In CI a skipped test is a failure, on a developer's machine it is not (tests/conftest.py)."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import denying
import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
BUILD = Path(os.environ.get("IA2EXIT_LIBDIR", CONFTEST.parents[1] / "build")).resolve()

SKIPS = {
    "by mark": 'import pytest\n@pytest.mark.skip(reason="no libfoo")\ndef test_it(): pass\n',
    "in the test": 'import pytest\ndef test_it(): pytest.skip("no libfoo")\n',
    "in a fixture": 'import pytest\n@pytest.fixture\ndef foo(): pytest.skip("no libfoo")\ndef test_it(foo): pass\n',
    "whole module": 'import pytest\npytest.skip("no libfoo", allow_module_level=True)\n',
}


def run_pytest(folder: Path, source: str, *, ci: str) -> tuple[int, str]:
    """Exit status and output of pytest on one test file beside our conftest.py."""
    shutil.copy(CONFTEST, folder)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_sample.py").write_text(source)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "CI"))} | {"CI": ci}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("how", SKIPS)
def test_a_skip_is_a_failure_in_ci_and_says_why(how: str, tmp_path: Path) -> None:
    status, text = run_pytest(tmp_path, SKIPS[how], ci="true")
    assert status != 0
    assert re.search(r"skipped, which CI does not accept: .*no libfoo", text)


@pytest.mark.parametrize("how", SKIPS)
def test_a_skip_is_no_failure_elsewhere(how: str, tmp_path: Path) -> None:
    ok = "\ndef test_good(): pass\n" if how != "whole module" else ""
    status, text = run_pytest(tmp_path, SKIPS[how] + ok, ci="")
    assert "1 skipped" in text
    # 5: the module that skips itself leaves no test at all.
    assert status == (0 if ok else 5)


def test_an_expected_failure_stays_one_in_ci(tmp_path: Path) -> None:
    source = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it(): assert False\n"
    status, text = run_pytest(tmp_path, source, ci="true")
    assert (status, "1 xfailed" in text) == (0, True)


def test_a_run_without_tests_is_a_failure(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, "", ci="true")[0] == 5


# ---- C tests (missing.h) ----

MSEAL = "462"


def taken_away(failure: int, *, ci: str) -> tuple[int, str]:
    """The C test that a map cannot be taken away, where mseal fails in that way."""
    environment = {"PATH": "/usr/bin:/bin", "CI": ci}
    test = [str(BUILD / "tests" / "unit" / "unit_map_resident"), "--filter", "map_resident/it_cannot_be_taken_away"]
    command = [sys.executable, denying.__file__, MSEAL, str(failure), *test, "--verbose"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == denying.NOT_HERE:
        pytest.skip("this process may not install a seccomp filter")
    return done.returncode, done.stderr


def test_a_c_test_that_is_skipped_is_a_failure_in_ci_and_says_why() -> None:
    status, text = taken_away(errno.EPERM, ci="true")
    assert status != 0
    assert "skipped, which CI does not accept: mseal is denied here" in text


def test_a_c_test_that_is_skipped_is_no_failure_elsewhere() -> None:
    status, text = taken_away(errno.EPERM, ci="")
    assert status == 0
    assert "mseal is denied here" in text


def test_a_kernel_without_the_feature_is_held_to_the_next_best() -> None:
    status, text = taken_away(errno.ENOSYS, ci="true")
    assert (status, "denied" in text) == (0, False)

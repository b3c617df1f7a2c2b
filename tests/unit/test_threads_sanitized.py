"""The runtime built with ThreadSanitizer, while threads begin, end, load and unload at random and the process exits.

libtsan speaks up at the exit with status 66. It follows the runtime and the program; ld.so is not built for it, so its
locks are not seen, and what it allocates and frees seems to race with whoever reads a link_map. Nothing is closed here:
libtsan looks at all memory, from every thread, and with what rights it does is not ours to say.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from runtime_running import RUNTIME

PROGRAMS = Path(__file__).parents[1] / "enforcement" / "programs"
SANITIZED = RUNTIME.parent / "tsan" / "libia2.so"
#: Where there is auditing, ld.so sets static thread-local storage aside before it knows that libtsan wants 766 KiB.
AUDIT = {
    "LD_AUDIT": str(RUNTIME.parent / "libia2_audit.so"),
    "GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=1000000",
}
SUPPRESSIONS = Path(__file__).with_name("tsan_suppressions.txt")
OPTIONS = f"suppressions={SUPPRESSIONS} history_size=7 report_thread_leaks=0 exitcode=66"
STATUS = 7
RACE = 66
#: Seconds: ThreadSanitizer is slow.
LIMIT = 60


def build(folder: Path, *flags: str) -> list[Path]:
    """The storm with ThreadSanitizer, and its plug-ins as they are."""
    gcc: list[str | Path] = ["gcc", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
    plugins = [folder / f"storm{i}.so" for i in range(3)]
    for plugin in plugins:
        words = [*gcc, "-shared", "-fPIC", "-Wl,--build-id=uuid", PROGRAMS / "storm_plugin.c", "-o", plugin]
        subprocess.run(words, timeout=LIMIT, check=True)
    program = folder / "storm"
    words = [*gcc, "-fsanitize=thread", *flags, PROGRAMS / "storm.c", "-pthread", "-o", program]
    subprocess.run(words, timeout=LIMIT, check=True)
    return [program, *plugins]


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return build(tmp_path_factory.mktemp("storm"))


def run(storm: list[Path], seed: int, **more: str) -> subprocess.CompletedProcess[str]:
    """One storm under the runtime; the trace goes nowhere, but is written."""
    asked = {"LD_PRELOAD": str(SANITIZED), "IA2_TRACE_EXIT": "/dev/null", "IA2_EXIT_BACKEND": "none"}
    command: list[str | Path] = [storm[0], str(seed), *storm[1:]]
    environment = {"PATH": os.environ["PATH"], "TSAN_OPTIONS": OPTIONS, **asked, **more}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("audited", [False, True], ids=["preloaded", "audited"])
def test_nothing_races(storm: list[Path], audited: bool, seed: int) -> None:
    done = run(storm, seed, **(AUDIT if audited else {}))
    assert (done.returncode, done.stderr) == (STATUS, "")


def test_a_race_would_be_told(tmp_path: Path) -> None:
    """The same program with one of its own, in a destructor that the runtime runs."""
    storm = build(tmp_path, "-DRACES")
    done = [run(storm, seed) for seed in range(6)]
    assert RACE in {one.returncode for one in done}
    assert any("data race" in one.stderr and "key_gone" in one.stderr for one in done)

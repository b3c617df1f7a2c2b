"""Real gdb in batch mode on programs from debugger_fixtures/."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime_running import RUNTIME, tool

FIXTURES = Path(__file__).parent / "debugger_fixtures"
ROOT = FIXTURES.parents[2]
#: Seconds: an emulated CPU is slow, and gdb reads many symbols.
LIMIT = 240
HAS_KEYS = " ospke" in Path("/proc/cpuinfo").read_text()
BACKENDS = ["none", "mprotect", *(["pku"] if HAS_KEYS else [])]
CLOSING = BACKENDS[1:]


@contextmanager
def kept(name: str) -> Iterator[Path]:
    """A folder beside the build, for this process alone: what is built there once, a guest finds there, too."""
    folder = RUNTIME.parent / "tests" / "debugging" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers want it, too
        yield folder


def build() -> Path:
    """The program ``debugged`` with its library and its plug-in beside it."""
    with kept("debugged") as folder:
        return _build(folder)


def _build(folder: Path) -> Path:
    changed = max(path.stat().st_mtime_ns for path in (Path(__file__), *FIXTURES.iterdir()))

    def compile(source: str, name: str, *flags: str | Path) -> Path:
        words = ["gcc", "-g", "-O0", "-Wall", "-Wextra", "-Werror", FIXTURES / source, *flags, "-o", folder / name]
        if not (folder / name).exists() or (folder / name).stat().st_mtime_ns < changed:
            subprocess.run(words, timeout=LIMIT, check=True)
        return folder / name

    library = compile("debugged_library.c", "libdebugged.so", "-shared", "-fPIC", "-Wl,-soname,libdebugged.so")
    compile("debugged_plugin.c", "plugin.so", "-shared", "-fPIC")
    return compile("debugged.c", "debugged", library, f"-Wl,-rpath,{folder}")


def script() -> str:
    """What gdb is to source."""
    from ia2exit.debugger import script

    return script()


def environment(**more: str) -> dict[str, str]:
    """What gdb and the command line need: nothing of the user's."""
    python = os.pathsep.join(str(ROOT / part) for part in ("src",))
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        "PYTHONPATH": python,
        "IA2EXIT_LIBDIR": str(RUNTIME.parent),
        **more,
    }


def gdb(*words: str | Path, check: bool = True, **more: str) -> str:
    """What gdb says, errors included, and what its program says."""
    given = environment(**more)
    given.pop("PYTHONPATH")  # gdb's own Python must find everything by itself
    return _output([tool("gdb"), "-nx", "-q", "-batch", "-iex", "set debuginfod enabled off", *words], given, check)


def commands(*lines: str) -> list[str]:
    """Commands as options."""
    return [word for line in lines for word in ("-ex", line)]


def sourced(program: Sequence[str | Path], *lines: str, **variables: str) -> str:
    """A session without our verb: the script is sourced, the runtime given to the program by hand."""
    given = " ".join(f"{name}={value}" for name, value in {"LD_PRELOAD": str(RUNTIME), **variables}.items())
    first = [f"set exec-wrapper env {given}", f"source {script()}"]
    return gdb(*commands(*first, *lines), "--args", *program)


def verb(options: Sequence[str], program: Sequence[str | Path], *lines: str, **more: str) -> str:
    """A session of ``ia2exit gdb``."""
    command = [sys.executable, "-m", "ia2exit", "gdb", "-nx", "-batch", *options, *commands(*lines), "--", *program]
    return _output(command, environment(**more), check=True)


def _output(command: Sequence[str | Path], environment: dict[str, str], check: bool) -> str:
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert not check or "Traceback" not in done.stdout, done.stdout
    assert "Python Exception" not in done.stdout, done.stdout
    return done.stdout


def stripped(folder: Path) -> Path:
    """The runtime without debugging information."""
    copy = folder / "libia2.so"
    shutil.copy(RUNTIME, copy)
    subprocess.run([tool("strip"), "--strip-all", copy], timeout=LIMIT, check=True)
    return copy

"""`ia2exit run` as a user starts it, and the small programs it is tried on (running_fixtures/)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ia2exit
from ia2exit.native import runtime_library

FIXTURES = Path(__file__).parent / "running_fixtures"
#: Seconds until a program that hangs is ended.
LIMIT = 60
Word = str | Path
PYTHON = sys.executable


def environment(**extra: str) -> dict[str, str]:
    """What every command here is started with."""
    return {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(Path(ia2exit.__file__).parents[1]),
        "IA2EXIT_LIBDIR": str(runtime_library().parent),
        **extra,
    }


def ours(command: Sequence[Word], *options: Word) -> list[Word]:
    """The command line that runs ``command`` under the runtime."""
    return [PYTHON, "-m", "ia2exit", "run", *options, "--", *command]


def start(
    command: Sequence[Word], *, stdin: bytes = b"", cwd: Path | None = None, **extra: str
) -> subprocess.CompletedProcess[bytes]:
    """Run any command to its end; ``extra`` goes into its environment."""
    return subprocess.run(
        command, env=environment(**extra), input=stdin, capture_output=True, timeout=LIMIT, check=False, cwd=cwd
    )


def run(
    command: Sequence[Word], *options: Word, stdin: bytes = b"", cwd: Path | None = None, **extra: str
) -> subprocess.CompletedProcess[bytes]:
    """`ia2exit run` to its end."""
    return start(ours(command, *options), stdin=stdin, cwd=cwd, **extra)


def report(command: Sequence[Word], *options: Word) -> str:
    """What `ia2exit run` prints on standard error."""
    return run(command, *options).stderr.decode()


@contextmanager
def running(command: Sequence[Word], *options: Word) -> Iterator[subprocess.Popen[bytes]]:
    """`ia2exit run` in a process group of its own, with pipes; ended when the test is done with it, come what may."""
    process = subprocess.Popen(
        ours(command, *options),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def line(process: subprocess.Popen[bytes]) -> bytes:
    """The next line that the program prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def build(folder: Path, source: str, *flags: str | Path, name: str | None = None) -> Path:
    """Compile a fixture into ``folder``."""
    output = folder / (name or Path(source).stem)
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", FIXTURES / source, *flags, "-o", output],
        timeout=LIMIT,
        check=True,
    )
    return output


def script(path: Path, text: str) -> Path:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return path

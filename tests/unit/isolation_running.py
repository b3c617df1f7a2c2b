"""libprobe.so (isolation_fixtures/probe.c) and programs that ask it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from runtime_running import HEADERS, LIMIT

FIXTURES = Path(__file__).parent / "isolation_fixtures"
RUNTIME_SOURCES = HEADERS.parent
#: The files of the runtime that the probe consists of.
PARTS = [
    "allowed.c",
    "copied.c",
    "dynamic.c",
    "loader_tables.c",
    "mappings.c",
    "peek.c",
    "pieces.c",
    "ranges.c",
    "sections.c",
    "symbols.c",
    "system.c",
]
INCLUDES = [f"-I{FIXTURES}", f"-I{HEADERS}"]


def compile_into(output: Path, *words: str | Path, compiler: str = "gcc") -> Path:
    """Run a compiler that must succeed."""
    subprocess.run(
        [compiler, "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", *INCLUDES, *words, "-o", output],
        timeout=LIMIT,
        check=True,
    )
    return output


def build_probe(folder: Path) -> Path:
    """libprobe.so in ``folder``."""
    sources = [FIXTURES / "probe.c", *(RUNTIME_SOURCES / part for part in PARTS)]
    flags = ["-shared", "-fPIC", "-fvisibility=hidden", "-DIA2_EXIT_UNMARKED", "-std=gnu11", "-Wl,-z,now"]
    return compile_into(folder / "libprobe.so", *flags, f"-I{RUNTIME_SOURCES}", *sources)


def answers(*command: str | Path, **environment: str) -> dict[str, str]:
    """What a program that asks the probe printed: name -> answer."""
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(": ", 1) for line in done.stderr.splitlines())

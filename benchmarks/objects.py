"""Programs of many objects, made for a benchmark: of small ones (object.c), or of the libraries of the distribution."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import ROOT, TIME_LIMIT
from ia2exit.elf.search import needed_objects

#: What every program is linked with anyway.
_BASE = ("ld-linux", "libc.so")


def build(folder: Path, count: int) -> Path:
    """Compile ``count`` libraries and a program that is linked with all of them; returns the program.

    ``program ROUNDS`` lets each of them register a destructor, one after the other, ROUNDS times; so each destructor
    that runs has another owner than the one before. Without an argument it does nothing at all.
    """
    linked = libraries(folder, count)
    source = folder / "program.c"
    source.write_text(_program(count))
    program = folder / "program"
    _compile([source, "-Wl,--no-as-needed", *linked, "-Wl,-rpath,$ORIGIN", "-o", program])
    return program


def libraries(folder: Path, count: int) -> list[Path]:
    """Compile ``count`` libraries, of which each has a function ``object_N`` (N from 1) that registers a destructor."""
    paths = [folder / f"libobject_{number}.so" for number in range(1, count + 1)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_library, paths, range(1, count + 1)))
    return paths


def build_idle(folder: Path, programs: Sequence[str], at_least: int) -> tuple[Path, int]:
    """Link a ``main`` that does nothing with every library that one of ``programs`` needs.

    Returns:
        The program, and how many objects it has, itself and ld.so among them: ``at_least`` so many, or we end.
    """
    libraries = {os.path.realpath(found.path): None for name in programs for found in needed_objects(name)[1:]}
    ours = [path for path in libraries if not Path(path).name.startswith(_BASE)]
    source = folder / "idle.c"
    source.write_text("int main(void) { return 0; }\n")
    program = folder / "idle"
    _compile([source, "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", *ours, "-o", program])
    count = len(needed_objects(str(program)))
    if count < at_least:
        sys.exit(f"{', '.join(programs)}: {count} objects, expected {at_least} or more: name more programs")
    return program, count


def _library(library: Path, number: int) -> None:
    source = ROOT / "benchmarks" / "object.c"
    _compile([source, "-shared", "-fPIC", f"-DNUMBER={number}", f"-Wl,-soname,{library.name}", "-o", library])


def _program(count: int) -> str:
    names = [f"object_{number}" for number in range(1, count + 1)]
    return (
        "#include <stdlib.h>\n"
        f"int {', '.join(f'{name}(void)' for name in names)};\n"
        f"static int (*const all[])(void) = {{{', '.join(names)}}};\n"
        "int main(int argc, char **argv) {\n"
        "    for (long left = argc > 1 ? atol(argv[1]) : 0; left > 0; left--)\n"
        f"        for (int i = 0; i < {count}; i++)\n"
        "            if (all[i]())\n"
        "                return 1;\n"
        "    return 0;\n"
        "}\n"
    )


def _compile(arguments: Sequence[str | Path]) -> None:
    done = subprocess.run(
        ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", *arguments],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    if done.returncode:
        sys.exit(f"gcc: exit status {done.returncode}: {done.stderr.strip()}")

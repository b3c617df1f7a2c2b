"""Group ``ldd``: what ld.so itself says that it would load. It runs, the program does not (ld.so(8), ``--list``)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from ia2exit.checking.records import Finding
from ia2exit.elf import coverage
from ia2exit.elf.loader import DEFAULT_INTERPRETER
from ia2exit.elf.search import Loaded

#: Seconds for ld.so to map some objects.
_LIMIT = 60
_VDSO = ("linux-vdso.so.", "linux-gate.so.")


def check_ld_so(objects: Sequence[Loaded], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Where ld.so would load other files than our own search finds, or none for a name."""
    program = objects[0]
    interpreter = program.image.interpreter or DEFAULT_INTERPRETER
    why = coverage.loader_problem(interpreter)
    listed = why if why is not None else _list(interpreter, os.path.realpath(program.path), environment)
    if isinstance(listed, str):
        yield _finding(program, "warning", f"a list by {interpreter}", f"not to be had: {listed}", "run it by hand")
        return
    remedy = "see whether /etc/ld.so.preload or GLIBC_TUNABLES changes what loads, and write the map for that"
    ours = {os.path.realpath(loaded.path): loaded for loaded in objects}
    theirs = {os.path.realpath(path): name for name, path in listed if path is not None}
    for name, path in listed:
        if path is None:
            yield _finding(
                program, "error", f"a file for {name}", "ld.so finds none", "install it or set LD_LIBRARY_PATH"
            )
        elif os.path.realpath(path) not in ours:
            yield _finding(program, "error", f"no {path}", f"ld.so loads it for {name}", remedy)
    missing = {name for name, path in listed if path is None}
    for real, loaded in ours.items():
        if real not in theirs and loaded is not program and not missing & loaded.names:
            yield _finding(program, "error", f"{loaded.path} among what it loads", "ld.so does not load it", remedy)


def _finding(program: Loaded, severity: str, expected: str, found: str, remedy: str) -> Finding:
    return Finding(
        group="ldd",
        name="ld-so",
        severity="warning" if severity == "warning" else "error",
        object=program.path,
        what="ld.so --list",
        expected=expected,
        found=found,
        remedy=remedy,
    )


def _list(interpreter: str, path: str, environment: Mapping[str, str]) -> list[tuple[str, str | None]] | str:
    """(name, file, or None where there is none) of each object; a text that says why there is no list."""
    kept = {name: value for name, value in environment.items() if not name.startswith(("LD_", "IA2_"))}
    if "LD_LIBRARY_PATH" in environment:
        kept["LD_LIBRARY_PATH"] = environment["LD_LIBRARY_PATH"]
    try:
        done = subprocess.run(
            [interpreter, "--list", path],
            env={**kept, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    lines = [os.fsdecode(line) for line in done.stdout.splitlines()]
    found = [_entry(line) for line in lines if line.startswith("\t") and not line.startswith(_VDSO, 1)]
    if done.returncode != 0 and not any(file is None for _, file in found):
        return os.fsdecode(done.stderr).strip().partition("\n")[0] or f"exit status {done.returncode}"
    return [entry for entry in found if entry[0] != "statically linked"]


def _entry(line: str) -> tuple[str, str | None]:
    """From a line ``NAME => FILE (0x…)``, ``FILE (0x…)`` or ``NAME => not found``."""
    name, arrow, file = line.strip().partition(" => ")
    if arrow and file == "not found":
        return name, None
    file = (file if arrow else name).rpartition(" (0x")[0] or name
    return name if arrow else file, file

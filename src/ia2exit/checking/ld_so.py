"""Group ``ldd``: what ld.so itself says that it would load. It runs, the program does not (ld.so(8), ``--list``)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from ia2exit.checking.records import Finding, Severity
from ia2exit.elf import coverage
from ia2exit.elf.loader import DEFAULT_INTERPRETER
from ia2exit.elf.search import Loaded

#: Seconds for ld.so to map some objects.
_LIMIT = 60
_VDSO = ("linux-vdso.so.", "linux-gate.so.")
_REFUSAL = "error while loading shared libraries: "


def check_ld_so(objects: Sequence[Loaded], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Where ld.so would load other files than our own search finds, or refuses to."""
    program = objects[0]
    interpreter = program.image.interpreter or DEFAULT_INTERPRETER
    listed, why = _list(interpreter, os.path.realpath(program.path), environment)
    if why is not None:
        _, refused, reason = why.partition(_REFUSAL)
        if refused:
            yield _finding(program, "error", "it loads", f"it does not: {reason}", "install it, or set LD_LIBRARY_PATH")
        else:
            remedy = f"run {interpreter} --list {program.path} by hand"
            yield _finding(program, "warning", f"a list by {interpreter}", f"not to be had: {why}", remedy)
        return
    remedy = "see whether /etc/ld.so.preload or GLIBC_TUNABLES changes what loads, and write the map for that"
    ours = {os.path.realpath(loaded.path): loaded for loaded in objects}
    theirs = {os.path.realpath(path) for path in listed}
    for path in listed:
        if os.path.realpath(path) not in ours:
            yield _finding(program, "error", f"no {path}", "ld.so loads it", remedy)
    for real, loaded in ours.items():
        if real not in theirs and loaded is not program:
            yield _finding(program, "error", f"{loaded.path} among what it loads", "ld.so does not load it", remedy)


def _finding(program: Loaded, severity: Severity, expected: str, found: str, remedy: str) -> Finding:
    return Finding(
        group="ldd",
        name="ld-so",
        severity=severity,
        object=program.path,
        what="what ld.so --list says of it",
        expected=expected,
        found=found,
        remedy=remedy,
    )


def _list(interpreter: str, path: str, environment: Mapping[str, str]) -> tuple[list[str], str | None]:
    """The files that ld.so lists, the program left out, and why there is no list."""
    why = coverage.loader_problem(interpreter)
    if why is not None:
        return [], why
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
        return [], str(error)
    if done.returncode != 0:
        said = os.fsdecode(done.stderr).strip().partition("\n")[0]
        return [], said or f"exit status {done.returncode}"
    lines = [os.fsdecode(line).strip() for line in done.stdout.splitlines() if line.startswith(b"\t")]
    return [_file(line) for line in lines if not line.startswith(_VDSO) and line != "statically linked"], None


def _file(line: str) -> str:
    """From ``NAME => FILE (0x…)`` or ``FILE (0x…)``."""
    name, arrow, file = line.partition(" => ")
    return (file if arrow else name).rpartition(" (0x")[0]

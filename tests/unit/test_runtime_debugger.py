"""What gdb shows of a program that stands in a destructor: the stack, through us, to the start of the program."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from runtime_running import LIMIT, RUNTIME, build, library, tool

LOADER = Path("/lib64/ld-linux-x86-64.so.2")
#: gdb is to leave alone what it would stop at: dispatched system calls come as SIGSYS.
QUIETLY = ["set startup-with-shell off", "set debuginfod enabled off", "handle SIGSYS nostop noprint pass"]


@pytest.fixture(scope="module")
def closing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("debugged")
    other = library(folder, "closing_library.c", "libclosing.so", "-D_GNU_SOURCE")
    return build(folder, "closing.c", other, f"-Wl,-rpath,{folder}", "-D_GNU_SOURCE")


def has_symbols(path: Path) -> bool:
    """Whether a file tells the names of its static functions."""
    with path.open("rb") as file:
        return ELFFile(file).get_section_by_name(".symtab") is not None


def functions(program: Path, stop: str, **environment: str) -> list[str]:
    """Names of the functions on the stack when ``stop`` is reached, innermost first; "??" where gdb knows none."""
    given = {"LD_PRELOAD": str(RUNTIME), "IA2_TRACE_EXIT": str(program.parent / "trace"), **environment}
    commands = [
        *QUIETLY,
        *(f"set environment {name} {value}" for name, value in given.items()),
        "set breakpoint pending on",
        f"break {stop}",
        "run",
        "backtrace",
    ]
    done = subprocess.run(
        [tool("gdb"), "-nx", "-batch", *(word for command in commands for word in ("-ex", command)), program],
        env={"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    return re.findall(r"^#[0-9]+ +(?:0x[0-9a-f]+ in )?([^ ]+) \(", done.stdout, re.M)


@pytest.mark.parametrize("backend", ["none", "mprotect"])
def test_the_stack_of_a_destructor_goes_through_us(closing: Path, backend: str) -> None:
    found = functions(closing, "closing_library.c:look", IA2_EXIT_MODE="observe", IA2_EXIT_BACKEND=backend)
    assert found[:2] == ["look", "ia2_call"]
    assert "ia2_run_destructor" in found
    assert found[-1] == "main", "gdb shows no more"
    assert "??" not in found or not has_symbols(LOADER), "newer ld.so have none for what calls destructors"

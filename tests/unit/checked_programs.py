"""Small programs with libraries in compartments, their maps, and what a check finds of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from elf_building import build
from runtime_running import HEADERS

import ia2exit
from ia2exit.checking import CheckResult
from ia2exit.model import ExitMap, MapObject
from ia2exit.policy import parse_policy

#: Program 1, libone.so 2, libtwo.so 3; everything else is shared.
POLICY = """
version = 1
unlisted = "shared"
[compartments.program]
id = 1
objects = ["@main"]
[compartments.one]
id = 2
objects = ["libone.so"]
[compartments.two]
id = 3
objects = ["libtwo.so"]
"""
ONE = """
#include <stdlib.h>
static void first(void) {}
__attribute__((destructor)) static void last(void) {}
void one(void) { atexit(first); }
"""
TWO = "void two(void) {}"
MAIN = "void one(void); void two(void); int main(void) { one(); two(); return 0; }"


def library(folder: Path, name: str, source: str, *flags: str | Path) -> Path:
    """A shared object with its file name as soname."""
    return build(folder / name, source, f"-I{HEADERS}", f"-Wl,-soname,{name}", *flags)


def linked(folder: Path, source: str, *libraries: str | Path) -> Path:
    """A program that finds its libraries beside itself; all of them are needed, whatever it uses."""
    flags = ("-Wl,--no-as-needed", f"-Wl,-rpath,{folder}", "-Wl,--allow-shlib-undefined")
    return build(folder / "program", source, *flags, *libraries)


def program_of(folder: Path, one: str = ONE, two: str = TWO, main: str = MAIN) -> Path:
    """The usual: a program, libone.so and libtwo.so, in this look-up order."""
    return linked(folder, main, library(folder, "libone.so", one), library(folder, "libtwo.so", two))


def mapped(*paths: Path, policy: str = POLICY) -> ExitMap:
    """The map of a program and the objects that it loads by dlopen."""
    return ia2exit.build_map(parse_policy(policy), [str(path) for path in paths], notice=lambda _: None)


def entry(exit_map: ExitMap, name: str) -> MapObject:
    """An object of a map, by name."""
    return next(item for item in exit_map.objects if item.name == name)


def changed(exit_map: ExitMap, name: str, change: Callable[[MapObject], MapObject | None]) -> ExitMap:
    """The map with another entry, or none, for an object."""
    objects = [change(item) if item.name == name else item for item in exit_map.objects]
    return msgspec.structs.replace(exit_map, objects=[item for item in objects if item is not None])


def found(result: CheckResult, *, infos: bool = False) -> list[tuple[str, str, str]]:
    """(name, severity, file) of each finding, infos only if asked for; the result says what follows from them."""
    findings = [one for one in result.findings if infos or one.severity != "info"]
    assert result.agrees == all(one.severity in ("warning", "info") for one in result.findings)
    return sorted((one.name, one.severity, Path(one.object).name) for one in findings)

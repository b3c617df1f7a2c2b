"""Policies for the real programs (policies/), the test's own libraries beside them, and the maps that come of both."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
from real_programs import HERE, LIMIT, Program, require

from ia2exit.elf.image import ElfImage
from ia2exit.exitmap import build_map, scan_for_map
from ia2exit.model import SHARED, ExitMap, MapObject, ScanResult
from ia2exit.policy import CompartmentRule, PolicyFile, load_policy
from ia2exit.scanning import scan

POLICIES = HERE / "policies"
#: The libraries that ride along, so that a program of one object has three compartments, too.
PASSENGERS = ("passenger_one", "passenger_two")


def compiled(source: str, library: Path, *flags: str) -> Path:
    """A library of the test's own."""
    gcc = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{library.name}"]
    subprocess.run([*gcc, *flags, HERE / source, "-o", library], timeout=LIMIT, check=True)
    return library


def policy_of(program: Program, own: Mapping[str, Path]) -> PolicyFile:
    """The program's policy from policies/, with a compartment for each of the test's own libraries."""
    loaded = load_policy(POLICIES / f"{program.path.name}.toml")
    rules = {name: CompartmentRule(objects=[path.name]) for name, path in own.items()}
    policy = msgspec.structs.replace(loaded.policy, compartments=loaded.policy.compartments | rules)
    return msgspec.structs.replace(loaded, policy=policy)


def plugins(program: Program) -> list[Path]:
    """The objects that the program loads by dlopen and that its policy may name."""
    found: list[Path] = []
    for pattern in program.plugins:
        matching = sorted(Path("/").glob(pattern.removeprefix("/")))
        require(*(matching or [Path(pattern)]))
        found += matching
    return found


@cache
def _scanned(path: Path, beside: tuple[Path, ...]) -> ScanResult:
    return scan_for_map([path, *beside])


def make_map(program: Program, own: Mapping[str, Path]) -> ExitMap:
    """The map of the program, its plug-ins and the test's own libraries, which need libc alone."""
    require(program.path)
    objects = _scanned(program.path, tuple(plugins(program))).objects
    libraries = scan([*own.values()], dependencies=False).objects
    return build_map(policy_of(program, own), ScanResult(objects=[*objects, *libraries], problems=[]))


@dataclass(frozen=True)
class Variable:
    """A byte of static data that can be written."""

    path: str
    rva: int
    #: Name of the compartment that it belongs to.
    compartment: str
    #: Whether its object is the program.
    main: bool

    @property
    def object(self) -> str:
        """The object as the plant knows it."""
        return "" if self.main else Path(self.path).name


def first_byte(path: str, section: str) -> int:
    """Where a section of an object begins."""
    found = ElfImage(path).section(section)
    assert found is not None, f"{path} has no {section}"
    return found.address


def variable_of_program(made: ExitMap) -> Variable:
    """The first byte of the program's ``.data``: ``data_start`` of the C runtime's start files, which nobody uses."""
    return _variable(made, _main(made), ".data")


def variable_of_library(program: Program, made: ExitMap, section: str) -> Variable:
    """The first byte of a section of the program's first library that is closed to it; of a passenger, if it has none.

    ``.data`` begins with the object's ``__dso_handle``; ``.bss`` with the flag of the compiler's start files that says
    that the object is finalised (gcc ``crtstuff.c``): whoever sets it keeps the object's handlers from running.
    """
    closed = {item.path: item for item in made.objects if item.compartment not in (SHARED, _main(made).compartment)}
    linked = [item.path for item in _scanned(program.path, tuple(plugins(program))).objects]
    return _variable(made, next(closed[path] for path in [*linked, *closed] if path in closed), section)


def _main(made: ExitMap) -> MapObject:
    (found,) = (item for item in made.objects if item.main)
    return found


def _variable(made: ExitMap, item: MapObject, section: str) -> Variable:
    (name,) = (compartment.name for compartment in made.compartments if compartment.id == item.compartment)
    found = ElfImage(item.path).section(section)
    assert found is not None, f"{item.path} has no {section}"
    return Variable(item.path, found.address, name, item.main)

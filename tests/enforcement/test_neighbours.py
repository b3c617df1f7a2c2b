"""A compartment of several objects: a destructor of one uses the data of another as if it were its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .watching import CONTAIN, CONTROL, ENFORCE, LIMIT, OBSERVE, ROOT, SIGSEGV, Way, build, kept, library, watch

STATUS = 7
WAYS_TO_USE = {
    "loads-and-stores": b"count 2\ncount 3\n",
    "writes": b"of the neighbour\n" * 2,
    "gathers": b"and of the neighbour\n" * 2,
    "reads": b"filled\n" * 2,
    "handles": b"of the neighbour\nfilled\n" * 2,
    "forks": b"of the neighbour\nchild ended\n" * 2,
}
POLICY = """version = 1
[compartments.pair]
objects = ["libneighbours.so", "libneighbour.so"]
[compartments.program]
objects = ["neighbours_main"]
"""


@pytest.fixture(scope="module")
def program() -> Path:
    folder = kept("neighbours")
    other = library(folder, "neighbour.c")
    return build(folder, "neighbours_main.c", library(folder, "neighbours.c", other), other)


@pytest.fixture(scope="module")
def exit_map(program: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("map")
    policy, made = folder / "policy.toml", folder / "map"
    policy.write_text(POLICY)
    command: list[str | Path] = [sys.executable, "-m", "ia2exit", "map", "-q", "-p", policy, "--binary", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([*command, "-o", made], env=environment, timeout=LIMIT, check=True)
    return str(made)


@pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
@pytest.mark.parametrize("use", WAYS_TO_USE)
def test_all_of_the_own_compartment_is_open(program: Path, exit_map: str, use: str, way: Way, tmp_path: Path) -> None:
    outcome = watch([program, use], way, tmp_path / "trace", IA2_EXIT_MAP=exit_map)
    assert outcome.seen == (STATUS, WAYS_TO_USE[use], b"")
    assert outcome.violations == []
    assert outcome.entered("destructor").owner_name == "pair"


@pytest.mark.parametrize("way", ENFORCE, ids=str)
def test_what_is_not_of_it_is_closed(program: Path, exit_map: str, way: Way, tmp_path: Path) -> None:
    outcome = watch([program, "strays"], way, tmp_path / "trace", IA2_EXIT_MAP=exit_map)
    (event,) = outcome.violations
    assert (outcome.status, event.victim_name) == (SIGSEGV, "program")

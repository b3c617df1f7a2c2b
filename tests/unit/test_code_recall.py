"""The recall benchmark counts what was not predicted, and the precision check sees wrong predictions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

import bench_recall
import ia2exit
import precision
from ia2exit import events
from ia2exit.elf.image import ElfImage
from ia2exit.model import Address, Destructor, ScannedObject
from ia2exit.scanning.code import find_registrations

FIXTURE = Path(__file__).parent / "code_fixtures" / "registrations.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recall") / "program"
    subprocess.run(["gcc", "-O0", "-DPROGRAM", "-pthread", str(FIXTURE), "-o", str(path)], check=True, timeout=60)
    return path


def event(program: Path, rva: int, kind: str = "atexit") -> events.Register:
    place = events.Place(address=Address(rva + 0x1000), object=str(program), rva=Address(rva))
    return events.Register(
        pid=1, tid=1, t=0, record=rva, generation=0, kind=kind, function=place, dso=str(program),  # type: ignore[arg-type]
        registrar=None, owner=None, owner_name=None, foreign=False, vague=False,
    )  # fmt: skip


def start(program: Path) -> events.Start:
    return events.Start(
        pid=1, tid=1, t=0, version=1, runtime="", program=str(program), ppid=0, forked=False, glibc="", backend="none",
        backend_why=None, mode="observe", allow_all=False, virtual=True, map=None, audit=False,
    )  # fmt: skip


class Known(bench_recall.Scans):
    """Scans that give what they were made with."""

    def __init__(self, scanned: ScannedObject) -> None:
        super().__init__()
        self._scanned = scanned

    def of(self, program: str, loaded: object) -> dict[str, ScannedObject]:
        return {program: self._scanned}


def test_a_destructor_that_was_not_predicted_is_a_miss_with_a_reason(program: Path) -> None:
    path = Path(os.path.realpath(program))
    [scanned] = ia2exit.scan(path, dependencies=False).objects
    known = next(int(d.rva) for d in scanned.destructors if d.found == "code" and d.rva is not None)
    happened = [start(path), event(path, known), event(path, known), event(path, 0x40)]
    outcome = bench_recall.compare("program", happened, Known(scanned))
    assert (outcome.happened, outcome.predicted) == (2, 1)
    assert (outcome.in_code, outcome.in_code_predicted) == (2, 1)
    [miss] = outcome.misses
    assert (miss.rva, miss.reason) == ("0x40", "the registrar has a site whose argument is no constant")


def test_without_disassembly_everything_in_code_is_missed(program: Path) -> None:
    path = Path(os.path.realpath(program))
    [scanned] = ia2exit.scan(path, dependencies=False, disassemble=False).objects
    code = [d for d in find_registrations(ElfImage(path)) if d.rva is not None and d.symbol is None]
    happened = [start(path), *(event(path, int(d.rva or 0), d.kind) for d in code)]
    outcome = bench_recall.compare("program", happened, Known(scanned))
    assert outcome.predicted == 0
    assert {miss.reason for miss in outcome.misses} == {"the registrar's code has no registration that scan found"}


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed (binutils)")
def test_wrong_predictions_are_seen(program: Path) -> None:
    listing = precision.Listing(program)
    listing.read()
    good = [d for d in find_registrations(ElfImage(program)) if d.rva is not None and d.symbol is None]
    assert good
    for destructor in good:
        assert listing.is_registration(destructor)
        assert listing.is_function(destructor)
        assert not listing.is_function(replace(destructor, rva=Address(int(destructor.rva or 0) + 1)))
        assert not listing.is_registration(moved(destructor, 1))


def moved(destructor: Destructor, by: int) -> Destructor:
    """The same with its call site a few bytes on."""
    site = destructor.site
    assert site is not None
    return replace(destructor, site=replace(site, rva=Address(int(site.rva) + by)))

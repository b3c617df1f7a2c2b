"""Each rule of "Ownership" (docs/exit-handling.md): what only its owner may do succeeds, anything else is stopped."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from ia2exit.events import CompartmentCounts, Fallback, Fault

from .counting import check_counters
from .watching import (
    CONTAIN,
    CONTROL,
    ENFORCE,
    OBSERVE,
    OURS,
    SIGSEGV,
    Way,
    build,
    check_unnoticed,
    functions,
    kept,
    library,
    run,
    watch,
)

STATUS = 7


@dataclass(frozen=True)
class Rule:
    """A scenario of ownership.c: a destructor that runs with libone's rights."""

    number: int
    name: str
    #: The destructor as the events see it; None for code in no object and for code of the C library.
    function: str | None
    #: Where libtwo holds the code, or makes the registration.
    foreign: bool = False
    vague: bool = False

    def __str__(self) -> str:
        return f"{self.number}-{self.name}"


RULES = [
    Rule(1, "fini_array", "one_fini_array"),
    Rule(1, "fini", "one_fini"),
    Rule(2, "cxa_atexit", "two_touch"),
    Rule(2, "thread_atexit", "two_touch"),
    Rule(2, "quick_exit", "one_touch_aimed"),
    Rule(3, "vague", "one_touch_both", vague=True),
    Rule(4, "on_exit-holder", "one_touch_on_exit"),
    Rule(4, "on_exit-registrar", None),
    Rule(5, "foreign", "one_touch", foreign=True),
    Rule(6, "no-handle", None),
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=str)
every_way = pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)
CLOSING_WAYS = [*OBSERVE, *ENFORCE, *CONTAIN]
every_closing_way = pytest.mark.parametrize("way", CLOSING_WAYS, ids=str)


@pytest.fixture(scope="module")
def program() -> Path:
    """Libtwo comes first in the search order: its weak variable is the one that both are bound to."""
    folder = kept("ownership")
    source = "ownership_library.c"
    libraries = [
        library(folder, source, "-DNAME=one", "-Wl,-fini=one_fini", name="libone.so"),
        library(folder, source, "-DNAME=two", "-Wl,-fini=two_fini", "-DDEFINES_WEAK", name="libtwo.so"),
    ]
    return build(folder, "ownership.c", *libraries)


@every_rule
@every_way
def test_the_owner_may(program: Path, tmp_path: Path, rule: Rule, way: Way) -> None:
    outcome = check_unnoticed([program, rule.name, "own"], way, tmp_path / "trace")
    assert outcome.status == STATUS
    if rule.name != "quick_exit":
        assert b"one data: touched\n" in outcome.stdout
    assert (b"two weak: touched\n" in outcome.stdout) == rule.vague
    if rule.function is not None:
        event = outcome.entered(rule.function)
        assert (event.owner_name, event.foreign, event.vague) == ("libone.so", rule.foreign, rule.vague)
    assert outcome.counters.fallback == 0
    check_counters(outcome)
    assert (outcome.counters.foreign, outcome.counters.vague) == (rule.foreign, rule.vague)


@every_rule
def test_without_us_the_others_byte_is_touched_too(program: Path, rule: Rule) -> None:
    outcome = run([program, rule.name, "other"])
    assert outcome.status == STATUS
    assert rule.name == "quick_exit" or b"two data: touched\n" in outcome.stdout


@pytest.mark.enforces
@every_rule
@every_closing_way
def test_nobody_else_may(program: Path, tmp_path: Path, rule: Rule, way: Way) -> None:
    outcome = watch([program, rule.name, "other"], way, tmp_path / "trace")
    (event,) = outcome.violations
    assert event.destructor is not None
    assert event.destructor.owner_name == "libone.so"
    assert event.victim_name == "libtwo.so"
    # clock_gettime is a system call where the vdso cannot read the clock by itself.
    assert event.via == "instruction" or rule.name == "on_exit-registrar"
    assert (event.access, event.handler) == ("write", False)
    if rule.function is not None:
        assert event.destructor.seq == outcome.entered(rule.function).seq
    assert outcome.status == (SIGSEGV if way.mode == "enforce" else STATUS)
    if rule.name != "quick_exit" and way.mode != "enforce":
        assert (b"two data: touched\n" in outcome.stdout) == (way.mode == "observe")


@pytest.mark.parametrize("target", ["own", "other"])
@every_way
def test_nobodys_destructor_may_do_all_until_policies_exist(
    program: Path, tmp_path: Path, target: str, way: Way
) -> None:
    """Rule 6: neither handle nor registrar nor function tell whose it is; said in the trace, with a remedy."""
    outcome = check_unnoticed([program, "unknown", target], way, tmp_path / "trace")
    assert (b"one data: touched\n" if target == "own" else b"two data: touched\n") in outcome.stdout
    told = outcome.one(Fallback)
    assert told.why
    assert told.remedy
    assert outcome.counters.fallback == outcome.counters.unknown == 1
    (left,) = (event for event in outcome.events if getattr(event, "outcome", None) == "fallback")
    assert getattr(left, "seq", None) == told.seq
    check_counters(outcome)
    (nobodys,) = (one for one in outcome.of(CompartmentCounts) if one.id is None)
    assert (nobodys.ran, nobodys.fallback, nobodys.unknown) == (1, 1, 1)


@every_way
def test_a_handler_may_what_its_own_object_may(program: Path, tmp_path: Path, way: Way) -> None:
    """Rule 7: it interrupts a destructor of libtwo, and marks a byte of libone, where it lies."""
    outcome = check_unnoticed([program, "handler", "own"], way, tmp_path / "trace")
    assert b"one data: touched\n" in outcome.stdout
    assert b"two data: touched\n" in outcome.stdout
    assert outcome.left("two_raises").outcome == "success"


@pytest.mark.enforces
@every_closing_way
def test_a_handlers_touch_is_not_charged_to_the_destructor(program: Path, tmp_path: Path, way: Way) -> None:
    """Rule 7: what is neither libone's (where the handler lies) nor libtwo's (whose destructor it interrupts)."""
    outcome = watch([program, "handler", "other"], way, tmp_path / "trace")
    (event,) = outcome.violations
    assert event.handler is True
    assert event.victim_name == program.name
    assert outcome.status == (SIGSEGV if way.mode == "enforce" else STATUS)
    if way.mode == "observe":
        assert outcome.left("two_raises").outcome == "success"


# ---- tampering ----


def place_in_fini_array(path: Path, function: int) -> int:
    """The number of the entry that ld.so makes point to the function."""
    with path.open("rb") as stream:
        image = ELFFile(stream)
        array, relocations = image.get_section_by_name(".fini_array"), image.get_section_by_name(".rela.dyn")
        assert array is not None
        assert isinstance(relocations, RelocationSection)
        offsets = [
            one["r_offset"] - array["sh_addr"] for one in relocations.iter_relocations() if one["r_addend"] == function
        ]
        (offset,) = (offset for offset in offsets if 0 <= offset < array["sh_size"])
        return int(offset) // 8


def test_without_us_a_changed_fini_array_is_run(program: Path) -> None:
    """The control: all of that array is run as it stands."""
    assert b"one: entry runs\n" in run([program, "cxa_atexit", "own"]).stdout
    outcome = run([program, "tamper-function", "own"])
    assert outcome.status == STATUS
    assert b"main: tampered entry runs\n" in outcome.stdout
    assert b"one: entry runs\n" not in outcome.stdout
    assert run([program, "tamper-nowhere", "own"]).status == SIGSEGV


@pytest.mark.parametrize("change", ["function", "data", "nowhere"])
@pytest.mark.parametrize("way", [*ENFORCE, *CONTAIN], ids=str)
def test_a_changed_fini_array_is_stopped(program: Path, tmp_path: Path, change: str, way: Way) -> None:
    """With a message that names the object; neither what was there nor what is there runs."""
    outcome = watch([program, f"tamper-{change}", "own"], way, tmp_path / "trace")
    assert outcome.status not in {0, STATUS}
    assert b"entry runs" not in outcome.stdout
    assert b"data: " not in outcome.stdout, "nothing runs after it"
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(OURS)
    (told,) = outcome.of(Fault)
    assert ".fini_array" in told.what
    assert line.decode().endswith(f"{told.what}: {told.detail}")
    path = program.with_name("libone.so")
    entry, _ = functions(path)["entry_runs"]
    head, now = told.detail.removesuffix(" now").split(", and is ")
    assert head == f"{path}, entry {place_in_fini_array(path, entry)}: it was libone.so+{entry:#x}"
    if change == "function":
        assert now == f"{program.name}+{functions(program)['tampered'][0]:#x}"
    elif change == "nowhere":
        assert now == "0x123456789000"
    else:
        assert re.fullmatch(r"libone\.so\+0x[0-9a-f]+", now)


@pytest.mark.parametrize("entry", ["DATA", "NOWHERE"])
@pytest.mark.parametrize("way", [CONTROL, *CLOSING_WAYS], ids=str)
def test_an_entry_that_is_no_code_is_stopped(tmp_path: Path, entry: str, way: Way) -> None:
    """Also where it was so from the start: it lies outside every object's executable segments."""
    strays = build(tmp_path, "strays.c", f"-DENTRY={entry}")
    vanilla = run([strays])
    assert (vanilla.status, vanilla.stdout) == (SIGSEGV, b"main: returns\n")
    outcome = watch([strays], way, tmp_path / "trace")
    told = outcome.of(Fault)[0]
    assert ".fini_array" in told.what
    assert outcome.stdout == b"main: returns\n"
    if way.mode == "observe":
        assert outcome.status == SIGSEGV
    else:
        assert outcome.status == -signal.SIGABRT
        (line,) = outcome.stderr.splitlines()
        assert line.startswith(OURS)
        assert b"strays" in line
        assert b".fini_array" in line

"""A library's destructor touches data that is not its own: in every way, in every mode, with every backend.

Backend ``none`` is the control group: there each of these accesses succeeds and is not noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from ia2exit.events import AnyEvent, CompartmentCounts, End, Enter, Leave, Violation

from . import watching
from .watching import (
    CONTAIN,
    CONTROL,
    ENFORCE,
    OBSERVE,
    OURS,
    SIGSEGV,
    WAYS,
    WITH_SHARED_PAGES,
    Outcome,
    Way,
    build,
    functions,
    kept,
    library,
    run,
    symbol_at,
    symbol_in,
    symbols_on_stack,
    watch,
)

STATUS = 7
PAGE = 4096
SECRET = b"/dev/zero"


@dataclass(frozen=True)
class Action:
    """One way to touch memory; its name is that of the culprit's function less ``culprit_``."""

    name: str
    access: str
    #: Numbers of the system call on x86-64, or none for an instruction.
    syscalls: tuple[int, ...] = ()
    #: Whether the instruction is the destructor's own, not libc's.
    own: bool = True


ACTIONS = [
    Action("reads", "read"),
    Action("writes", "write"),
    Action("calls_write", "read", (1,), own=False),
    Action("calls_raw_write", "read", (1,)),
    Action("calls_writev", "read", (20,), own=False),
    Action("calls_read", "write", (0,), own=False),
    Action("calls_readv", "write", (19,), own=False),
    Action("calls_open", "read", (2, 257), own=False),
    Action("calls_stat", "write", (4, 262), own=False),
]
#: After a touch beside the secret that is no violation: what was let through for one instruction is closed again.
STEPS = Action("prints_and_writes", "write")
SHORT = [Action("writes_short", "read", (1,), own=False), Action("reads_short", "write", (0,), own=False)]


@dataclass(frozen=True)
class Case:
    """An action on a secret, in a program that is a PIE or at a fixed address."""

    action: Action
    program: str
    target: str

    def __str__(self) -> str:
        return f"{self.action.name}-{self.program}-{self.target}"

    @property
    def command(self) -> list[str]:
        """What follows the program on the command line."""
        return [self.action.name, self.target]


#: (program, secret): main's beside a copy relocation and not, in a PIE and at a fixed address; a third library's.
TARGETS = [("pie", "copy"), ("fixed", "copy"), ("pie", "page"), ("fixed", "page"), ("pie", "data"), ("pie", "bss")]
CASES = [Case(action, *target) for action in ACTIONS for target in TARGETS]
CASES += [Case(action, "pie", "edge") for action in SHORT]
CASES += [Case(STEPS, program, "copy") for program in ("pie", "fixed")]

#: Module scope: pytest brings the tests of one case together, and what they look at is run once for all of them.
every_case = pytest.mark.parametrize("case", CASES, ids=str, scope="module")


def ways(*some: Way) -> pytest.MarkDecorator:
    """Watched in each of these ways, with one run for all tests of a case."""
    return pytest.mark.parametrize("way", some, ids=str, scope="module")


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    folder = kept("secrets")
    libraries = [library(folder, "culprit.c"), library(folder, "victim.c", WITH_SHARED_PAGES)]
    kinds = {"pie": ["-fpie", "-pie"], "fixed": ["-fno-pie", "-no-pie"]}
    return {kind: build(folder, "secrets.c", *flags, *libraries, name=kind) for kind, flags in kinds.items()}


@dataclass(frozen=True)
class Told:
    """A run, and the addresses that the program told before it ended."""

    outcome: Outcome
    #: First byte of the secret, and where the access to it begins.
    secret: int
    start: int


def told(outcome: Outcome) -> Told:
    """Take the line of addresses, which differ from run to run, off the output."""
    line, rest = outcome.stdout.split(b"\n", 1)
    secret, start = (int(word, 16) for word in line.split())
    return Told(replace(outcome, stdout=rest), secret, start)


@pytest.fixture(scope="module")
def vanilla(programs: dict[str, Path], case: Case) -> Outcome:
    """What the program does by itself."""
    return told(watching.vanilla([programs[case.program], *case.command])).outcome


@pytest.fixture(scope="module")
def watched(programs: dict[str, Path], case: Case, way: Way, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What it does under the runtime."""
    return told(watch([programs[case.program], *case.command], way, tmp_path_factory.mktemp("watched") / "trace"))


def state(target: str) -> bytes:
    """The line that the owner of a secret prints, up to the state."""
    owner = {"copy": "main copy", "page": "main page", "data": "victim data", "bss": "victim bss", "edge": "victim bss"}
    return f"{owner[target]}: ".encode()


# ---- the programs are what they are meant to be ----


def copied_pages(program: Path) -> set[int]:
    with program.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".rela.dyn")
        assert isinstance(table, RelocationSection)
        copies = [one["r_offset"] for one in table.iter_relocations() if one["r_info_type"] == 5]  # R_X86_64_COPY
    assert copies
    return {address // PAGE for address in copies}


@pytest.mark.parametrize("program", ["pie", "fixed"])
def test_only_one_secret_lies_beside_a_copy_relocation(programs: dict[str, Path], program: str) -> None:
    with programs[program].open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        address = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    copied = copied_pages(programs[program])
    assert address["small_secret"] // PAGE in copied
    assert address["whole_pages"] // PAGE + 1 not in copied


@every_case
def test_without_us_the_damage_is_done(vanilla: Outcome, case: Case) -> None:
    assert vanilla.status == STATUS
    assert b"culprit: done\n" in vanilla.stdout
    changed = state(case.target) + b"changed\n" in vanilla.stdout
    assert changed == (case.action.access == "write")
    if case.action.name in {"reads", "calls_write", "calls_raw_write", "calls_writev", "writes_short"}:
        assert SECRET in vanilla.stdout


# ---- what the program does ----


@pytest.mark.enforces
@every_case
@ways(CONTROL, *OBSERVE)
def test_observed_the_program_does_what_it_does_without_us(vanilla: Outcome, watched: Told, way: Way) -> None:
    """Data are changed, the later destructors run, the status is kept; a call that came up short goes on from there."""
    assert watched.outcome.seen == vanilla.seen
    assert bool(watched.outcome.violations) == (way != CONTROL)
    assert watched.outcome.of(End)[-1].status == STATUS


@pytest.mark.enforces
@every_case
@ways(*ENFORCE)
def test_enforced_the_program_ends_there(watched: Told) -> None:
    """By SIGSEGV, with one line on standard error; nothing is told, and nothing runs after it."""
    outcome = watched.outcome
    assert outcome.status == SIGSEGV
    assert outcome.stdout == b"main: before\n"
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(OURS)
    assert b"libculprit.so" in line
    events = outcome.events
    after = events[next(i for i, event in enumerate(events) if isinstance(event, Violation)) + 1 :]
    assert not [event for event in after if isinstance(event, Enter | Leave)]
    end = outcome.one(End)
    assert (end.how, end.status) == ("signal", None)


@pytest.mark.enforces
@every_case
@ways(*ENFORCE)
def test_enforced_nothing_was_changed(programs: dict[str, Path], tmp_path: Path, case: Case, way: Way) -> None:
    """The secret's pages are a file's: what the process wrote there outlives it."""
    evidence = tmp_path / "evidence"
    command: list[str | Path] = [programs[case.program], *case.command, evidence]
    without = told(run(command))
    written = evidence.read_bytes()[without.secret % PAGE :][: len(SECRET)]
    assert (written != SECRET) == (case.action.access == "write"), "the evidence shows what nobody stops"
    within = told(watch(command, way, tmp_path / "trace"))
    assert within.outcome.status == SIGSEGV
    assert evidence.read_bytes()[within.secret % PAGE :][: len(SECRET)] == SECRET


@pytest.mark.enforces
@every_case
@ways(*CONTAIN)
def test_contained_only_the_culprit_is_abandoned(watched: Told, case: Case) -> None:
    """The data are as they were, the secret is not told, all others run, the status is kept."""
    outcome = watched.outcome
    others = [b"main: before", b"main copy: kept", b"main page: kept", b"main: fini", b"culprit: fini"]
    assert outcome.status == STATUS
    assert outcome.stdout.splitlines() == [*others, b"victim data: kept", b"victim bss: kept"]
    assert outcome.left(f"culprit_{case.action.name}").outcome == "contained"
    assert outcome.one(End).status == STATUS


# ---- what is said of it ----


def check_violation(told: Told, case: Case, way: Way) -> None:
    """Every member of the event."""
    outcome, action = told.outcome, case.action
    (event,) = outcome.violations
    culprit = outcome.entered(f"culprit_{action.name}")
    assert event.destructor is not None
    running = event.destructor
    for member in ("seq", "record", "generation", "kind", "function", "registrar", "owner", "owner_name"):
        assert getattr(running, member) == getattr(culprit, member)
    assert running.owner_name == "libculprit.so"
    assert running.registrar is not None
    assert symbol_at(running.registrar) == "culprit_register"
    assert event.handler is False
    check_instruction(outcome, event, action)
    victim = "libvictim.so" if case.target in {"data", "bss", "edge"} else case.program
    assert event.address is not None
    assert Path(event.address.object or "").name == victim
    loaded = outcome.object(Path(victim))
    assert event.address.rva == event.address.address - loaded.base
    assert (event.victim, event.victim_name) == (loaded.compartment, victim)
    assert event.action == {"observe": "opened", "enforce": "ended", "contain": "abandoned"}[way.mode]
    if action.syscalls:
        # The kernel does not say which byte it was: the buffer's first that is closed, or one behind it.
        assert max(told.start, told.secret // PAGE * PAGE) <= event.address.address < told.secret + 256
        assert event.access in {action.access, "unknown"}
    else:
        assert event.address.address == told.secret
        assert event.access == action.access


def check_instruction(outcome: Outcome, event: Violation, action: Action) -> None:
    """Which instruction it was, and the way to it from the destructor."""
    function = f"culprit_{action.name}"
    if action.syscalls:
        assert event.via == "syscall"
        assert event.syscall in action.syscalls
    else:
        assert (event.via, event.syscall) == ("instruction", None)
    assert event.instruction.object is not None
    if action.own:
        assert Path(event.instruction.object).name == "libculprit.so"
        assert symbol_at(event.instruction) == function
    else:
        assert Path(event.instruction.object).name == "libc.so.6"
    first = event.stack[0]
    loaded = outcome.object(Path(event.instruction.object))
    assert (first.slot, first.address) == (loaded.slot, event.instruction.rva)
    assert event.instruction.rva == event.instruction.address - loaded.base
    assert function in symbols_on_stack(outcome, event)


@pytest.mark.enforces
@every_case
@ways(*WAYS)
def test_the_event_says_who_did_what_to_whom(watched: Told, case: Case, way: Way) -> None:
    if way == CONTROL:
        assert watched.outcome.violations == []
    else:
        check_violation(watched, case, way)


@pytest.mark.enforces
@pytest.mark.parametrize("way", [*OBSERVE, *ENFORCE, *CONTAIN], ids=str)
def test_the_stack_leads_from_the_instruction_to_the_destructor(
    programs: dict[str, Path], tmp_path: Path, way: Way
) -> None:
    outcome = watch([programs["pie"], "nests", "data"], way, tmp_path / "trace")
    (event,) = outcome.violations
    assert symbols_on_stack(outcome, event)[:3] == ["culprit_inner", "culprit_middle", "culprit_nests"]
    library_path = Path(event.instruction.object or "")
    assert symbol_in(library_path, event.stack[0].address) == "culprit_inner"
    start, _ = functions(library_path)["culprit_nests"]
    assert event.destructor is not None
    assert event.destructor.function.rva == start


@pytest.mark.enforces
@pytest.mark.parametrize("program", ["pie", "fixed"])
@pytest.mark.parametrize("way", [*ENFORCE, *CONTAIN], ids=str)
def test_a_copied_variable_is_open_to_those_who_use_it_only(
    programs: dict[str, Path], tmp_path: Path, program: str, way: Way
) -> None:
    """Main's copy of ``stdout`` is the C library's; the culprit does not import it, so it has no business there."""
    assert "stdout" not in imported(programs[program].with_name("libculprit.so"))
    command: list[str | Path] = [programs[program], "reads", "symbol"]
    assert b"culprit read: " in run(command).stdout
    watched = told(watch(command, way, tmp_path / "trace"))
    (event,) = watched.outcome.violations
    assert event.address is not None
    assert event.address.address == watched.secret
    assert (event.victim_name, event.access) == (program, "read")
    assert b"culprit read: " not in watched.outcome.stdout


@pytest.mark.enforces
@pytest.mark.parametrize("program", ["pie", "fixed"])
@pytest.mark.parametrize("way", [*ENFORCE, *CONTAIN], ids=str)
def test_a_copied_variable_goes_to_the_kernel_for_those_who_use_it_only(
    programs: dict[str, Path], tmp_path: Path, program: str, way: Way
) -> None:
    command: list[str | Path] = [programs[program], "calls_raw_write", "symbol"]
    assert b"culprit: write=9" in run(command).stdout
    watched = told(watch(command, way, tmp_path / "trace"))
    (event,) = watched.outcome.violations
    assert event.address is not None
    assert event.address.address == watched.secret
    assert (event.victim_name, event.access, event.via) == (program, "read", "syscall")
    assert b"culprit: write=" not in watched.outcome.stdout


def imported(path: Path) -> set[str]:
    with path.open("rb") as stream:
        symbols = ELFFile(stream).get_section_by_name(".dynsym")
        assert isinstance(symbols, SymbolTableSection)
        return {symbol.name for symbol in symbols.iter_symbols()}


# ---- what is counted ----


def outcomes(event: AnyEvent) -> dict[str, int]:
    names = ("success", "fallback", "violation", "contained", "unenforced", "bypassed", "unfinished")
    return {name: getattr(event, name) for name in names if getattr(event, name)}


@pytest.mark.enforces
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_culprit_is_counted_where_it_belongs(programs: dict[str, Path], tmp_path: Path, way: Way) -> None:
    outcome = watch([programs["pie"], "writes", "data"], way, tmp_path / "trace")
    counted = outcomes(outcome.counters)
    own = next(one for one in outcome.of(CompartmentCounts) if one.name == "libculprit.so")
    special = {"observe": "violation", "enforce": "violation", "contain": "contained"}[way.mode]
    if way == CONTROL:
        assert set(counted) == {"success"}
        assert set(outcomes(own)) == {"success"}
    else:
        assert counted[special] == outcomes(own)[special] == 1
        assert set(counted) == {"success", special}
    assert sum(counted.values()) == outcome.counters.ran == len(outcome.of(Enter))

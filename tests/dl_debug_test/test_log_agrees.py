"""The runtime's events, the exit map and the program's own log tell one story, in every scenario.

The program logs each registration and each destructor that runs (log.h). The runtime, linked or preloaded, writes
events. The exit map was made from the files before anything ran. A vanilla build of the same sources shows what the
program does when nobody watches.
"""

from __future__ import annotations

import json
import re
import subprocess
from functools import lru_cache
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from ia2exit import events
from ia2exit.elf.demangle import demangle
from ia2exit.model import KINDS, MapObject, to_json
from ia2exit.pkru import opens_everything
from ia2exit.running.trace import parse

from .bed import BED, HERE, LIMIT, PROGRAM, SCENARIOS, VANILLA, Bed, exit_map

STATUS = {"-SIGABRT": -6}
WATCHED = ["linked", "preloaded", "linked-none", "preloaded-none"]
#: Other ways to be run, which must not be noticed either.
UNNOTICED = ["linked-observe", "preloaded-contain", "linked-off", "preloaded-off", "linked-off-enforce"]
#: PIPE_BUF of Linux: the longest line that one write() puts into a pipe as a whole.
PIPE_BUF = 4096

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS)
every_watched_build = pytest.mark.parametrize("build", WATCHED)


# ---- helpers ----


@lru_cache(maxsize=64)
def functions(path: Path) -> dict[int, set[str]]:
    """RVA -> names (demangled) of the functions of an ELF file, from its .symtab."""
    names: dict[int, set[str]] = {}
    with path.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection), f"{path}: the test bed is built with symbols"
        for symbol in table.iter_symbols():
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_value"]:
                names.setdefault(symbol["st_value"], set()).add(demangle(symbol.name) or symbol.name)
    return names


def ours(path: str | None) -> bool:
    """Whether an object is one of the test bed."""
    return path is not None and Path(path).parent.resolve() == BED.resolve()


def names_of(place: events.Place) -> set[str]:
    """What the symbol table calls the function at ``place``; nothing for objects that are not the test bed's."""
    if place.object is None or not ours(place.object):
        return set()
    assert place.rva is not None
    return functions(Path(place.object).resolve())[place.rva]


def silent(names: set[str]) -> bool:
    """Whether a function writes no line: not ours, or put there by the compiler's start files."""
    return not names or bool(names & {"__do_global_dtors_aux", "_fini"})


def logged(log: list[str], word: str) -> list[tuple[str, str]]:
    """(kind, function) of the log's lines that begin with ``word`` (``run`` or ``register``)."""
    lines = (re.match(rf"{word} kind=(\w+) function=(.*?)(?: \w+=-?\d+)?$", line) for line in log)
    return [(match[1], match[2]) for match in lines if match]


def map_object(path: str) -> MapObject | None:
    """The map's entry of an object, by base name; the vanilla program counts as the program."""
    name = Path(path).name.replace("_vanilla", "")
    return next((entry for entry in exit_map().objects if Path(entry.path).name == name), None)


def compartment(path: str | None) -> int | None:
    """Compartment of an object by the map, 0 for one that it does not list (unlisted = "shared")."""
    if path is None:
        return None
    entry = map_object(path)
    return 0 if entry is None else entry.compartment


def owner_by_rules(event: events.Enter) -> int | None:
    """The owner that docs/exit-handling.md asks for, worked out from the map and the event's other fields."""
    holder = compartment(event.function.object)
    registrar = compartment(event.registrar.object) if event.registrar else None
    if event.kind in {"on_exit", "pthread_key"}:
        return holder or registrar
    return registrar if event.dso is None else compartment(event.dso)


# ---- nothing changes for the program ----


@every_scenario
@pytest.mark.parametrize("build", [*WATCHED, *UNNOTICED])
def test_program_cannot_tell(bed: Bed, scenario: str, build: str) -> None:
    """Status, output, order and what every registration returned are those of the vanilla build."""
    vanilla = bed.run("vanilla", scenario)
    watched = bed.run(build, scenario)
    assert watched.status == vanilla.status
    assert watched.stdout == vanilla.stdout
    assert watched.stderr == vanilla.stderr
    assert watched.log == vanilla.log


@every_scenario
def test_vanilla_run_is_the_scenario(bed: Bed, scenario: str) -> None:
    """The vanilla build ends with the status in the table and logs something."""
    run = bed.run("vanilla", scenario)
    expected = SCENARIOS[scenario]
    assert run.status == STATUS.get(expected) if expected in STATUS else run.status == int(expected)
    assert run.log


# ---- every line ----


@lru_cache(maxsize=1)
def validator() -> jsonschema.Draft202012Validator:
    """The published schema of events."""
    text = resources.files("ia2exit").joinpath("schemas/events.schema.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


@every_scenario
@every_watched_build
def test_every_line_is_a_valid_event(bed: Bed, scenario: str, build: str) -> None:
    """Against the published schema, and through the package's own reader without loss."""
    run = bed.run(build, scenario)
    assert run.lines
    for line in run.lines:
        assert len(line) < PIPE_BUF
        fields = json.loads(line)
        validator().validate(fields)
        assert json.loads(to_json(parse(line), indent=None)) == fields


@every_scenario
@every_watched_build
def test_no_fault(bed: Bed, scenario: str, build: str) -> None:
    """The runtime had nothing to complain of, and ends its account where the program ends in an orderly way."""
    run = bed.run(build, scenario)
    assert not [event for event in run.events if isinstance(event, events.Fault | events.Violation)]
    assert isinstance(run.events[0], events.Start)
    if scenario != "abort":
        counters, end = run.events[-2:]
        assert isinstance(counters, events.Counters)
        assert isinstance(end, events.End)
        assert end.status == run.status
        assert counters.lost == 0


# ---- order ----


@every_scenario
@every_watched_build
def test_order_is_the_programs_own(bed: Bed, scenario: str, build: str) -> None:
    """The functions of the enter events, in order, are those that the program logged when they ran."""
    run = bed.run(build, scenario)
    seen = [names for names in (names_of(event.function) for event in run.entered) if not silent(names)]
    wanted = [function for _, function in logged(run.log, "run")]
    assert len(seen) == len(wanted)
    for position, (names, function) in enumerate(zip(seen, wanted, strict=True)):
        assert function in names, f"destructor {position} of {scenario}"


@every_scenario
@every_watched_build
def test_numbers_count_up(bed: Bed, scenario: str, build: str) -> None:
    """In each process ``seq`` is 1, 2, …; time never goes back; each leave follows its enter."""
    by_process: dict[int, list[events.AnyEvent]] = {}
    for event in bed.run(build, scenario).events:
        by_process.setdefault(event.pid, []).append(event)
    for process in by_process.values():
        entered = [event for event in process if isinstance(event, events.Enter)]
        first = entered[0].seq if entered else 1
        assert [event.seq for event in entered] == list(range(first, first + len(entered)))
        times = [event.t for event in process]
        assert times == sorted(times)
        running: set[int] = set()
        for event in process:
            if isinstance(event, events.Enter):
                running.add(event.seq)
            elif isinstance(event, events.Leave):
                running.remove(event.seq)
        assert len(running) <= (1 if scenario in {"exit-in-handler", "mixed", "thread-exit"} else 0)


@every_scenario
@every_watched_build
def test_registrations_are_the_programs_own(bed: Bed, scenario: str, build: str) -> None:
    """Every registration that glibc accepted has its event, in the program's order; one that it refused has none."""
    run = bed.run(build, scenario)
    accepted = [line.removesuffix(" result=0") for line in run.log if line.endswith(" result=0")]
    not_ours = {"free", "generated"}  # libc's, and code in no object: the log has a name, the symbol table none
    wanted = [name for _, name in logged(accepted, "register") if name not in not_ours]
    registered = [event for event in run.events if isinstance(event, events.Register)]
    seen = [names_of(event.function) for event in registered if event.kind not in {"fini_array", "fini"}]
    # What a compiler registers (C++ statics) is not logged.
    seen = [names for names in seen if names & set(wanted)]
    assert len(seen) == len(wanted)
    assert all(name in names for names, name in zip(seen, wanted, strict=True))


# ---- compartments ----


@every_scenario
@every_watched_build
def test_owner_is_the_maps(bed: Bed, scenario: str, build: str) -> None:
    """Each destructor runs as the compartment that the map and the rules of ownership give it."""
    names = {entry.id: entry.name for entry in exit_map().compartments}
    for event in bed.run(build, scenario).entered:
        if not ours(event.function.object) and not ours(event.dso):
            continue
        assert event.owner == owner_by_rules(event), event
        assert event.owner is not None
        assert event.owner_name == names[event.owner]


@every_watched_build
def test_functions_that_no_object_of_ours_holds(bed: Bed, build: str) -> None:
    """Code in no object runs as the object it was registered for, libc's ``free`` for a key as the registrar.

    Without an object to be registered for, and registered by code in no object, it is nobody's.
    """
    crossed = bed.run(build, "crossed")
    unknown, generated = (event for event in crossed.entered if event.function.object is None)
    assert (generated.owner, generated.owner_name, generated.foreign) == (1, "program", False)
    assert (unknown.owner, unknown.owner_name, unknown.foreign) == (None, None, False)
    assert unknown.pkru_wanted is not None
    assert opens_everything(unknown.pkru_wanted, virtual=crossed.virtual)
    freed = [
        event
        for event in bed.run(build, "thread-end").entered
        if event.kind == "pthread_key" and not ours(event.function.object)
    ]
    assert len(freed) == 2
    assert {event.owner for event in freed} == {1}


@every_scenario
def test_everything_that_ran_was_in_the_map(bed: Bed, scenario: str) -> None:
    """Object, RVA, kind and compartment: the map knew each destructor of the test bed before anything ran."""
    for event in bed.run("linked", scenario).entered:
        if event.function.object is None or not ours(event.function.object):
            continue
        if event.dso not in {None, event.function.object}:
            continue  # the map lists a function under its own object; the registration was made in another's name
        entry = map_object(event.function.object)
        assert entry is not None
        found = [one for one in entry.destructors if one.rva == event.function.rva]
        assert event.kind in {one.kind for one in found}, names_of(event.function)
        if event.dso is not None:
            assert {one.compartment for one in found} == {event.owner}


def test_every_kind_runs_somewhere(bed: Bed) -> None:
    """The scenarios together use every kind in each of the first three compartments."""
    seen = {(event.owner, event.kind) for name in SCENARIOS for event in bed.run("linked", name).entered}
    for owner in (1, 2, 3):
        assert {kind for other, kind in seen if other == owner} >= set(KINDS)


def test_names_of_the_map_are_the_symbol_tables(bed: Bed) -> None:
    """Each destructor of the map bears the name that the symbol table gives to its address."""
    checked = 0
    for entry in exit_map().objects:
        if ours(entry.path):
            names = functions(Path(entry.path).resolve())
            for destructor in entry.destructors:
                assert destructor.symbol is not None
                assert (demangle(destructor.symbol) or destructor.symbol) in names[destructor.rva]
                checked += 1
    assert checked > 0


def test_notes_and_policy_agree(bed: Bed) -> None:
    """The compartment that each object claims in its note is the one that the policy gives it."""
    import ia2exit

    result = ia2exit.scan([str(PROGRAM), str(BED / "plugin_resident.so"), str(BED / "plugin_unloaded.so")])
    claimed = {Path(entry.path).name: entry.claimed for entry in result.objects if ours(entry.path)}
    assert len(claimed) == 7
    for name, number in claimed.items():
        assert number == compartment(name), name


# ---- as it stands ----


def test_no_object_of_the_test_bed_touches_pkru(bed: Bed) -> None:
    """No workaround: no WRPKRU (0F 01 EF) in its code, and no key of its own."""
    own = [path for path in BED.iterdir() if path.suffix == ".so" or path in {PROGRAM, VANILLA}]
    assert len(own) == 10
    for path in own:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            symbols = elf.get_section_by_name(".dynsym")
            assert isinstance(symbols, SymbolTableSection)
            imported = {symbol.name for symbol in symbols.iter_symbols()}
            assert not imported & {"pkey_alloc", "pkey_mprotect", "pkey_set"}, path
            for segment in elf.iter_segments("PT_LOAD"):
                assert not segment["p_flags"] & 1 or b"\x0f\x01\xef" not in segment.data(), path


def test_plain_start_traces_to_stderr(bed: Bed) -> None:
    """``IA2_TRACE_EXIT=1 dl_debug_test`` needs nothing else: events on stderr, the program's own output on stdout."""
    done = subprocess.run(
        [PROGRAM], env={"IA2_TRACE_EXIT": "1"}, capture_output=True, timeout=LIMIT, check=False, cwd="/"
    )
    assert done.returncode == 0
    kinds = [type(parse(line)).__name__ for line in done.stderr.splitlines()]
    assert kinds[0] == "Start"
    assert kinds[-1] == "End"
    assert not {"Fault", "Violation"} & set(kinds)
    assert kinds.count("Enter") > 0
    untraced = subprocess.run([VANILLA], env={}, capture_output=True, timeout=LIMIT, check=False, cwd="/")
    assert done.stdout == untraced.stdout
    assert untraced.stderr == b""


def dynamic_names(path: Path, tag: str) -> list[str]:
    """The strings of all dynamic entries of one tag, in the order of the file."""
    with path.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".dynamic")
        assert isinstance(section, DynamicSection)
        field = tag.removeprefix("DT_").lower()
        return [getattr(entry, field) for entry in section.iter_tags(tag)]


def test_runtime_comes_first(bed: Bed) -> None:
    """libia2.so is the first DT_NEEDED, found by a path that moves with the build folder; vanilla has none of it."""
    assert dynamic_names(PROGRAM, "DT_NEEDED")[0] == "libia2.so"
    (runpath,) = dynamic_names(PROGRAM, "DT_RUNPATH")
    assert all(part.startswith("$ORIGIN") for part in runpath.split(":"))
    assert "libia2.so" not in dynamic_names(VANILLA, "DT_NEEDED")


def test_ctest_lists_every_test_of_the_suite(bed: Bed) -> None:
    """No Criterion test is missing from ctest, none is listed that is not there."""
    suite = subprocess.run([BED / "dl_debug", "--list"], capture_output=True, text=True, timeout=LIMIT, check=True)
    in_suite = set(re.findall(r"── (\w+)", suite.stdout))
    listing = subprocess.run(
        ["ctest", "-N"], cwd=BED.parents[1], capture_output=True, text=True, timeout=LIMIT, check=True
    )
    in_ctest = {name.removeprefix("dl_debug_") for name in re.findall(r": (dl_debug_\w+)", listing.stdout)}
    assert in_suite
    assert in_ctest == in_suite | {"exit_phase0", "exit_phase2"}


def test_readme_lists_every_scenario() -> None:
    """The table in README.md has the scenarios of scenarios.c, with their statuses."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", (HERE / "README.md").read_text(), flags=re.MULTILINE)
    assert dict(rows) == {name: status.removeprefix("-") for name, status in SCENARIOS.items()}

"""Whose rights a destructor gets, where that is not plain, and what it finds when it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from runtime_running import FIXTURES, Outcome, build, library, same

from ia2exit.events import Enter, Fallback, Register
from ia2exit.pkru import opens_everything

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("owners")


@pytest.fixture(scope="module")
def libraries(folder: Path) -> list[Path]:
    return [library(folder, f"{name}.c", f"{name}.so") for name in ("registrar", "holder")]


@pytest.fixture(scope="module")
def program(folder: Path, libraries: list[Path]) -> Path:
    return build(folder, "owners.c", "-DWITH_REGISTRAR", *libraries)


def only(outcome: Outcome, kind: str) -> Enter:
    """The one destructor of a kind that the program's scenario is about: registered last, so it ran first."""
    return next(event for event in outcome.entered if event.kind == kind)


@pytest.mark.parametrize("flags", [["-no-pie", "-fno-pie"], ["-pie", "-fpie"]])
def test_the_programs_own_atexit_is_the_programs(tmp_path: Path, flags: list[str]) -> None:
    """A program at a fixed address gives no ``__dso_handle`` at all."""
    program = build(tmp_path, "owners.c", *flags)
    outcome = same([program, "plain"])
    event = only(outcome, "cxa_atexit")
    assert outcome.stdout == b"first\n"
    assert event.dso == (None if flags[0] == "-no-pie" else str(program))
    assert event.owner_name == program.name
    assert event.function.object == str(program)
    assert (event.foreign, event.vague) == (False, False)
    assert outcome.counters.unknown == outcome.counters.fallback == 0


def test_a_static_string_of_a_library_is_the_librarys(folder: Path) -> None:
    """Its destructor is libstdc++'s, which is shared; the string is not."""
    path = library(folder, "strings.cpp", "libstrings.so")
    program = build(folder, "linked.c", "-Wl,--no-as-needed", path, name="linked-strings")
    outcome = same([program])
    assert outcome.status == 3
    (event,) = (event for event in outcome.entered if event.dso == str(path) and event.kind == "cxa_atexit")
    assert "libstdc++.so" in (event.function.object or "")
    assert event.owner_name == "libstrings.so"
    assert (event.foreign, event.vague) == (False, False)
    assert event.pkru_wanted not in {0, None}


def test_on_exit_belongs_to_the_holder_of_the_function(program: Path, libraries: list[Path]) -> None:
    """Rule 4: not to who registered it."""
    outcome = same([program, "by-library"])
    assert outcome.stdout == b"holder\n"
    event = only(outcome, "on_exit")
    assert event.registrar is not None
    assert event.registrar.object == str(libraries[0])
    assert event.owner_name == "holder.so"
    outcome = same([program, "own-by-library"])
    assert outcome.stdout == b"own\n"
    assert only(outcome, "on_exit").owner_name == program.name


def test_on_exit_with_a_function_of_a_shared_object_belongs_to_the_registrar(program: Path) -> None:
    event = only(same([program, "libc-on-exit"]), "on_exit")
    assert "libc.so" in (event.function.object or "")
    assert event.owner_name == program.name


def test_code_in_no_object_belongs_to_who_registered_it(program: Path) -> None:
    outcome = same([program, "jit"])
    assert outcome.stdout == b"ran once\n"
    event = only(outcome, "cxa_atexit")
    assert (event.function.object, event.function.rva, event.dso) == (None, None, None)
    assert event.owner_name == program.name
    assert outcome.counters.unknown == outcome.counters.fallback == 0


def test_code_in_no_object_that_code_in_no_object_registered_falls_back(program: Path) -> None:
    outcome = same([program, "jit-by-jit"])
    assert outcome.stdout == b"ran once\n"
    event = only(outcome, "cxa_atexit")
    assert (event.owner, event.owner_name, event.dso) == (None, None, None)
    assert event.registrar is not None
    assert event.registrar.object is None
    assert event.pkru_wanted is not None
    virtual = outcome.starts[0].virtual
    assert opens_everything(event.pkru_wanted, virtual=virtual), "until policies exist, everything is open"
    (fallback,) = (told for told in outcome.events if isinstance(told, Fallback))
    assert (fallback.seq, fallback.record, fallback.function) == (event.seq, event.record, event.function)
    assert outcome.counters.unknown == outcome.counters.fallback == 1
    assert outcome.counters.ran == outcome.counters.success + outcome.counters.fallback


def test_a_dso_handle_says_whose_it_is_wherever_code_lies(program: Path) -> None:
    outcome = same([program, "jit-with-dso"])
    assert outcome.stdout == b"ran once\n"
    event = only(outcome, "cxa_atexit")
    assert event.dso == str(program)
    assert event.owner_name == program.name
    assert outcome.counters.fallback == 0


def test_a_dso_handle_that_points_nowhere_counts_as_none(program: Path) -> None:
    outcome = same([program, "wild-dso"])
    event = only(outcome, "cxa_atexit")
    assert event.dso is None
    assert event.owner_name == program.name
    assert outcome.counters.fallback == 0


def test_what_runs_is_what_was_registered(program: Path) -> None:
    """``enter`` repeats what ``register`` said of the same record."""
    outcome = same([program, "by-library"])
    told = {(event.record, event.generation): event for event in outcome.events if isinstance(event, Register)}
    assert outcome.entered
    for event in outcome.entered:
        registered = told[event.record, event.generation]
        for field in ("kind", "function", "dso", "registrar", "owner", "owner_name", "foreign", "vague"):
            assert getattr(event, field) == getattr(registered, field)


@pytest.mark.parametrize("quick", [False, True])
def test_the_stack_is_aligned_for_every_kind(folder: Path, quick: bool) -> None:
    """A destructor may use aligned vector moves on its frame: 16 bytes, or it faults."""
    program = build(folder, "alignment.c", FIXTURES / "alignment.S", "-Wl,-fini,probe_fini", "-pthread")
    outcome = same([program, "quick"] if quick else [program])
    assert outcome.status == 3
    at_thread_end = [b"thread_atexit 0", b"pthread_key 0"]
    at_exit = [b"on_exit 0", b"atexit 0", b"cxa_atexit 0", b"fini_array 0", b"fini 0"]
    assert outcome.stdout.splitlines() == at_thread_end + ([b"quick_exit 0"] if quick else at_exit)
    probes = [event.kind for event in outcome.entered if event.function.object == str(program)]
    assert {line.split()[0].decode() for line in outcome.stdout.splitlines()} - {"atexit"} <= set(probes)

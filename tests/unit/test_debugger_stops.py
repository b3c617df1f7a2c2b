"""Where gdb stops, and where it does not, with our commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from debugging import BACKENDS, CLOSING, build, sourced

WATCHED = {"IA2_TRACE_EXIT": "/dev/null"}


@pytest.fixture(scope="module")
def debugged() -> Path:
    return build()


def stops(text: str) -> list[str]:
    """The functions of the destructors that break-destructor has stopped at."""
    return re.findall(r"first instruction of a destructor:\ndestructor \S+: \S+ (\S+)", text)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_is_stopped_at_and_its_stack_finish_and_the_rest_work(debugged: Path, backend: str) -> None:
    said = sourced(
        [debugged], "break-destructor library_l*", "run", "backtrace", "finish", "continue", IA2_EXIT_BACKEND=backend
    )
    assert stops(said) == ["library_last"]
    frames = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?([^ ]+) \(", said.partition("library_last () at")[2], re.M)
    assert "??" not in frames
    assert frames[-1] in {"main", "_start"}
    assert re.search(r"^(?:0x[0-9a-f]+ in )?(ia2_call|ia2_call_pku|run_cxa) \(", said, re.M), "where finish has stopped"
    assert "exited with code 03" in said
    assert re.findall(r"^(main|bye) ", said, re.M) == ["main", "bye", "bye"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("watched", [{}, WATCHED], ids=["unwatched", "watched"])
def test_without_argument_every_destructor_is_stopped_at(debugged: Path, backend: str, watched: dict[str, str]) -> None:
    said = sourced([debugged], "break-destructor", *["run"], *["continue"] * 9, IA2_EXIT_BACKEND=backend, **watched)
    assert stops(said)[:3] == ["own_bye", "library_bye", "library_last"]
    assert len(stops(said)) == 7, "and .fini_array and DT_FINI of the program and its library"
    assert "exited with code 03" in said


@pytest.mark.parametrize("which", ["libdebugged.s*", "2", "libdebugged.so"])
def test_an_object_or_a_compartment_is_stopped_at(debugged: Path, which: str) -> None:
    said = sourced([debugged], f"break-destructor {which}", "run", *["continue"] * 5, **WATCHED)
    assert stops(said)[:2] == ["library_bye", "library_last"]
    assert "own_bye" not in stops(said)


def test_an_object_that_is_loaded_later_is_stopped_at(debugged: Path) -> None:
    plugin = debugged.parent / "plugin.so"
    said = sourced([debugged, "plugin", plugin], "break-destructor plugin.so", "run", "backtrace 1", **WATCHED)
    assert stops(said)[0] in {"__do_global_dtors_aux", "plugin_bye"}


def test_a_destructor_of_another_thread_is_stopped_at_in_that_thread(debugged: Path) -> None:
    said = sourced(
        [debugged, "thread"],
        "break-destructor key_gone",
        "run",
        "thread",
        "info destructor",
        "thread 1",
        "info destructor",
        "continue",
        **WATCHED,
    )
    assert stops(said) == ["key_gone"]
    assert "[Current thread is 2" in said
    assert said.count("pthread_key key_gone") == 2
    assert "this thread runs no destructor" in said
    assert "exited with code 03" in said


@pytest.mark.parametrize("backend", CLOSING)
def test_touches_that_are_let_through_stop_nothing(debugged: Path, backend: str) -> None:
    said = sourced([debugged], "run", IA2_EXIT_BACKEND=backend, IA2_EXIT_MODE="enforce")
    assert "SIG" not in said
    assert "exited with code 03" in said


@pytest.mark.parametrize("backend", CLOSING)
def test_next_goes_line_by_line_past_touches_that_are_let_through(debugged: Path, backend: str) -> None:
    said = sourced(
        [debugged],
        "break-destructor library_bye",
        "run",
        *["next"] * 6,
        "continue",
        IA2_EXIT_BACKEND=backend,
        IA2_EXIT_MODE="enforce",
    )
    source = (Path(__file__).parent / "debugger_fixtures" / "debugged_library.c").read_text().splitlines()
    first = next(number for number, line in enumerate(source, 1) if "library_bye(void)" in line)
    wanted = [f"{number}\t{source[number - 1]}" for number in range(first + 1, first + 6)]
    assert [line for line in said.splitlines() if line in wanted] == wanted
    assert "exited with code 03" in said


@pytest.mark.parametrize("backend", CLOSING)
def test_a_violation_that_ends_the_process_is_stopped_at_in_the_code_that_did_it(debugged: Path, backend: str) -> None:
    said = sourced(
        [debugged, "scribble"], "run", "info symbol $pc", "backtrace", "continue",
        IA2_EXIT_BACKEND=backend, IA2_EXIT_MODE="enforce", **WATCHED,
    )  # fmt: skip
    assert re.search(
        r"^Violation: destructor \d+: tried to write own_data\+0x0 \(debugged\+0x\w+\) of 1 \(debugged\); "
        r"the process ends here\ndestructor \d+: cxa_atexit scribble ",
        said,
        re.M,
    )
    assert "scribble + " in said, "the frame that is selected"
    assert "<signal handler called>" in said
    assert "Program terminated with signal SIGSEGV" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_crash_in_a_destructor_is_stopped_at(debugged: Path, backend: str) -> None:
    said = sourced([debugged, "crash"], "run", "info symbol $pc", "continue", IA2_EXIT_BACKEND=backend, **WATCHED)
    assert "received signal SIGSEGV" in said
    assert "own_crash + " in said
    assert "Program terminated with signal SIGSEGV" in said or said.count("received signal SIGSEGV") > 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_crash_before_the_exit_phase_is_stopped_at_by_gdb_itself(debugged: Path, backend: str) -> None:
    said = sourced([debugged, "crash now"], "run", "info symbol $pc", IA2_EXIT_BACKEND=backend)
    assert "Program received signal SIGSEGV" in said
    assert "own_crash + " in said


def test_a_program_that_is_run_again_is_stopped_again(debugged: Path) -> None:
    said = sourced([debugged], "break-destructor own_bye", *["run", "continue"] * 2, **WATCHED)
    assert stops(said) == ["own_bye"] * 2


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("a b", "break-destructor: 2 words: expected one function, object or compartment; quote a name with blanks"),
        ("-force x", "break-destructor: 2 words"),
        ("-force", "break-destructor: -force: no such option"),
        ("4096", "break-destructor: 4096: compartments have numbers from 0 to 4095"),
    ],
)
def test_an_argument_that_can_never_match_is_refused_in_one_line(debugged: Path, argument: str, complaint: str) -> None:
    said = sourced([debugged], f"break-destructor {argument}")
    assert said.startswith(complaint)
    assert said.count("\n") == 1


def test_a_compartment_that_a_running_process_does_not_have_is_refused(debugged: Path) -> None:
    said = sourced([debugged], "break main", "run", "break-destructor 7")
    assert said.splitlines()[-1].startswith("break-destructor: 7: no such compartment (there are 0 (shared), 1 (debug")

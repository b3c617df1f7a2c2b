"""Ways to end a program: as without the runtime, and every destructor that ran accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest
from runtime_running import RUNTIME, Outcome, build, library, run, run_covered, same

from ia2exit.events import End, Enter, Exec, Exit, Start

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("endings"), "endings.c")


def handlers(outcome: Outcome) -> list[str]:
    """Kinds of what the program registered, in the order in which they ran."""
    return [event.kind for event in outcome.entered if not event.kind.startswith("fini")]


def ended(outcome: Outcome) -> tuple[str, int | None]:
    last = outcome.events[-1]
    assert isinstance(last, End)
    return last.how, last.status


@pytest.mark.parametrize(
    ("scenario", "status", "stdout", "end"),
    [
        ("handler-exit", 5, b"second\nexit(5)\nfirst\n", ("exit", 5)),
        ("handler-underscore-exit", 6, b"second\n_exit(6)\n", ("_exit", 6)),
        ("handler-quick-exit", 7, b"second\nquick_exit(7)\nat_quick_exit\n", ("quick_exit", 7)),
        ("signal", 15, b"signal\nfirst\n", ("exit", 15)),
        ("constructor", 11, b"first\n", ("exit", 11)),
        ("errno", 2, b"0 4711 4712 4713\non_exit 2 errno\nfirst\nfirst\n", ("exit", 2)),
        ("environ", 2, b"same environ\n", ("exit", 2)),
    ],
)
def test_an_ending_is_as_without_us(
    program: Path, scenario: str, status: int, stdout: bytes, end: tuple[str, int]
) -> None:
    outcome = same([program, scenario])
    assert (outcome.status, outcome.stdout) == (status, stdout)
    assert ended(outcome) == end
    assert outcome.counters.ran == len(outcome.entered)


def test_an_exit_that_is_not_seen_begins_before_any_object_is_finalised(program: Path, tmp_path: Path) -> None:
    """No function of ours was called for it, and nothing is registered: the program's own end tells."""
    outcome = same([program, "unseen", library(tmp_path, "plugin.c", "plugin.so")])
    assert (outcome.status, outcome.stdout) == (12, b"plugin.so destructor\n")
    kinds = [type(event) for event in outcome.events]
    assert kinds.index(Exit) < kinds.index(Enter)
    assert {event.moment for event in outcome.entered} == {"exit"}
    assert ended(outcome) == ("exit", 12)


def test_handlers_see_the_errno_that_the_program_and_they_left(program: Path) -> None:
    """Tracing makes system calls around each handler, none of which may show."""
    outcome = same([program, "errno-in-handlers"])
    assert outcome.stdout == b"errno 76\nerrno 77\n"


def test_on_exit_gets_its_argument_and_the_whole_status(program: Path) -> None:
    outcome = same([program, "on-exit"])
    assert outcome.status == 300 % 256
    assert outcome.stdout == b"on_exit 300 two\non_exit 300 one\n"
    assert ended(outcome)[0] == "exit"


def test_a_negative_status_is_what_the_events_say(program: Path) -> None:
    """``exit(-1)``: ``on_exit`` handlers get -1, the parent 255; that the status is known must be told."""
    outcome = same([program, "negative"])
    assert (outcome.status, outcome.stdout) == (255, b"on_exit -1 negative\n")
    (began,) = (event for event in outcome.events if isinstance(event, Exit))
    assert began.how == "main"
    assert began.status in {-1, 255}
    assert ended(outcome)[1] in {-1, 255}


def test_more_quick_exit_handlers_than_stubs_all_run(program: Path) -> None:
    outcome = same([program, "quick-many"])
    assert outcome.status == 8
    assert outcome.stdout.split() == [str(number).encode() for number in range(1, 301)] + [b"at_quick_exit"]
    assert outcome.counters.bypassed == 301 - 256
    assert handlers(outcome) == ["quick_exit"] * 256


def test_a_forked_child_runs_its_handlers_and_writes_nothing(program: Path) -> None:
    outcome = same([program, "fork"])
    assert outcome.stdout == b"second\nfirst\nchild 3\nfirst\n"
    assert len(outcome.starts) == 1
    assert {event.pid for event in outcome.events} == {outcome.starts[0].pid}
    assert ended(outcome) == ("exit", 4)


def test_a_forked_child_that_is_followed_tells_its_own_story(program: Path) -> None:
    outcome = run_covered([program, "fork"], IA2_EXIT_FOLLOW="1")
    assert outcome.stdout == b"second\nfirst\nchild 3\nfirst\n"
    parent, child = outcome.starts
    assert (parent.forked, child.forked) == (False, True)
    assert child.ppid == parent.pid
    told = [event for event in outcome.events if event.pid == child.pid]
    assert told[0] == child
    assert isinstance(told[-1], End)
    assert (told[-1].how, told[-1].status) == ("exit", 3)
    assert ended(outcome) == ("exit", 4)


def test_a_followed_child_is_counted_where_only_counters_are_asked_for(program: Path, tmp_path: Path) -> None:
    counters = tmp_path / "counters"
    run([program, "fork"], LD_PRELOAD=str(RUNTIME), IA2_DIAG_EXIT=str(counters), IA2_EXIT_FOLLOW="1")
    assert counters.read_text().count('"event":"counters"') == 2


@pytest.mark.parametrize("scenario", ["vfork-exec", "vfork-underscore-exit"])
@pytest.mark.parametrize("target", ["path", "descriptor"])
def test_a_child_of_vfork_leaves_its_parents_trace_alone(
    program: Path, tmp_path: Path, scenario: str, target: str
) -> None:
    """The child closes all descriptors, as CPython's subprocess does, while it shares its parent's memory."""
    trace = tmp_path / "trace"
    script = 'LD_PRELOAD="$1" IA2_TRACE_EXIT="$2" exec "$3" "$4" 2>>"$0"'
    given = str(trace) if target == "path" else "1"
    done = run(["/bin/sh", "-c", script, trace, RUNTIME, given, program, scenario])
    outcome = Outcome(done.status, done.stdout, done.stderr, trace.read_bytes().splitlines())
    assert outcome.status == 4
    assert outcome.stdout.endswith(b"first\n")
    assert ended(outcome) == ("exit", 4)
    assert outcome.counters.lost == 0
    assert handlers(outcome) == ["cxa_atexit"]


def test_an_exec_after_vfork_is_told_as_a_childs(program: Path) -> None:
    outcome = same([program, "vfork-exec"])
    (told,) = (event for event in outcome.events if isinstance(event, Exec))
    assert (told.path, told.child) == ("/bin/true", True)


def test_a_program_that_its_ld_so_was_asked_to_start_has_its_own_name() -> None:
    """The kernel knows ld.so only: /proc/self/exe and AT_EXECFN name that."""
    outcome = same([Path("/lib64/ld-linux-x86-64.so.2"), "/bin/true"])
    start = outcome.events[0]
    assert isinstance(start, Start)
    assert start.program == "/bin/true"
    assert {event.function.object for event in outcome.entered} == {"/bin/true"}
    assert {event.owner_name for event in outcome.entered} == {"true"}

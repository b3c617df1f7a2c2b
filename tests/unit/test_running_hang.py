"""A time limit: a program that hangs in its exit is asked where, and every program that takes too long is ended."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest
from running_programs import LIMIT, run, script

import ia2exit
from ia2exit import cli, running
from ia2exit.errors import Ia2exitError
from ia2exit.running import hang, outcome, trace
from ia2exit.running.launch import Ended, descends, start_and_wait
from ia2exit.running.program import Program

#: Plays a program under the runtime: `exit` in the trace, then an answer of three threads to each question.
EXITING = f"""#!/usr/bin/perl
$| = 1;
sub say_event {{ open my $trace, '>>', $ARGV[0]; print $trace qq({{"event":"$_[0]","pid":$$,"what":"$_[1]"}}\\n) }}
$SIG{{NUM{int(hang.ASK)}}} = sub {{
    say_event('fault', 'timeout');
    say_event('stack', '');
    say_event('stack', '');
}};
say_event('exit', '');
sleep 1 while 1;
"""
#: The same, but it says nothing when it is asked, and does not end when it is told to.
STUBBORN = f"""#!/usr/bin/perl
$SIG{{NUM{int(hang.ASK)}}} = $SIG{{TERM}} = 'IGNORE';
open my $trace, '>>', $ARGV[0];
print $trace qq({{"event":"start","pid":$$}}\\n{{"event":"exit","pid":$$}}\\n);
close $trace;
sleep 1 while 1;
"""


class WhenReady(hang.Patience):
    """Patience that begins to run out when the program has written so many events."""

    def __init__(self, seconds: float, events: Path, ready: int) -> None:
        super().__init__(seconds, str(events), descends)
        self._file, self._ready = events, ready

    def begin(self, child: int) -> None:
        until = time.monotonic() + LIMIT
        while self._file.read_bytes().count(b"\n") < self._ready and time.monotonic() < until:
            os.sched_yield()
        super().begin(child)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events"
    path.touch()
    return path


def start(path: Path, events: Path, patience: hang.Patience) -> Ended:
    """A program, a perl script for one, that writes to ``events``."""
    command = ["/usr/bin/perl", str(path), str(events)]
    return start_and_wait(Program(command[0], command, command[0]), dict(os.environ), patience)


def test_a_program_that_hangs_in_its_exit_is_asked_and_then_ended(tmp_path: Path, events: Path) -> None:
    patience = WhenReady(0.01, events, 1)
    ended = start(script(tmp_path / "exiting", EXITING), events, patience)
    assert (patience.over, len(patience.asked), patience.answered) == (True, 1, True)
    assert ended.signal == signal.SIGTERM
    assert events.read_text().count('"fault"') == 1
    assert events.read_text().count('"stack"') == 2


def test_one_that_neither_answers_nor_ends_is_killed(
    tmp_path: Path, events: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hang, "_ANSWER", 0.1)
    monkeypatch.setattr(hang, "_GRACE", 0.1)
    patience = WhenReady(0.01, events, 2)
    ended = start(script(tmp_path / "stubborn", STUBBORN), events, patience)
    assert (patience.over, len(patience.asked), patience.answered) == (True, 1, False)
    assert ended.signal == signal.SIGKILL


def test_before_the_exit_phase_nothing_is_asked(tmp_path: Path, events: Path) -> None:
    """Nobody has a handler for the question then: it would end the program."""
    patience = hang.Patience(0.01, str(events), descends)
    ended = start(script(tmp_path / "waiting", "sleep 1 while 1;"), events, patience)
    assert (patience.over, patience.asked, ended.signal) == (True, set(), signal.SIGTERM)


@pytest.mark.parametrize("last", ["end", "start"])
def test_a_process_whose_exit_is_over_is_not_asked(tmp_path: Path, events: Path, last: str) -> None:
    text = f"""open my $trace, '>>', $ARGV[0];
print $trace qq({{"event":"exit","pid":$$}}\\n{{"event":"{last}","pid":$$}}\\n);
close $trace;
sleep 1 while 1;
"""
    patience = WhenReady(0.01, events, 2)
    ended = start(script(tmp_path / "over", text), events, patience)
    assert (patience.asked, ended.signal) == (set(), signal.SIGTERM)


def test_a_stranger_in_the_trace_is_left_alone(tmp_path: Path, events: Path) -> None:
    events.write_text(f'{{"event":"exit","pid":{os.getpid()}}}\nno event\n')
    patience = hang.Patience(0.01, str(events), descends)
    ended = start(script(tmp_path / "waiting", "sleep 1 while 1;"), events, patience)
    assert (patience.asked, ended.signal) == (set(), signal.SIGTERM)


def test_a_child_that_hangs_is_asked_and_ended_with_its_parent(tmp_path: Path, events: Path) -> None:
    exiting = script(tmp_path / "exiting", EXITING)
    patience = WhenReady(0.01, events, 1)
    ended = start(script(tmp_path / "parent", f"system('{exiting}', $ARGV[0]); exit 3;"), events, patience)
    assert len(patience.asked) == 1
    assert patience.answered
    assert ended.status == 3 or ended.signal == signal.SIGTERM
    assert has_ended(*patience.asked)


def has_ended(pid: int) -> bool:
    """Wait for the end of a process that is not our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], LIMIT)[0])
    finally:
        os.close(descriptor)


def test_what_the_program_makes_of_the_signal_is_its_own_affair(tmp_path: Path, events: Path) -> None:
    text = """$SIG{TERM} = sub { exit 0 };
open my $trace, '>>', $ARGV[0];
print $trace "ready\\n";
close $trace;
sleep 1 while 1;
"""
    patience = WhenReady(0.01, events, 1)
    ended = start(script(tmp_path / "polite", text), events, patience)
    assert (ended.status, ended.signal, patience.over) == (0, None, True)
    (_, note) = outcome.notes(trace.read([]), ended, "polite", patience, follow=False)
    assert note == "polite was still running after 0.01 s, had not come to its exit, and ended by itself then"


def test_a_program_that_ends_in_time_is_left_alone(tmp_path: Path, events: Path) -> None:
    patience = hang.Patience(LIMIT, str(events), descends)
    ended = start(script(tmp_path / "quick", "exit 5;"), events, patience)
    assert (ended.status, patience.over) == (5, False)


def test_beside_other_threads_the_limit_holds_too() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        result = ia2exit.run(["sleep", "1000"], timeout=0.2)
    finally:
        stop.set()
        thread.join()
    assert (result.timed_out, result.signal) == (True, signal.SIGTERM)


def test_the_command_line_ends_with_124_and_says_why() -> None:
    done = run(["sleep", "1000"], "--timeout", "0.2")
    assert done.returncode == 124
    said = done.stderr.decode()
    assert "sleep was still running after 0.2 s, had not come to its exit, and was ended by SIGTERM" in said


def test_the_status_is_124_whatever_the_program_ended_with(monkeypatch: pytest.MonkeyPatch) -> None:
    late = msgspec.structs.replace(ia2exit.run(["true"]), timed_out=True)
    monkeypatch.setattr(running, "run", lambda *_, **__: late)
    assert cli.main(["run", "--quiet", "--timeout", "1", "--", "true"]) == 124


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    done = run(["sh", "-c", "exit 7"], "--timeout", str(LIMIT))
    assert done.returncode == 7
    assert "still running" not in done.stderr.decode()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_a_limit_is_a_time(seconds: float) -> None:
    with pytest.raises(Ia2exitError, match="expected more than 0"):
        ia2exit.run(["true"], timeout=seconds)

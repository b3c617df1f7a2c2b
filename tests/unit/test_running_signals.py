"""Signals and terminals: what is sent to `ia2exit run` reaches the program, once."""

from __future__ import annotations

import os
import pty
import signal
from pathlib import Path

import pytest
from running_programs import LIMIT, environment, line, ours, running, script

#: Says when it is ready, then one line for each signal; ends with status 7 when told to by USR2.
LISTENER = """#!/usr/bin/perl
$| = 1;
for my $name (qw(INT TERM USR1 HUP CONT)) { $SIG{$name} = sub { print "got $name\\n" } }
$SIG{USR2} = sub { print "bye\\n"; exit 7 };
print "ready\\n";
sleep 1 while 1;
"""


@pytest.fixture
def listener(tmp_path: Path) -> Path:
    return script(tmp_path / "listener", LISTENER)


@pytest.mark.parametrize("name", ["INT", "TERM", "USR1", "HUP", "CONT"])
def test_a_signal_sent_to_us_reaches_the_program_once(listener: Path, name: str) -> None:
    with running([listener], "--quiet") as process:
        assert line(process) == b"ready\n"
        process.send_signal(signal.Signals[f"SIG{name}"])
        assert line(process) == f"got {name}\n".encode()
        process.send_signal(signal.SIGUSR2)
        assert line(process) == b"bye\n", "nothing came twice"
        assert process.wait(timeout=LIMIT) == 7


@pytest.mark.parametrize(("target", "seen"), [("0", b"1"), ("getppid", b"0")])
def test_what_the_program_sends_to_its_group_or_to_us_is_not_passed_back(
    tmp_path: Path, target: str, seen: bytes
) -> None:
    text = f"""#!/usr/bin/perl
$| = 1;
my $seen = 0;
$SIG{{USR1}} = sub {{ $seen++ }};
$SIG{{USR2}} = sub {{ print $seen; exit }};
kill 'USR1', {target};
print "ready\\n";
sleep 1 while 1;
"""
    with running([script(tmp_path / "sender", text)], "--quiet") as process:
        assert line(process) == b"ready\n"
        process.send_signal(signal.SIGUSR2)  # a larger number: what came before it is passed on before it
        assert process.communicate(timeout=LIMIT)[0] == seen


def test_a_signal_that_the_program_does_not_catch_ends_both() -> None:
    with running(["sh", "-c", "echo ready; exec sleep 1000"]) as process:
        assert line(process) == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LIMIT) == -signal.SIGTERM


def test_when_the_program_stops_so_do_we_and_go_on_with_it() -> None:
    with running(["sh", "-c", "echo ready; kill -TSTP $$; echo again; exit 6"], "--quiet") as process:
        assert line(process) == b"ready\n"
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert os.WSTOPSIG(status) == signal.SIGTSTP
        process.send_signal(signal.SIGCONT)
        assert line(process) == b"again\n"
        assert process.wait(timeout=LIMIT) == 6


def test_control_c_on_a_terminal_reaches_the_program_once(listener: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = [str(word) for word in ours([listener], "--quiet")]
        os.execve(command[0], command, environment())
    with os.fdopen(terminal, "r+b", buffering=0) as stream:
        expect(stream.fileno(), b"ready\r\n")
        stream.write(b"\x03")
        expect(stream.fileno(), b"^Cgot INT\r\n")
        os.kill(pid, signal.SIGUSR2)
        expect(stream.fileno(), b"bye\r\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def expect(terminal: int, text: bytes) -> None:
    """Read exactly this from a terminal."""
    seen = b""
    while len(seen) < len(text):
        seen += os.read(terminal, len(text) - len(seen))
    assert seen == text

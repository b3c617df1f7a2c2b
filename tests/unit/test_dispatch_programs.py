"""Unmodified programs whose every system call is dispatched behave as they do without."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from runtime_running import BUILD, LIMIT

PRELOAD = BUILD / "tests" / "unit" / "libdispatch_preload.so"

#: Everything that a shell does: forks, pipes, traps, job control, here-documents, substitution.
SHELL = r"""
trap 'echo caught; trapped=1' USR1
kill -USR1 $$
for i in 1 2 3; do echo $i | sed 's/^/line /'; done
echo $(echo nested $(echo twice))
( trap 'echo child ends; exit 3' TERM; kill -TERM $(exec sh -c 'echo $PPID'); echo not here )
echo status $?
sleep 60 & kill $!; wait $!
echo ended $?
cat <<END
trapped $trapped
END
read word < /etc/hostname && test -n "$word" && echo read
exit 5
"""

#: Signals, sleeps that are interrupted, vfork and fork, threads, sockets, polls, big reads and writes.
PYTHON = r"""
import os, select, signal, socket, subprocess, sys, threading, time
seen = []
signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGSEGV])
os.kill(os.getpid(), signal.SIGUSR1)
print(seen, signal.sigpending(), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
print(signal.sigwait([signal.SIGUSR1]))
print(subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 4"], capture_output=True))
print(os.waitstatus_to_exitcode(os.system("exit 6")))
child = os.fork()
if child == 0:
    os.execv("/bin/sh", ["sh", "-c", "kill -TERM $$"])
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
a, b = socket.socketpair()
thread = threading.Thread(target=lambda: (b.sendall(bytes(1000000)), b.close()))
thread.start()
print(sum(iter(lambda: len(a.recv(65536)), 0)))
thread.join()
r, w = os.pipe()
os.writev(w, [b"one", b"two"])
buffers = [bytearray(2), bytearray(9)]
print(os.readv(r, buffers), buffers)
poll = select.epoll()
poll.register(w, select.EPOLLOUT)
print(len(poll.poll(1)))
try:
    os.open("/nonexistent", os.O_RDONLY)
except OSError as error:
    print(error)
print(len(os.urandom(100)), os.path.exists("/proc/self"), time.clock_gettime(time.CLOCK_REALTIME) > 0)
sys.stdout.flush()
os.abort()
"""

PERL = r"""
$SIG{ALRM} = sub { die "late\n" };
eval { alarm 1; 1 while 1; };
print $@;
open(my $out, "|-", "tr a-z A-Z") or die; print $out "shout\n"; close $out;
print `echo backquote`;
exit 2;
"""

PROGRAMS = {
    "cat": ["cat", "/etc/passwd", "/nonexistent"],
    "ls": ["ls", "-la", "/usr"],
    "find": ["find", "/etc", "-maxdepth", "2", "-newer", "/nonexistent"],
    "sort": ["sh", "-c", "seq 200000 | sort -R --random-source=/usr/bin/sort | sort -n | cksum"],
    "tar": ["sh", "-c", "tar cf - -C /usr/share/common-licenses . | tar tf - | sort | cksum"],
    "dd": ["sh", "-c", "dd if=/dev/zero bs=1M count=16 2>/dev/null | cksum"],
    "sh": ["sh", "-c", SHELL],
    "bash": ["bash", "-c", SHELL],
    "python": ["/usr/bin/python3.11", "-c", PYTHON],
    "perl": ["perl", "-e", PERL],
    "timeout": ["timeout", "--preserve-status", "0.1", "sleep", "60"],
    "xargs": ["sh", "-c", "seq 40 | xargs -n1 -P4 sh -c 'exit 0'"],
    "gcc": ["sh", "-c", "echo 'int main(void) { return 3; }' | gcc -x c -S -o - - | grep main"],
    "killed": ["sh", "-c", "kill -KILL $$"],
    "segfault": ["/usr/bin/python3.11", "-c", "import ctypes; ctypes.string_at(1)"],
    "full": ["sh", "-c", "echo word > /dev/full"],
    "closed pipe": ["bash", "-c", "yes | head -c 100000 | cksum; echo ${PIPESTATUS[*]}"],
}


@dataclass(frozen=True)
class Outcome:
    """What a program leaves behind."""

    status: int
    stdout: bytes
    stderr: bytes


def run(command: list[str], **environment: str) -> Outcome:
    """A run in an environment of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    result = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        env={**kept, "LC_ALL": "C", **environment},
    )
    return Outcome(result.returncode, result.stdout, result.stderr)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_cannot_tell(name: str, tmp_path: Path) -> None:
    command = PROGRAMS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    count = tmp_path / "count"
    count.write_bytes(bytes(8))
    with_dispatch = run(command, LD_PRELOAD=str(PRELOAD), DISPATCH_COUNT=str(count))
    assert with_dispatch == run(command)
    assert int.from_bytes(count.read_bytes(), "little") > 0


def test_the_programs_do_what_they_are_there_for() -> None:
    outcome = run(PROGRAMS["python"])
    assert outcome.status == -signal.SIGABRT, outcome.stderr.decode()
    assert b"\n-15\n1000000\n" in outcome.stdout
    assert b"status 3\nended 143\ntrapped 1\nread\n" in run(PROGRAMS["bash"]).stdout
    assert run(PROGRAMS["perl"]) == Outcome(2, b"late\nSHOUT\nbackquote\n", b"")

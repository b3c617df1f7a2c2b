"""A command behind relay and agent is as if it had run here: streams, status, signals, identity; the guest's end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import pytest
from vm_driving import LIMIT, driver, environment, relayed

MEGABYTES = 3 << 20


def sh(script: str) -> list[str]:
    """A command for the shell."""
    return ["sh", "-c", script]


def python(script: str) -> list[str]:
    """A command for Python."""
    return [sys.executable, "-I", "-S", "-c", script]


def start(
    command: list[str], *, timeout: float = 0, variables: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[bytes]:
    """A command that is still running, its streams in pipes."""
    pipe = subprocess.PIPE
    arguments = driver(command, timeout=timeout)
    return subprocess.Popen(arguments, env={**environment(), **variables}, stdin=pipe, stdout=pipe, stderr=pipe)


def finish(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Wait for it. Returns what it wrote."""
    with process:
        return process.communicate(timeout=LIMIT)


# ---- streams ----


def test_output_and_errors_come_whole_and_apart() -> None:
    once = r"os.write(1, b'o\0' * 32768); os.write(2, b'e\n' * 32768)"
    done = relayed(python(f"import os\nfor i in range({MEGABYTES >> 16}):\n {once}"))
    assert done.returncode == 0
    assert done.stdout == b"o\0" * (MEGABYTES >> 1)
    assert done.stderr == b"e\n" * (MEGABYTES >> 1)


def test_input_arrives_whole_and_its_end_is_seen() -> None:
    data = bytes(range(256)) * (MEGABYTES >> 8)
    assert relayed(["cat"], input=data).stdout == data


def test_input_that_nobody_reads_holds_nothing_up() -> None:
    done = relayed(sh("head -c 5; seq 100000"), input=b"x" * MEGABYTES)
    assert done.stdout == b"xxxxx" + "".join(f"{i}\n" for i in range(1, 100001)).encode()


def test_an_endless_input_does_not_outlive_the_command() -> None:
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        done = relayed(["head", "-c", "10"], stdin=endless.stdout)
        endless.kill()
    assert done.stdout == b"y\n" * 5


def test_a_reader_that_leaves_ends_the_writer_by_sigpipe() -> None:
    process = start(["yes"])
    assert process.stdout is not None
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    process.stdout = None
    assert finish(process)[1] == b""
    assert process.returncode == -signal.SIGPIPE


def test_a_writer_that_ignores_sigpipe_is_told_by_epipe() -> None:
    script = "import os, sys\ntry:\n while True: os.write(1, b'y' * 9999)\nexcept BrokenPipeError: sys.exit(33)"
    process = start(python("import signal; signal.signal(signal.SIGPIPE, signal.SIG_IGN)\n" + script))
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    process.stdout = None
    finish(process)
    assert process.returncode == 33


def test_closed_streams_are_closed_for_the_command() -> None:
    script = "import os\nfor fd in 0, 1:\n try: os.fstat(fd)\n except OSError: os.write(2, b'%d closed\\n' % fd)"
    done = subprocess.run(
        ["sh", "-c", '"$@" <&- >&-', "sh", *map(str, driver(python(script)))],
        env=environment(),
        stderr=subprocess.PIPE,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"0 closed\n1 closed\n")


def test_a_child_that_keeps_output_open_does_not_hold_us() -> None:
    read, write = os.pipe()
    done = relayed(sh(f"(read -r _ <&{read}; echo late) & echo done; exit 4"), pass_fds=[read])
    os.close(write)
    os.close(read)
    assert (done.returncode, done.stdout) == (4, b"done\n")


def test_a_child_that_keeps_writing_does_not_hold_us() -> None:
    done = relayed(sh("yes & echo $! >&2; exit 5"))
    os.kill(int(done.stderr), signal.SIGKILL)
    assert done.returncode == 5


def test_a_stalled_reader_does_not_keep_a_signal_from_the_command(tmp_path: Path) -> None:
    """It says so in a file: what it writes to a stream of its own may have to wait behind what nobody reads."""
    heard = tmp_path / "heard"
    process = start(sh(f"trap ': > {heard}; exit 9' TERM; echo up >&2; while :; do echo yyyyyyyyyyyyyyyyy; done"))
    assert process.stderr is not None
    assert process.stderr.readline() == b"up\n"  # from here on nobody reads its output
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + LIMIT
    while not heard.exists():
        assert time.monotonic() < deadline, "the signal has not come through"
        time.sleep(0.01)
    finish(process)
    assert process.returncode == 9


# ---- how it ends ----


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_its_exit_status_is_ours(status: int) -> None:
    assert relayed(sh(f"exit {status}")).returncode == status


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_its_signal_ends_us_too(number: signal.Signals) -> None:
    assert relayed(sh(f"kill -{number.value} $$")).returncode == -number


def test_a_command_that_is_not_there_in_the_guest() -> None:
    done = relayed(["/nonexistent/x"])
    assert (done.returncode, done.stderr) == (127, b"ia2exit: vm: /nonexistent/x: No such file or directory\n")


def test_a_command_that_cannot_be_executed() -> None:
    done = relayed(["/etc/passwd"])
    assert (done.returncode, done.stderr) == (126, b"ia2exit: vm: /etc/passwd: Permission denied\n")


# ---- signals ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(number: signal.Signals) -> None:
    process = start(sh(f"trap 'echo got; exit 3' {number.value}; echo up; while :; do sleep 0.01; done"))
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(number)
    assert finish(process)[0] == b"got\n"
    assert process.returncode == 3


def test_interrupts_that_the_command_takes_do_not_end_the_guest() -> None:
    process = start(python(INTERRUPTED))
    assert process.stdout is not None
    for number in range(6):
        assert process.stdout.readline() == b"%d\n" % number
        process.send_signal(signal.SIGINT)
    assert finish(process)[1] == b""
    assert process.returncode == 6


INTERRUPTED = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
for number in range(6):
    os.write(1, b"%d\\n" % number)
    signal.sigwait([signal.SIGINT])
sys.exit(6)
"""


def test_three_interrupts_that_nobody_hears_end_a_guest_that_hangs(tmp_path: Path) -> None:
    process = start(
        sh("echo up; kill -STOP $PPID"), variables={"XDG_CACHE_HOME": str(tmp_path)}
    )  # the agent is its parent
    while process.poll() is None:  # until it ends: how fast signals are taken is not ours to say
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
    _, error = finish(process)
    assert process.returncode in (130, -signal.SIGINT)  # Python itself takes one that comes before the relay is there
    if process.returncode == 130:
        assert error.count(b"\n") == 1


def test_what_nohup_ignores_stays_ignored() -> None:
    process = start(sh("echo up; read -r line; echo $line"), variables={"IGNORE_SIGHUP": "1"})
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGHUP)
    process.stdin.write(b"alive\n")
    assert finish(process)[0] == b"alive\n"


# ---- as whom and where ----


def test_folder_umask_variables_and_limits_are_ours(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9 \xff")
    odd.mkdir()
    command = [b"sh", b"-c", b'pwd; umask; printf "%s\\n" "$ODD" "$1"; ulimit -c; id', b"sh", b"\xfe"]

    def limited() -> None:
        os.umask(0o27)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    here = {"cwd": odd, "preexec_fn": limited, "env": {**environment(), "ODD": os.fsdecode(b"\xfd")}}
    done = relayed(command, **here)  # type: ignore[arg-type]
    without = subprocess.run(command, stdout=subprocess.PIPE, timeout=LIMIT, check=True, **here)  # type: ignore[call-overload]
    assert done.stderr == b""
    assert done.stdout == without.stdout
    assert done.stdout.startswith(os.fsencode(odd) + b"\n0027\n\xfd\n\xfe\n0\n")


def test_programs_are_looked_for_in_the_path_that_is_passed() -> None:
    done = relayed(["sh"], env={**environment(), "PATH": "/nonexistent"})
    assert (done.returncode, done.stderr) == (127, b"ia2exit: vm: sh: No such file or directory\n")


# ---- the guest's end ----


def test_a_guest_that_dies_is_one_line_and_a_console_log(tmp_path: Path) -> None:
    done = relayed(sh("kill -9 $PPID"), env=environment(tmp_path))
    (kept,) = (tmp_path / "ia2exit" / "vm" / "console").iterdir()
    assert kept.read_text() == "ia2exit: made-up console\n"
    assert done.returncode == 2
    assert done.stderr.decode() == (
        'ia2exit: vm: the guest ended before the command did; its console ended with "ia2exit: made-up console"; '
        f"all of it: {kept}\n"
    )


def test_the_log_of_a_guest_that_died_may_have_no_place() -> None:
    done = relayed(sh("kill -9 $PPID"), env=environment(Path("/proc/nonexistent")))
    assert done.returncode == 2
    assert b"could not be kept: /proc/nonexistent" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_time_that_is_up_is_status_124(tmp_path: Path) -> None:
    process = start(sh("echo begun; read -r _"), timeout=1.5, variables={"XDG_CACHE_HOME": str(tmp_path)})
    assert process.wait(timeout=LIMIT) == 124  # its input is open, so nothing else ends it
    output, error = finish(process)
    assert output == b"begun\n"
    assert b"as --timeout says" in error
    assert error.count(b"\n") == 1
    assert len(list((tmp_path / "ia2exit" / "vm" / "console").iterdir())) == 1


def test_time_is_up_even_when_nobody_reads_our_output(tmp_path: Path) -> None:
    read, write = os.pipe()
    with subprocess.Popen(
        driver(["yes"], timeout=1.5), env=environment(tmp_path), stdout=write, stderr=subprocess.PIPE
    ) as process:
        os.close(write)
        assert process.wait(timeout=LIMIT) == 124
    os.close(read)


def test_two_at_a_time_do_not_meet() -> None:
    one, two = start(["cat"]), start(["cat"])
    for process, data in ((one, b"1"), (two, b"2")):
        assert process.stdin is not None
        process.stdin.write(data * 100000)
    assert finish(two)[0] == b"2" * 100000
    assert finish(one)[0] == b"1" * 100000

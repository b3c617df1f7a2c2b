"""`ia2exit run` changes nothing that the program, or whoever started it, can see."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from running_programs import LIMIT, PYTHON, environment, ours, run, running, script, start

import ia2exit

JEMALLOC = Path("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2")


@pytest.mark.parametrize("status", [0, 3, 255])
def test_the_exit_status_is_the_programs(status: int) -> None:
    assert run(["sh", "-c", f"exit {status}"]).returncode == status
    assert ia2exit.run(["sh", "-c", f"exit {status}"]).status == status


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGABRT", "SIGPIPE", "SIGRTMIN"])
def test_a_signal_that_ends_the_program_ends_us(name: str, tmp_path: Path) -> None:
    number = signal.Signals[name]
    command = ["sh", "-c", f"kill -{number.value} $$"]
    done = run(command, cwd=tmp_path)
    assert done.returncode == -number
    assert name.encode() in done.stderr
    result = ia2exit.run(command)
    assert (result.status, result.signal) == (None, number)


def test_no_core_file_of_our_own_is_left(tmp_path: Path) -> None:
    """The program may leave one; the limit that keeps it from that holds, and we add none."""
    for limit in ("0", "unlimited"):
        folder = tmp_path / limit
        folder.mkdir()
        inner = ["sh", "-c", "ulimit -c; ulimit -c 0; kill -SEGV $$"]
        words = " ".join(f"'{word}'" for word in ours(inner, "--quiet"))
        done = start(["sh", "-c", f"ulimit -c {limit} && exec {words}"], cwd=folder)
        assert done.returncode == -signal.SIGSEGV
        assert done.stdout.decode().strip() == limit
        assert list(folder.iterdir()) == []


def test_binary_data_passes_through_both_ways() -> None:
    data = bytes(range(256)) * 20_000  # many times what a pipe holds
    done = run(["cat"], stdin=data)
    assert done.stdout == data
    both = run(["sh", "-c", "cat >&2"], "--quiet", stdin=data)
    assert both.stderr == data
    assert both.stdout == b""


@pytest.mark.parametrize("closed", [{0}, {1}, {2}, {0, 1, 2}])
@pytest.mark.parametrize("options", [[], ["--quiet"]])
def test_closed_streams_stay_closed(closed: set[int], options: list[str], tmp_path: Path) -> None:
    """The program finds them closed, and we end as it does, without a word about ourselves."""
    look = 's=; for n in 0 1 2; do [ -e /proc/$$/fd/$n ] && s="$s $n"; done'
    tell = script(tmp_path / "tell", f'#!/bin/sh\n{look}; echo "$s" > {tmp_path}/seen; exit 7\n')
    redirections = " ".join(f"{number}>&-" for number in sorted(closed))
    seen = []
    for command in ([str(tell)], ours([tell], *options)):
        words = " ".join(f"'{word}'" for word in command)
        done = start(["sh", "-c", f"exec {words} {redirections}"])
        assert done.returncode == 7
        assert b"Traceback" not in done.stderr
        seen.append({int(number) for number in (tmp_path / "seen").read_text().split()})
    assert seen[0] == seen[1] == {0, 1, 2} - closed


def test_the_environment_is_the_same() -> None:
    assert sorted(run(["env"]).stdout.splitlines()) == sorted(start(["env"]).stdout.splitlines())


def test_the_environment_is_the_same_with_a_preload_of_the_users() -> None:
    assert JEMALLOC.exists(), "install the packages in tests/real/apt-packages.txt"
    for preload in (str(JEMALLOC), f"{JEMALLOC} {JEMALLOC}", f":{JEMALLOC}:"):
        expected = start(["env"], LD_PRELOAD=preload).stdout
        assert sorted(run(["env"], LD_PRELOAD=preload).stdout.splitlines()) == sorted(expected.splitlines())


def test_our_own_variables_do_not_reach_the_program() -> None:
    done = run(["env"], IA2_TRACE_EXIT="0", IA2_EXIT_MODE="observe", IA2_EXIT_SCRUB="0")
    assert b"IA2_" not in done.stdout


def test_python_started_in_the_c_locale_adds_no_variable() -> None:
    expected = start(["env"], LC_ALL="", LANG="C").stdout
    assert run(["env"], LC_ALL="", LANG="C").stdout == expected


def descriptors(text: bytes) -> dict[int, str]:
    """Number -> rights and target, from ``ls -l /proc/self/fd``; pipes are told apart by nothing but being pipes."""
    rows = re.findall(rb"^(l\S+) .* (\d+) -> (.*)$", text, re.MULTILINE)
    return {int(n): re.sub(r"\d+", "N", f"{rights.decode()} {target.decode()}") for rights, n, target in rows}


def test_the_descriptors_are_the_same(tmp_path: Path) -> None:
    """Those of a child to the last; the program itself has one more, far up and closed on exec, for the events."""
    child = ["sh", "-c", "ls -l /proc/self/fd; true"]
    with (tmp_path / "extra").open("w") as extra:
        number = extra.fileno()

        def listed(command: list[str | Path]) -> dict[int, str]:
            done = subprocess.run(
                command, env=environment(), input=b"", capture_output=True, timeout=LIMIT, check=True, pass_fds=[number]
            )
            return descriptors(done.stdout)

        expected = listed([*child])
        assert number in expected
        assert listed(ours(child)) == expected
        own = listed(ours(["ls", "-l", "/proc/self/fd"]))
    assert {n: target for n, target in own.items() if n < 200} == expected
    assert len(own) == len(expected) + 1


SIGNALS = re.compile(rb"Sig(Blk|Ign):\s*([0-9a-f]+)")


def masks(command: list[str | Path]) -> dict[bytes, int]:
    """SigBlk and SigIgn without the two signals that glibc keeps for itself: its posix_spawn leaves them ignored."""
    found = {name: int(value, 16) for name, value in SIGNALS.findall(start(command).stdout)}
    return {name: value & ~(1 << 31 | 1 << 32) for name, value in found.items()}


@pytest.mark.parametrize("before", [[], ["env", "--ignore-signal=USR1,HUP", "--block-signal=USR2,TERM,INT"]])
def test_blocked_and_ignored_signals_are_the_same(before: list[str | Path]) -> None:
    show: list[str | Path] = ["grep", "Sig", "/proc/self/status"]
    expected = masks([*before, *show])
    assert expected.keys() == {b"Blk", b"Ign"}
    assert masks([*before, *ours(show, "--quiet")]) == expected
    if before:
        assert expected[b"Blk"] == 1 << signal.SIGUSR2 - 1 | 1 << signal.SIGTERM - 1 | 1 << signal.SIGINT - 1


def test_our_own_mask_is_what_it_was() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    ia2exit.run(["true"])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before


def test_a_broken_pipe_ends_the_program_though_python_ignores_it() -> None:
    """``ia2exit run -- cat /dev/zero | head -c 1``."""
    with running(["cat", "/dev/zero"]) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"\0"
        process.stdout.close()
        assert process.wait(timeout=LIMIT) == -signal.SIGPIPE


def test_a_script_and_its_name_are_what_the_kernel_makes_of_them(tmp_path: Path) -> None:
    shell = script(tmp_path / "of-shell", '#!/bin/sh\necho "$0" "$@"; exit 9\n')
    perl = script(tmp_path / "with-option", '#!/usr/bin/perl -w\nprint "$0 @ARGV $^W\\n"; exit 9;\n')
    shim = script(tmp_path / "shim", '#!/usr/bin/env perl\nprint "$0 @ARGV\\n"; exit 9;\n')
    bare = script(tmp_path / "bare", 'echo "$0" "$@"; exit 9\n')
    for program in (shell, perl, shim):
        expected = start([program, "a b", "c"])
        done = run([program, "a b", "c"])
        assert (done.returncode, done.stdout) == (expected.returncode, expected.stdout) == (9, expected.stdout)
        assert start(ours([program.name, "a b", "c"]), PATH=f"{tmp_path}:/usr/bin:/bin").stdout == expected.stdout
    done = run([bare, "a b", "c"])  # no #!: execvp gives it to the shell, the kernel would refuse it
    assert (done.returncode, done.stdout) == (9, f"{bare} a b c\n".encode())


def test_a_script_for_env_reports_the_program_behind_it(tmp_path: Path) -> None:
    shim = script(tmp_path / "shim", "#!/usr/bin/env perl\nexit 0;\n")
    result = ia2exit.run([str(shim)])
    assert Path(result.program).name == "perl"
    assert result.processes[0].replaced_by is None


def test_the_environment_of_the_record_is_what_was_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    assert ia2exit.run(["env"], env={"PATH": "/usr/bin:/bin", "A": "b"}).status == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["A=b", "PATH=/usr/bin:/bin"]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    assert run(["true"], TMPDIR=str(tmp_path)).returncode == 0
    assert run(["sh", "-c", "kill -9 $$"], TMPDIR=str(tmp_path)).returncode == -9
    assert run(["no-such-program"], TMPDIR=str(tmp_path)).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_it_works_as_a_child_whose_parent_ignores_the_end_of_children() -> None:
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    done = start([PYTHON, "-c", code, *ours(["sh", "-c", "exit 5"])])
    assert done.returncode == 5


def test_it_works_beside_other_threads() -> None:
    """The kernel may hand the news of the program's end to any thread: then nobody would hear of it."""
    done = threading.Event()
    others = [threading.Thread(target=done.wait, daemon=True) for _ in range(3)]
    for other in others:
        other.start()
    try:
        assert [ia2exit.run(["sh", "-c", "exit 5"]).status for _ in range(5)] == [5] * 5
    finally:
        done.set()

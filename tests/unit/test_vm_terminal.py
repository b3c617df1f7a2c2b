"""A command behind relay and agent on a terminal: it has one of its own, as large as ours; keys make signals there."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from vm_driving import LIMIT, driver, environment


class Terminal:
    """A terminal, what was typed on it, and what it shows."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        self.resize(24, 80)
        self.shown = b""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, script: str, cache: Path | None = None, timeout: float = 0) -> None:
        """A shell's script, with this as its controlling terminal."""

        def control() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            driver(["sh", "-c", script], timeout=timeout),
            env=environment(cache),
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            start_new_session=True,
            preexec_fn=control,  # noqa: PLW1509
        )

    def resize(self, rows: int, columns: int) -> None:
        """Its window has that size."""
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def keys(self, text: bytes) -> None:
        """Somebody types."""
        os.write(self.ours, text)

    def expect(self, text: bytes) -> None:
        """Read on until it shows that."""
        while text not in self.shown:
            assert select.select([self.ours], [], [], LIMIT)[0], self.shown
            self.shown += os.read(self.ours, 4096)

    def end(self) -> int:
        """The exit status."""
        assert self.process is not None
        return self.process.wait(timeout=LIMIT)

    def modes(self) -> list[object]:
        """What ``stty`` would say."""
        return termios.tcgetattr(self.theirs)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait(timeout=LIMIT)
    os.close(made.ours)
    os.close(made.theirs)


def test_all_three_streams_are_a_terminal_of_the_same_size(terminal: Terminal) -> None:
    terminal.resize(33, 111)
    terminal.start("test -t 0 && test -t 1 && test -t 2 && stty size </dev/tty")
    terminal.expect(b"33 111\r\n")
    assert terminal.end() == 0


def test_a_new_size_reaches_the_command(terminal: Terminal) -> None:
    terminal.start("trap 'stty size; exit 0' WINCH; echo up; while :; do sleep 0.01; done")
    terminal.expect(b"up\r\n")
    terminal.resize(50, 99)
    terminal.expect(b"50 99\r\n")
    assert terminal.end() == 0


def test_the_interrupt_key_is_sigint_for_the_command(terminal: Terminal) -> None:
    terminal.start("trap 'echo got; exit 7' INT; echo up; while :; do sleep 0.01; done")
    terminal.expect(b"up\r\n")
    terminal.keys(b"\x03")
    terminal.expect(b"got\r\n")
    assert terminal.end() == 7


def test_what_is_typed_is_echoed_once_and_its_end_is_seen(terminal: Terminal) -> None:
    terminal.start("echo up; cat; echo end")
    terminal.expect(b"up\r\n")
    terminal.keys(b"word\n")
    terminal.expect(b"word\r\nword\r\n")
    terminal.keys(b"\x04")
    terminal.expect(b"end\r\n")
    assert terminal.end() == 0
    assert terminal.shown.count(b"word") == 2


def test_colours_and_control_sequences_come_as_they_are(terminal: Terminal) -> None:
    terminal.start(r"printf '\033[31mred\033[0m\n'")
    terminal.expect(b"\033[31mred\033[0m\r\n")
    assert terminal.end() == 0


@pytest.mark.parametrize("script", ["echo up; exit 0", "echo up; kill -9 $$", "echo up; kill -9 $PPID"])
def test_our_terminal_is_afterwards_as_it_was(terminal: Terminal, tmp_path: Path, script: str) -> None:
    before = terminal.modes()
    terminal.start(script, tmp_path)
    terminal.end()
    assert terminal.modes() == before


def test_our_terminal_is_as_it_was_when_time_is_up(terminal: Terminal, tmp_path: Path) -> None:
    before = terminal.modes()
    terminal.start("echo up; read -r _", tmp_path, timeout=1.5)
    assert terminal.end() == 124
    terminal.expect(b"as --timeout says")
    assert terminal.modes() == before


def test_three_interrupt_keys_end_a_guest_that_hangs(terminal: Terminal, tmp_path: Path) -> None:
    before = terminal.modes()
    terminal.start("echo up; read -r _; kill -STOP $PPID", tmp_path)  # the agent is its parent
    terminal.expect(b"up\r\n")
    terminal.keys(b"\n")
    assert terminal.process is not None
    while terminal.process.poll() is None:
        terminal.keys(b"\x03")
        try:
            terminal.process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
    assert terminal.modes() == before

"""What the agent in the guest is asked to do, and checks of what the user gave."""

from __future__ import annotations

import marshal
import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ia2exit.errors import Ia2exitError

#: Folders that are the guest's own, whatever the host has in them.
_OWN = ("proc", "sys", "dev", "run")
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


@dataclass(frozen=True)
class Request:
    """A command, and as whom and where it runs (``guest/agent.py`` reads these names).

    File names, arguments and variables are bytes: the two sides need not agree on an encoding.
    """

    command: list[bytes]
    environment: dict[bytes, bytes]
    folder: bytes
    uid: int
    gid: int
    groups: list[int]
    umask: int
    #: Resource limits: number, soft, hard.
    limits: list[tuple[int, int, int]]
    #: Standard streams that the command is to find closed.
    closed: list[int]
    #: Standard input and output are a terminal; standard error, too.
    terminal: bool
    error_to_terminal: bool
    rows: int
    columns: int

    @classmethod
    def of(
        cls, command: Sequence[str], environment: Mapping[str, str] | None = None, closed: Sequence[int] = ()
    ) -> Request:
        """As it would run here and now."""
        terminal = os.isatty(0) and os.isatty(1)
        columns, rows = os.get_terminal_size(1) if terminal else (0, 0)
        umask = os.umask(0o22)
        os.umask(umask)
        variables = os.environ if environment is None else environment
        return cls(
            command=[os.fsencode(argument) for argument in command],
            environment={os.fsencode(name): os.fsencode(value) for name, value in variables.items()},
            folder=os.getcwdb(),  # noqa: PTH109  # bytes
            uid=os.getuid(),
            gid=os.getgid(),
            groups=os.getgroups(),
            umask=umask,
            limits=[(number, *resource.getrlimit(number)) for number in _LIMITS],
            closed=list(closed),
            terminal=terminal,
            error_to_terminal=terminal and os.isatty(2),
            rows=rows,
            columns=columns,
        )

    def encode(self) -> bytes:
        """The payload of the frame ``RUN``."""
        return marshal.dumps(asdict(self))


def check_command(command: Sequence[str]) -> None:
    """Raise for a command that cannot be one, or that has no folder to run in, before anything is booted.

    Raises:
        Ia2exitError: there is none, or no such program, or the present folder is not in the guest.
    """
    if not command or not command[0]:
        raise Ia2exitError("vm: no command: expected a program and its arguments behind --; write ia2exit vm -- CMD")
    import shutil

    if shutil.which(command[0]) is None:
        raise Ia2exitError(
            f"{command[0]}: not found: expected a program in PATH or the path of an executable file; "
            "the guest has this machine's own files"
        )
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise Ia2exitError("vm: the present folder is gone: expected one that exists; change to it") from None
    if _is_own(folder):
        raise Ia2exitError(f"{folder}: the guest has its own /{folder.parts[1]}: change to another folder")


def _is_own(folder: Path) -> bool:
    return len(folder.parts) > 1 and folder.parts[1] in _OWN


def check_writable(paths: Sequence[Path]) -> list[Path]:
    """The folders that ``--rw`` names, as the guest will see them: each once, a folder before what is in it.

    Raises:
        Ia2exitError: one is no folder, or one that the guest must have to itself.
    """
    return sorted(set(_checked(paths)))


def _checked(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        whole = path.resolve()
        if not whole.is_dir():
            raise Ia2exitError(
                f"{path}: not a folder: expected one that exists, for --rw; create it or name its parent"
            )
        if whole == Path("/") or _is_own(whole):
            raise Ia2exitError(f"{path}: the guest has its own {whole}: expected another folder for --rw")
        yield whole

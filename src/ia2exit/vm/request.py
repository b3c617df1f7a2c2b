"""What the agent in the guest is asked to do, and checks of what the user gave."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ia2exit.errors import Ia2exitError


@dataclass(frozen=True)
class Request:
    """A command, and as whom and where it runs (``guest/agent.py`` reads these names)."""

    command: list[str]
    environment: dict[str, str]
    folder: str
    uid: int
    gid: int
    groups: list[int]
    umask: int
    #: Standard input and output are a terminal; standard error, too.
    terminal: bool
    error_to_terminal: bool
    rows: int
    columns: int

    @classmethod
    def of(cls, command: Sequence[str], environment: Mapping[str, str] | None) -> Request:
        """As it would run here and now."""
        terminal = os.isatty(0) and os.isatty(1)
        columns, rows = os.get_terminal_size(1) if terminal else (0, 0)
        umask = os.umask(0o22)
        os.umask(umask)
        return cls(
            command=list(command),
            environment=dict(os.environ if environment is None else environment),
            folder=os.getcwd(),  # noqa: PTH109  # the text is wanted
            uid=os.getuid(),
            gid=os.getgid(),
            groups=os.getgroups(),
            umask=umask,
            terminal=terminal,
            error_to_terminal=terminal and os.isatty(2),
            rows=rows,
            columns=columns,
        )

    def encode(self) -> bytes:
        """The payload of the frame ``RUN``; file names that are no UTF-8 keep their bytes (surrogateescape)."""
        return json.dumps(asdict(self)).encode()


def check_command(command: Sequence[str]) -> None:
    """Raise for a command that cannot be one, before anything is booted.

    Raises:
        Ia2exitError: there is none, or no such program.
    """
    if not command:
        raise Ia2exitError("vm: no command: expected a program and its arguments behind --; write ia2exit vm -- CMD")
    import shutil

    if shutil.which(command[0]) is None:
        raise Ia2exitError(
            f"{command[0]}: not found: expected a program in PATH or the path of an executable file; "
            "the guest has this machine's own files"
        )


def check_writable(path: Path) -> Path:
    """The folder that ``--rw`` names, as the guest will see it.

    Raises:
        Ia2exitError: it is no folder, or one that the guest must have to itself.
    """
    whole = path.resolve()
    if not whole.is_dir():
        raise Ia2exitError(f"{path}: not a folder: expected one that exists, for --rw; create it, or name its parent")
    if whole == Path("/") or whole.parts[1] in ("proc", "sys", "dev", "run"):
        raise Ia2exitError(f"{path}: the guest has its own {whole}: expected another folder for --rw")
    if "," in str(whole) or not sys.getfilesystemencoding():
        raise Ia2exitError(f"{path}: has a comma in its path, which QEMU cannot be told: expected another for --rw")
    return whole

"""Which program a command starts, and whether the runtime can cover it. Imports nothing slow.

A command is looked up as ``execvp`` does (glibc ``posix/execvpe.c``), a script is followed to its interpreter as the
kernel does (``fs/binfmt_script.c``), and the program at the end is refused where no ld.so of glibc would load the
runtime.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ia2exit.elf.coverage import why_not
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError

#: What execvp searches when there is no PATH (confstr(_CS_PATH)).
_DEFAULT_PATH = "/bin:/usr/bin"
#: The kernel reads this much of a script's first line, and follows this many interpreters (fs/exec.c).
_SCRIPT_HEAD = 256
_MAX_INTERPRETERS = 5


class Program(NamedTuple):
    """What to start for a command."""

    #: The file to execute and the arguments to give it.
    path: str
    arguments: list[str]
    #: The ELF program that this ends in: ``path`` itself, or the interpreter of a script.
    image: str


def resolve(command: Sequence[str], environment: Mapping[str, str]) -> Program:
    """Find the program of a command and make sure that the runtime can be loaded into it.

    A script for ``#!/usr/bin/env NAME`` is started as ``NAME script …``, which is what env would do: else the one
    program that the runtime sees would be env itself.

    Raises:
        Ia2exitError: there is no such program, it cannot be executed, or it cannot be covered (static, another
            libc, another machine, setuid, setgid or file capabilities).
    """
    if not command or not command[0]:
        raise Ia2exitError("run: no command: expected a program to run; write ia2exit run -- PROGRAM ARGUMENT…")
    path, arguments = _find(command[0], environment), list(command)
    image = path
    for _ in range(_MAX_INTERPRETERS):
        head = _head(image)
        if head.startswith(b"\x7fELF"):
            _check(image)
            return Program(path, arguments, image)
        if not head.startswith(b"#!"):
            return _without_interpreter(image, head, path, arguments, environment)
        words = _interpreter(image, head)
        named = _named_by_env(words)
        if named is None:
            image = _usable(words[0], f"interpreter of {image}")
        elif image == path:
            path = image = _find(named, environment, f"interpreter of {path}")
            arguments = [named, _script_argument(command[0], environment), *arguments[1:]]
        else:  # a script whose interpreter is itself a script for env: leave that to the kernel
            image = _find(named, environment, f"interpreter of {image}")
    raise Ia2exitError(
        f"{path}: more than {_MAX_INTERPRETERS} interpreters in a row: expected a program at the end; "
        "name the program itself"
    )


def direct(program: Program) -> list[str]:
    """The command line that names the ELF program itself, for those who cannot start a script (gdb).

    Raises:
        Ia2exitError: it is a script whose interpreter is a script.
    """
    if program.path == program.image:
        return [program.image, *program.arguments[1:]]
    words = _interpreter(program.path, _head(program.path))
    if words[0] != program.image:
        raise Ia2exitError(
            f"{program.path}: a script whose interpreter {words[0]} is a script: "
            f"expected a program; name {program.image}"
        )
    return [*words, program.path, *program.arguments[1:]]


def _find(name: str, environment: Mapping[str, str], what: str = "") -> str:
    """The file that ``execvp`` would execute for a name."""
    if "/" in name:
        return _usable(name, what)
    refused: Ia2exitError | None = None
    for folder in environment.get("PATH", _DEFAULT_PATH).split(":"):
        candidate = f"{folder}/{name}" if folder else name
        try:
            return _usable(candidate if folder else f"./{name}", what)
        except Ia2exitError as error:
            if os.path.lexists(candidate) and not os.path.isdir(candidate):
                refused = refused or error
    if refused:
        raise refused
    label = f"{name} ({what})" if what else name
    raise Ia2exitError(f"{label}: no such program in PATH; check the name, or give its path")


def _usable(path: str, what: str = "") -> str:
    """``path`` itself, if it is a file that we may execute."""
    label = f"{path} ({what})" if what else path
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise Ia2exitError(f"{label}: {error.strerror}: expected a program; check the path") from None
    if stat.S_ISDIR(mode):
        raise Ia2exitError(f"{label}: is a folder: expected a program; name a file in it")
    if not stat.S_ISREG(mode):
        raise Ia2exitError(f"{label}: is not a regular file: expected a program; name another file")
    if not os.access(path, os.X_OK, effective_ids=True):
        raise Ia2exitError(f"{label}: may not be executed: expected a program; chmod +x it, or name its interpreter")
    return path


def _head(path: str) -> bytes:
    """The first bytes of a program; none for one that may be executed but not read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(_SCRIPT_HEAD)
    except OSError as error:
        raise Ia2exitError(
            f"{path}: {error.strerror}: expected to read its ELF header; make it readable, or run it as its owner"
        ) from None


def _interpreter(path: str, head: bytes) -> list[str]:
    """Interpreter of a script and its one optional argument."""
    line = head[2:].split(b"\n", 1)[0].strip(b" \t")
    words = [os.fsdecode(word) for word in line.split(None, 1)]
    if not words:
        raise Ia2exitError(f"{path}: the line #! names no interpreter: expected #!/path/of/program; correct it")
    return words


def _named_by_env(words: list[str]) -> str | None:
    """The program that ``#!/usr/bin/env NAME`` is about, or None for any other interpreter or use of env."""
    if len(words) < 2 or os.path.basename(words[0]) != "env":
        return None
    name = words[1]
    if name.startswith("-S "):
        name = name[3:].strip()
    return None if name.startswith("-") or any(letter in name for letter in "= \t\"'\\$") else name


def _script_argument(name: str, environment: Mapping[str, str]) -> str:
    """How the kernel tells the interpreter which script to run: the path that was executed."""
    return _find(name, environment)


def _without_interpreter(
    image: str, head: bytes, path: str, arguments: list[str], environment: Mapping[str, str]
) -> Program:
    """A text file without ``#!`` is run by the shell, as execvp does; anything else is refused."""
    if image != path or b"\0" in head:
        raise Ia2exitError(f"{image}: is neither an ELF file nor a script: expected a program; name another file")
    shell = _usable("/bin/sh")
    _check(shell)
    return Program(shell, ["/bin/sh", path, *arguments[1:]], shell)


def _check(path: str) -> None:
    """Refuse a program that the runtime cannot be loaded into (docs/exit-handling.md, "Limits")."""
    image = ElfImage(path)
    reason = why_not(image)
    if reason is None and image.interpreter is None and not (image.soname or "").startswith("ld-linux"):
        reason = "a shared object that is no program"  # ld.so itself is one: given a program, it preloads as ever
    if reason is not None:
        raise Ia2exitError(
            f"{path}: {reason}: expected a program that glibc's ld.so loads; "
            "run one that is, or a rebuilt copy without what is in the way"
        )

"""Small programs, built for a test, run as they are and under the runtime in each mode and with each backend."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from ia2exit.events import AnyEvent, Counters, End, Enter, Leave, Object, Place, Start, Violation
from ia2exit.running.trace import parse

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
ROOT = HERE.parents[1]
BUILD = Path(os.environ.get("IA2EXIT_LIBDIR", ROOT / "build")).resolve()
#: Another runtime than the one that was built, to see what tests say of it (tests/guest).
RUNTIME = Path(os.environ.get("IA2EXIT_TEST_RUNTIME", BUILD / "libia2.so")).resolve()
HEADERS = ROOT / "runtime" / "libia2" / "include"
#: Gives IA2_SHARED_DATA pages of its own.
WITH_SHARED_PAGES = f"-Wl,-T,{HEADERS / 'ia2_shared.ld'}"
#: Seconds until a program that hangs is ended.
LIMIT = 60

SIGSEGV = -11
#: How each of the runtime's own lines on standard error begins.
OURS = (b"ia2exit: ", b"libia2.so: ")

_E = TypeVar("_E", bound=AnyEvent)


# ---- building ----


def kept(name: str) -> Path:
    """A folder for the programs of one module, beside the build: what is built there once, a guest finds there, too."""
    folder = BUILD / "tests" / "enforcement" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(folder: Path, source: str, *flags: str | Path, name: str | None = None) -> Path:
    """Compile a program of programs/ into ``folder``; libraries among the flags are found where they are."""
    compiler, standard = ("g++", "-std=c++17") if source.endswith(".cpp") else ("gcc", "-std=gnu11")
    output = folder / (name or Path(source).stem)
    options = [standard, "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-D_GNU_SOURCE", f"-I{HEADERS}"]
    command = [compiler, *options, PROGRAMS / source, "-Wl,--no-as-needed", *flags, "-pthread", "-o"]
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers want it, too
        _compile([str(word) for word in command], output, [flag for flag in flags if isinstance(flag, Path)])
    return output


def _compile(command: list[str], output: Path, libraries: Sequence[Path]) -> None:
    """Unless that very command has made ``output`` from these very files."""
    made = output.with_name(f".{output.name}.made")
    sources = [*sorted(PROGRAMS.iterdir()), *sorted(HEADERS.iterdir()), *libraries]
    digest = hashlib.sha256("\0".join(command).encode())
    for path in sources:
        digest.update(path.read_bytes())
    if output.exists() and made.exists() and made.read_text() == digest.hexdigest():
        return
    made.unlink(missing_ok=True)
    subprocess.run([*command, output], timeout=LIMIT, check=True)
    made.write_text(digest.hexdigest())


def library(folder: Path, source: str, *flags: str | Path, name: str | None = None) -> Path:
    """The same, as a shared object; ``libNAME.so`` of NAME.c."""
    return build(folder, source, "-shared", "-fPIC", *flags, name=name or f"lib{Path(source).stem}.so")


# ---- ways to be watched ----


@dataclass(frozen=True)
class Way:
    """A mode with a backend."""

    mode: str
    backend: str

    def __str__(self) -> str:
        return f"{self.mode}-{self.backend}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that ask for it."""
        return {"IA2_EXIT_MODE": self.mode, "IA2_EXIT_BACKEND": self.backend}


def _cpu_has_keys() -> bool:
    flags = (line.split() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    return "ospke" in next(flags, [])


#: The backends that close anything, as far as this machine has them.
CLOSING = ["mprotect", "pku"] if _cpu_has_keys() else ["mprotect"]
#: Nothing is closed: what every test of a violation is compared with.
CONTROL = Way("observe", "none")
OBSERVE = [Way("observe", backend) for backend in CLOSING]
ENFORCE = [Way("enforce", backend) for backend in CLOSING]
CONTAIN = [Way("contain", backend) for backend in CLOSING]
WAYS = [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN]


# ---- running ----


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    status: int
    stdout: bytes
    stderr: bytes
    #: The runtime's lines, without their ends.
    lines: list[bytes] = field(default_factory=list)

    @property
    def seen(self) -> tuple[int, bytes, bytes]:
        """All that anybody sees who does not look at the trace."""
        return self.status, self.stdout, self.stderr

    @cached_property
    def events(self) -> list[AnyEvent]:
        """The lines, decoded."""
        return [parse(line) for line in self.lines]

    def of(self, kind: type[_E]) -> list[_E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[_E]) -> _E:
        """The only event of a kind."""
        (found,) = self.of(kind)
        return found

    @property
    def violations(self) -> list[Violation]:
        """What was touched that must not be."""
        return self.of(Violation)

    @property
    def counters(self) -> Counters:
        """Of the one process that wrote any."""
        return self.one(Counters)

    def entered(self, function: str) -> Enter:
        """The one run of a function."""
        (found,) = (event for event in self.of(Enter) if symbol_at(event.function) == function)
        return found

    def left(self, function: str) -> Leave:
        """The end of the one run of a function."""
        seq = self.entered(function).seq
        (found,) = (event for event in self.of(Leave) if event.seq == seq)
        return found

    def object(self, path: Path) -> Object:
        """The one event about a loaded object."""
        (found,) = (event for event in self.of(Object) if Path(event.path).name == path.name)
        return found


def run(command: Sequence[str | Path], folder: Path | None = None, /, **environment: str) -> Outcome:
    """Run a command with PATH and ``environment`` for environment, in ``folder`` or the program's own."""
    done = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", **environment},
        cwd=folder or Path(command[0]).parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def vanilla(command: Sequence[str | Path], **environment: str) -> Outcome:
    """What a command does without us; asked once for each: that does not depend on a way to be watched."""
    return _vanilla(tuple(command), tuple(environment.items()))


@cache
def _vanilla(command: tuple[str | Path, ...], environment: tuple[tuple[str, str], ...]) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return run(command, Path(folder), **dict(environment))


def watch(command: Sequence[str | Path], way: Way, trace: Path, **environment: str) -> Outcome:
    """The same under the runtime, with the trace in the file ``trace``, in that one's folder."""
    trace.unlink(missing_ok=True)
    asked = {"LD_PRELOAD": str(RUNTIME), "IA2_TRACE_EXIT": str(trace), **way.environment, **environment}
    done = run(command, trace.parent, **asked)
    lines = trace.read_bytes().splitlines() if trace.exists() else []
    outcome = Outcome(done.status, done.stdout, done.stderr, lines)
    assert outcome.lines, f"no trace; the program said: {done.stderr.decode(errors='replace')}"
    start = outcome.of(Start)[0]
    assert (start.mode, start.backend) == (way.mode, way.backend)
    return outcome


def check_unnoticed(command: Sequence[str | Path], way: Way, trace: Path, **environment: str) -> Outcome:
    """The program is as it is without us, to the byte, and nothing that it did was a violation. Returns the run."""
    outcome = watch(command, way, trace, **environment)
    assert outcome.violations == []
    assert outcome.seen == vanilla(command, **environment).seen
    assert not [end for end in outcome.of(End) if end.how == "signal"]
    return outcome


# ---- reading ----


@lru_cache(maxsize=64)
def functions(path: Path) -> dict[str, tuple[int, int]]:
    """Name -> (RVA, size) of the functions of an ELF file, from its .symtab."""
    with path.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection), f"{path} has no symbols"
        return {
            symbol.name: (symbol["st_value"], symbol["st_size"])
            for symbol in table.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_size"]
        }


def symbol_in(path: Path, rva: int) -> str | None:
    """The function that an RVA of a file lies in; None where none does."""
    return next((name for name, (start, size) in functions(path).items() if start <= rva < start + size), None)


def symbol_at(place: Place) -> str | None:
    """The function of our own programs that a place lies in."""
    if place.object is None or place.rva is None or not Path(place.object).exists():
        return None
    if Path(place.object).is_relative_to("/usr") or Path(place.object).is_relative_to("/lib"):
        return None
    return symbol_in(Path(place.object), place.rva)


def symbols_on_stack(outcome: Outcome, violation: Violation) -> list[str | None]:
    """The functions of a violation's stack, innermost first; None for what is not ours."""
    objects = {event.slot: event for event in outcome.of(Object)}
    names: list[str | None] = []
    for frame in violation.stack:
        path = Path(objects[frame.slot].path) if frame.slot else None
        ours = path is not None and not path.is_relative_to("/usr") and not path.is_relative_to("/lib")
        # A return address may be the first byte behind a call that does not return: look one byte before it.
        names.append(symbol_in(path, frame.address - (1 if names else 0)) if ours and path else None)
    return names

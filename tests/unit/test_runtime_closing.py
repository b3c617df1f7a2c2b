"""Around the closing of memory: mappings and signals are what they were, before, while and after a destructor runs."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from runtime_running import RUNTIME, Outcome, build, library, run, run_covered

pytestmark = pytest.mark.usefixtures("either_way")

PAGE = 4096
CLOSING = {"IA2_EXIT_BACKEND": "mprotect"}
MODES = ["observe", "enforce", "contain"]
every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("closing")


@pytest.fixture(scope="module")
def closing(folder: Path) -> Path:
    other = library(folder, "closing_library.c", "libclosing.so", "-D_GNU_SOURCE")
    return build(folder, "closing.c", other, f"-Wl,-rpath,{folder}", "-D_GNU_SOURCE")


@pytest.fixture(scope="module")
def plugin(folder: Path) -> Path:
    return library(folder, "closing_library.c", "closing_plugin.so", "-D_GNU_SOURCE")


@dataclass(frozen=True)
class Look:
    """The process at one moment."""

    #: Start of each page of an object, or of its .bss: protection, as /proc/self/maps writes it.
    pages: dict[int, str]
    #: The same for one object each.
    objects: dict[str, dict[int, str]]
    #: What the kernel says of a signal; "mask" and "stack" beside them.
    signals: dict[str, str]


def look(lines: list[str]) -> Look:
    pages: dict[int, str] = {}
    objects: dict[str, dict[int, str]] = {}
    signals = {}
    for line in lines:
        words = line.split()
        if words[0] in ("signal", "mask", "stack"):
            name = " ".join(words[: 2 if words[0] == "signal" else 1]).rstrip(":")
            signals[name] = line
        elif len(words) > 5 and words[5].startswith("/") and "libia2.so" not in words[5]:
            start, end = (int(number, 16) for number in words[0].split("-"))
            these = dict.fromkeys(range(start, end, PAGE), words[1])
            pages |= these
            objects.setdefault(Path(words[5]).name, {}).update(these)
    return Look(pages, objects, signals)


def looks(outcome: Outcome) -> dict[str, Look]:
    """By moment."""
    assert outcome.status == 3, outcome.stderr
    moments: dict[str, list[str]] = {}
    for line in outcome.stdout.decode().splitlines():
        if line.startswith("== "):
            assert line[3:] not in moments
            here = moments.setdefault(line[3:], [])
        else:
            here.append(line)
    return {moment: look(lines) for moment, lines in moments.items()}


def watch(program: Path, *words: str | Path, mode: str) -> dict[str, Look]:
    return looks(run_covered([program, *words], IA2_EXIT_MODE=mode, **CLOSING))


def test_without_us_nothing_changes(closing: Path) -> None:
    """What the tests below compare does not differ by itself."""
    seen = looks(run([closing]))
    assert list(seen) == ["before", "during", "after"]
    assert len(seen["before"].pages) > 100
    assert len(seen["before"].signals) == 66
    assert seen["during"] == seen["before"] == seen["after"]


# ---- mappings ----


@every_mode
def test_while_a_library_is_open_its_program_is_not(closing: Path, mode: str) -> None:
    seen = watch(closing, mode=mode)
    before, during = (seen[moment].objects for moment in ("before", "during"))
    closed = [page for page, protection in before["closing"].items() if during["closing"][page] != protection]
    assert {before["closing"][page] for page in closed} == {"rw-p", "r--p"}
    assert {during["closing"][page] for page in closed} == {"---p"}
    assert "rw-p" not in during["closing"].values()
    assert "rwxp" in during["closing"].values(), "code that the program made may be called from anywhere"
    assert during["libclosing.so"] == before["libclosing.so"]
    assert during["libc.so.6"] == before["libc.so.6"]


@every_mode
def test_pages_come_back_with_the_protection_that_they_had(closing: Path, mode: str) -> None:
    seen = watch(closing, mode=mode)
    assert set(seen["before"].pages.values()) == {"r--p", "rw-p", "r-xp", "---p", "rwxp"}
    assert seen["after"].pages == seen["before"].pages


@every_mode
def test_after_a_plugin_has_gone_everything_is_open(closing: Path, plugin: Path, mode: str) -> None:
    seen = watch(closing, "unload", plugin, mode=mode)
    closed = seen["during"].objects["closing"]
    assert "rw-p" not in closed.values()
    gone = seen["before"].objects["closing_plugin.so"]
    left = {page: protection for page, protection in seen["before"].pages.items() if page not in gone}
    assert seen["after"].pages == left


# ---- signals ----


def differences(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in one if one[name] != other[name]}


@every_mode
@pytest.mark.parametrize("scenario", ["exit", "unload"])
def test_the_programs_signals_are_what_it_hears(closing: Path, plugin: Path, mode: str, scenario: str) -> None:
    """From the kernel itself before, from us while they are ours: the same to the bit."""
    seen = watch(closing, scenario, plugin, mode=mode)
    before, during, after = (seen[moment].signals for moment in ("before", "during", "after"))
    assert differences(before, during) <= {"mask"}, "signals that faults force are not blocked while destructors run"
    assert differences(before, after) <= ({"mask"} if scenario == "exit" else set()), "nor while stdio ends"


@every_mode
def test_what_a_destructor_installs_is_heard_and_stays(closing: Path, mode: str) -> None:
    vanilla = looks(run([closing, "change"]))
    seen = watch(closing, "change", mode=mode)
    changed = {f"signal {number.value}" for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGSEGV, signal.SIGFPE)}
    for moments in (vanilla, seen):
        before, after = moments["before"].signals, moments["after"].signals
        assert differences(before, after) - {"mask"} == changed
        assert differences(moments["changed"].signals, after) <= {"mask"}


# ---- the runtime's own ----


def place_of(symbol: str) -> str:
    """RVA of a variable of libia2.so, in hexadecimal."""
    with RUNTIME.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        found = table.get_symbol_by_name(symbol)
        assert found is not None, symbol
        return f"{found[0]['st_value']:x}"


@pytest.fixture(scope="module")
def poke(folder: Path) -> Path:
    return build(folder, "poke.c", "-D_GNU_SOURCE")


@every_mode
def test_what_was_decided_at_the_start_is_read_only(poke: Path, mode: str) -> None:
    done = run_covered([poke, "libia2.so", place_of("ia2_sealed")], IA2_EXIT_MODE=mode, **CLOSING)
    at, *maps = done.stdout.decode().splitlines()
    mapped = [line.split() for line in maps]
    (protection,) = {
        words[1]
        for words in mapped
        if (bounds := [int(number, 16) for number in words[0].split("-")])[0] <= int(at, 16) < bounds[1]
    }
    assert protection == "r--p"
    assert done.status == -signal.SIGSEGV


def test_the_write_itself_is_no_fault(poke: Path) -> None:
    """Without this, the test above could pass for another reason."""
    done = run_covered([poke, "libia2.so", place_of("ia2_counters")], IA2_EXIT_BACKEND="mprotect")
    assert done.status == 3
    assert done.stdout.endswith(b"\nwritten\n")

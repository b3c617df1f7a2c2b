"""What programs may do and whoever stands in front of libc easily breaks: races, small stacks, odd names, limits."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from runtime_running import RUNTIME, Outcome, build, library, run, same, tool

from ia2exit.events import End, Exec, Object

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("hazards"), "hazards.c", "-pthread")


def test_keys_that_threads_make_and_delete_are_not_mixed_up(program: Path, tmp_path: Path) -> None:
    """A deleted key's number goes to the next thread at once, before the one that deleted it has returned."""
    for number in range(20):
        counters = tmp_path / str(number)
        outcome = run([program, "key-race"], LD_PRELOAD=str(RUNTIME), IA2_DIAG_EXIT=str(counters))
        assert (outcome.status, outcome.stdout, outcome.stderr) == (3, b"900 keys\nlast\n", b"")
        told = Outcome(0, b"", b"", counters.read_bytes().splitlines()).counters
        assert (told.left, told.bypassed) == (900, 0), "900 keys are left, and nothing of the others"


def test_objects_in_relocation_are_left_alone(program: Path, tmp_path: Path) -> None:
    """One thread's dlclose looks at all objects while another's dlopen still writes to pages that RELRO will close."""
    flags = ['-DRELOCATIONS="40000"', "-Wl,-z,relro,-z,now", "-fno-plt"]
    first = library(tmp_path, "heavy.c", "first.so", *flags)
    second = Path(shutil.copy(first, tmp_path / "second.so"))
    for _ in range(3):
        outcome = same([program, "relocating", first, second])
        assert (outcome.status, outcome.stdout) == (3, b"last\n")
        ran = [event for event in outcome.entered if event.dso in {str(first), str(second)}]
        assert ran
        assert {event.moment for event in ran} == {"unload"}


def test_the_smallest_stack_is_large_enough(program: Path) -> None:
    outcome = same([program, "small-stack"])
    assert outcome.stdout == b"thread\nkey\nlast\n"
    assert {event.kind for event in outcome.entered if event.moment == "thread-end"} == {"thread_atexit", "pthread_key"}


def test_glibc_refuses_a_null_function_where_it_is_registered(program: Path, tmp_path: Path) -> None:
    vanilla = run([program, "null-function"])
    outcome = run([program, "null-function"], LD_PRELOAD=str(RUNTIME), IA2_TRACE_EXIT=str(tmp_path / "trace"))
    assert vanilla.stdout == b""
    assert (outcome.status, outcome.stdout, outcome.stderr) == (vanilla.status, vanilla.stdout, vanilla.stderr)


def test_a_destructor_may_end_its_thread(program: Path) -> None:
    outcome = same([program, "unwind"])
    assert outcome.stdout == b"inner leaves\nouter\njoined\nlast\n"


def test_quick_exit_handlers_of_objects_that_went_need_no_stub(program: Path, tmp_path: Path) -> None:
    plugin = library(tmp_path, "heavy.c", "quick.so", "-DQUICK")
    outcome = same([program, "quick-rounds", plugin])
    assert outcome.stdout == b"quick\n"
    assert [event.kind for event in outcome.entered][-1] == "quick_exit"
    assert outcome.counters.bypassed == 0


def test_a_compartment_keeps_a_name_when_its_first_object_goes(program: Path, tmp_path: Path) -> None:
    first = library(tmp_path, "heavy.c", "first.so", "-DCLAIM=7")
    second = library(tmp_path, "heavy.c", "second.so", "-DCLAIM=7")
    outcome = same([program, "one-of-two", first, second])
    owners = {(event.owner, event.owner_name) for event in outcome.entered if event.dso == str(second)}
    assert owners in [{(7, "first.so")}, {(7, "second.so")}]
    loaded = [event for event in outcome.events if isinstance(event, Object) and event.path == str(second)]
    assert [event.compartment for event in loaded] == [7]


def test_objects_that_libc_loads_and_unloads_by_itself(program: Path) -> None:
    outcome = same([program, "conversions"])
    assert outcome.stdout == b"last\n"
    assert outcome.counters.lost == 0


def test_a_handler_may_become_another_program(program: Path) -> None:
    outcome = same([program, "exec-in-handler"])
    assert (outcome.status, outcome.stdout) == (0, b"become\n")
    (told,) = (event for event in outcome.events if isinstance(event, Exec))
    assert (told.path, told.child, told.followed) == ("/bin/echo", False, False)


@pytest.mark.parametrize("closed", ["", "<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_from_the_start_stay_closed(program: Path, tmp_path: Path, closed: str) -> None:
    script = f'exec "$0" next {closed}'
    statuses = {
        run(["/bin/sh", "-c", script, program], **given).status
        for given in (
            {},
            {"LD_PRELOAD": str(RUNTIME)},
            {"LD_PRELOAD": str(RUNTIME), "IA2_EXIT_FOLLOW": "1", "IA2_TRACE_EXIT": str(tmp_path / "trace")},
        )
    }
    assert len(statuses) == 1
    assert statuses <= {100, 101, 102, 103}


@pytest.mark.parametrize(
    "name",
    [
        b'quote " and \\ backslash',
        b"line\nbreak",
        "völlig gültig €😀".encode(),
        b"caf\xe9",
        b"\xe9" * 200,
        "日本語".encode() * 20,
        b"%s%n",
        b"-",
    ],
)
def test_a_program_of_any_name_is_told_whole(program: Path, tmp_path: Path, name: bytes) -> None:
    """Names are bytes; every line is JSON all the same, and none is too long to be written."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    folder.mkdir()
    copy = Path(shutil.copy(program, folder / "program"))
    outcome = same([copy, "unwind"])
    assert isinstance(outcome.events[-1], End)
    assert outcome.counters.lost == 0
    assert outcome.starts[0].program.endswith("/program")


def test_a_path_as_long_as_paths_may_be(program: Path, tmp_path: Path) -> None:
    folder = tmp_path
    while len(str(folder)) < 3500:
        folder = folder / ("d" * 200)
    folder.mkdir(parents=True)
    copy = Path(shutil.copy(program, folder / "program"))
    outcome = same([copy, "unwind"])
    assert isinstance(outcome.events[-1], End)
    assert outcome.counters.lost == 0


@pytest.mark.parametrize("limit", ["-v 100000", "-s 64", "-n 8", "-f 0", "-l 0"])
def test_a_limit_that_a_program_can_live_with_is_one_that_we_can(program: Path, limit: str) -> None:
    script = f'ulimit {limit}; exec "$0" unwind'
    vanilla = run(["/bin/sh", "-c", script, program])
    assert vanilla.status == 3
    covered = run(["/bin/sh", "-c", f'export LD_PRELOAD="$1"; {script}', program, RUNTIME])
    assert (covered.status, covered.stdout, covered.stderr) == (3, vanilla.stdout, vanilla.stderr)


def test_a_dynamic_section_among_the_code_stays_executable(program: Path, tmp_path: Path) -> None:
    """With lld, .dynamic can be read-only and in the segment of the code: its pages must stay executable."""
    from elftools.elf.elffile import ELFFile

    tool("ld.lld")
    path = library(tmp_path, "plugin.c", "mixed.so", "-fuse-ld=lld", "-Wl,-z,rodynamic,--no-rosegment", "-DWITH_ATEXIT")
    with path.open("rb") as stream:
        image = ELFFile(stream)
        addresses = {section.name: section["sh_addr"] for section in image.iter_sections()}
        dynamic, text = addresses[".dynamic"], addresses[".text"]
        holders = [
            item["p_flags"]
            for item in image.iter_segments("PT_LOAD")
            if item["p_vaddr"] <= dynamic < item["p_vaddr"] + item["p_memsz"]
        ]
    assert [flags & 3 for flags in holders] == [1], "executable, not writable"
    assert dynamic >> 12 == text >> 12, "the same page"
    objects = build(tmp_path, "objects.c")
    for scenario in ("stay", "close-all"):
        outcome = same([objects, scenario, path])
        assert outcome.status == 3
        assert b"mixed.so destructor\n" in outcome.stdout

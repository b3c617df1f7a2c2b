"""Objects that come and go, however they are linked: each destructor runs once, and what we keep of them is bounded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from runtime_running import Outcome, build, library, run_covered, same, tool

from ia2exit.events import End, Object, Register

pytestmark = pytest.mark.usefixtures("either_way")

#: Flags to link with; which kinds the runtime takes over, in the order in which they run.
LINKED: dict[str, tuple[list[str], list[str]]] = {
    "plain": ([], ["fini_array", "fini_array", "fini"]),
    "bind-now": (["-Wl,-z,relro,-z,now"], ["fini_array", "fini_array", "fini"]),
    "norelro": (["-Wl,-z,norelro"], ["fini_array", "fini_array", "fini"]),
    "one-segment-a-page": (["-Wl,-z,separate-code,-z,max-page-size=65536"], ["fini_array", "fini_array", "fini"]),
    "lld": (["-fuse-ld=lld"], ["fini_array", "fini_array", "fini"]),
    "lld-rodynamic": (["-fuse-ld=lld", "-Wl,-z,rodynamic"], ["fini_array", "fini_array", "fini"]),
    "fini-only": (["-DFINI_ONLY", "-nostartfiles", "-Wl,-fini,fini"], ["fini"]),
    "fini-only-norelro": (["-DFINI_ONLY", "-nostartfiles", "-Wl,-fini,fini", "-Wl,-z,norelro"], ["fini"]),
    "array-only": (["-nostartfiles"], ["fini_array"]),
    "nothing": (["-DWITHOUT_DESTRUCTOR", "-nostartfiles"], []),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return build(folder, "objects.c")


@pytest.fixture(scope="module")
def plugin(folder: Path) -> Path:
    return library(folder, "plugin.c", "plugin.so", "-DWITH_ATEXIT")


def kinds_of(outcome: Outcome, path: Path) -> list[str]:
    """Kinds of the destructors that ran in one object, in their order."""
    return [event.kind for event in outcome.entered if event.function.object == str(path)]


def objects_of(outcome: Outcome, path: Path) -> list[Object]:
    return [event for event in outcome.events if isinstance(event, Object) and event.path == str(path)]


def built(folder: Path, name: str) -> Path:
    flags, _ = LINKED[name]
    if "-fuse-ld=lld" in flags:
        tool("ld.lld")
    return library(folder, "plugin.c", f"lib{name}.so", *flags)


@pytest.mark.parametrize("scenario", ["stay", "close-all", "linked"])
@pytest.mark.parametrize("name", LINKED)
def test_an_object_is_covered_however_it_was_linked(folder: Path, program: Path, name: str, scenario: str) -> None:
    path = built(folder, name)
    command: list[str | Path] = [program, scenario, path]
    if scenario == "linked":
        # The path in DT_NEEDED as it is here, without a soname.
        command = [build(folder, "linked.c", "-Wl,--no-as-needed", path, name=f"linked-{name}")]
    outcome = same(command)
    expected = LINKED[name][1]
    assert outcome.status == 3
    assert kinds_of(outcome, path) == expected
    known, *unloaded = objects_of(outcome, path)
    assert (known.covered, known.why_not, known.entries) == (True, None, len(expected))
    assert known.when == ("start" if scenario == "linked" else "load")
    assert [event.when for event in unloaded] == (["unload"] if scenario == "close-all" else [])
    moments = {event.moment for event in outcome.entered if event.function.object == str(path)}
    assert moments <= {"unload" if scenario == "close-all" else "exit"}


def test_a_read_only_dynamic_section_is_what_it_says(folder: Path) -> None:
    """The case above would prove nothing with a linker that ignores the flag."""
    from elftools.elf.elffile import ELFFile

    for name, writable in [("lld", True), ("lld-rodynamic", False)]:
        with built(folder, name).open("rb") as stream:
            image = ELFFile(stream)
            (dynamic,) = (item for item in image.iter_segments() if item["p_type"] == "PT_DYNAMIC")
            assert bool(dynamic["p_flags"] & 2) == writable


def test_two_thousand_rounds_do_not_grow_what_is_kept(program: Path, plugin: Path, folder: Path) -> None:
    other = shutil.copy(plugin, folder / "other.so")
    outcome = same([program, "in-turn", plugin, other])
    assert outcome.status == 3
    assert outcome.counters.lost == 0
    known = [event for event in outcome.events if isinstance(event, Object)]
    at_start = [event for event in known if event.when == "start"]
    loaded = [event for event in known if event.when == "load"]
    assert len(loaded) == len([event for event in known if event.when == "unload"]) == 2000
    assert max(event.slot for event in loaded) <= max(event.slot for event in at_start) + 1
    assert {event.compartment for event in loaded} == {loaded[0].compartment}
    registered = [event for event in outcome.events if isinstance(event, Register)]
    first_round = next(i for i, event in enumerate(registered) if event.function.object == str(plugin))
    used = {event.record for event in registered}
    assert max(used) < first_round + 16, "records are used again"
    identities = [(event.record, event.generation) for event in registered]
    assert len(set(identities)) == len(identities), "each registration is one of its own"
    assert outcome.counters.ran == len(outcome.entered)
    assert outcome.counters.registered == len(registered)


def test_many_objects_at_once(program: Path, plugin: Path, tmp_path: Path) -> None:
    copies = [Path(shutil.copy(plugin, tmp_path / f"copy{number:03}.so")) for number in range(150)]
    for scenario in ("stay", "close-all"):
        outcome = same([program, scenario, *copies])
        assert outcome.status == 3
        assert len(outcome.stdout.splitlines()) == 1 + 2 * len(copies)
        loaded = [event for event in outcome.events if isinstance(event, Object) and event.when == "load"]
        assert {event.path for event in loaded} == {str(path) for path in copies}
        assert len({event.slot for event in loaded}) == len(copies)
        assert len({event.compartment for event in loaded}) == len(copies)
        for path in copies:
            assert kinds_of(outcome, path).count("cxa_atexit") == 1
            owners = {event.owner_name for event in outcome.entered if event.function.object == str(path)}
            assert owners == {path.name}


@pytest.mark.parametrize("scenario", ["apart", "apart-and-closed"])
def test_an_object_in_a_namespace_of_its_own(program: Path, plugin: Path, scenario: str, either_way: bool) -> None:
    """dlmopen: LD_PRELOAD does not reach there, the audit module does."""
    outcome = same([program, scenario, plugin, plugin, plugin])
    assert outcome.status == 3
    assert outcome.stdout.count(b"plugin.so destructor\n") == 3
    assert outcome.stdout.count(b"plugin.so atexit\n") == 3
    assert isinstance(outcome.events[-1], End)
    if not either_way:
        assert kinds_of(outcome, plugin) == []
        return
    assert kinds_of(outcome, plugin) == 3 * ["fini_array", "fini_array", "cxa_atexit", "fini"]
    known = objects_of(outcome, plugin)
    loaded = [event for event in known if event.when == "load"]
    closed = scenario == "apart-and-closed"
    assert len(loaded) == 3
    assert len({event.namespace for event in loaded}) == (1 if closed else 3), "a number is used again"
    assert 0 not in {event.namespace for event in loaded}
    assert [event.when for event in known].count("unload") == (3 if closed else 0)
    moments = {event.moment for event in outcome.entered if event.function.object == str(plugin)}
    assert moments == {"unload" if closed else "exit"}


def test_a_library_may_exit_in_its_constructor(folder: Path, program: Path) -> None:
    leaving = library(folder, "plugin.c", "libleaving.so", "-DCONSTRUCTOR_EXITS=11")
    linked = build(folder, "linked.c", "-Wl,--no-as-needed", leaving, name="linked-leaving")
    # At start, glibc has not even registered its finalisation yet: .fini_array does not run.
    cases: list[tuple[list[str | Path], list[str]]] = [
        ([linked], ["cxa_atexit"]),
        ([program, "stay", leaving], ["cxa_atexit", "fini_array", "fini_array", "fini"]),
    ]
    for command, kinds in cases:
        outcome = same(command)
        assert outcome.status == 11
        assert (b"libleaving.so destructor\n" in outcome.stdout) == (len(kinds) > 1)
        assert b"libleaving.so early\n" in outcome.stdout
        assert kinds_of(outcome, leaving) == kinds
        last = outcome.events[-1]
        assert isinstance(last, End)
        assert (last.how, last.status) == ("exit", 11)


def test_a_copy_under_another_name_is_another_object(program: Path, plugin: Path, tmp_path: Path) -> None:
    """Same build ID, two paths: two slots, two compartments."""
    copy = Path(shutil.copy(plugin, tmp_path / "again.so"))
    outcome = run_covered([program, "stay", plugin, copy])
    (one,) = objects_of(outcome, plugin)
    (two,) = objects_of(outcome, copy)
    assert one.build_id == two.build_id is not None
    assert one.slot != two.slot
    assert one.compartment != two.compartment

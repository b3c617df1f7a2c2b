"""``check``, group trace: what ran, against the map that it ran with. A true trace, and each line of it bent once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from checked_programs import MAIN, changed, entry, found, library, linked, mapped
from elf_building import build

import ia2exit
from ia2exit.checking import CheckResult, Finding
from ia2exit.elf.image import ElfImage
from ia2exit.elf.naming import Naming
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap import write_binary
from ia2exit.model import ExitMap

Event = dict[str, Any]
#: Destructors of its own, one that it registers for another object, and a thread's.
SOURCE = """
#include <stdlib.h>
static void handler(void) {}
void lent(void *argument) { (void)argument; }
__attribute__((destructor)) static void last(void) {}
void one(void) { atexit(handler); }
"""
USER = """
void lent(void *);
extern int __cxa_atexit(void (*)(void *), void *, void *);
extern void *__dso_handle;
void two(void) { __cxa_atexit(lent, 0, &__dso_handle); }
"""
POLICY_ALSO = '[compartments.plugin]\nid = 4\nobjects = ["libplugin.so"]\n'


class Traced:
    """A program, its map, and the events of a run."""

    def __init__(self, folder: Path) -> None:
        one = library(folder, "libone.so", SOURCE)
        self.program = linked(folder, MAIN, one, library(folder, "libtwo.so", USER, one))
        self.map = mapped(self.program)
        self.trace, binary = folder / "trace", folder / "map"
        binary.write_bytes(write_binary(self.map))
        ia2exit.run([str(self.program)], map=str(binary), trace=str(self.trace))
        self.events: list[Event] = [json.loads(line) for line in self.trace.read_text().splitlines()]

    def check(self, change: Callable[[Event], Event | None] | None = None, map: ExitMap | None = None) -> CheckResult:
        """Against a trace in which ``change`` was made to each event: another one, or none."""
        bent = [change(dict(event)) if change else event for event in self.events]
        path = self.trace.with_name("bent")
        path.write_text("".join(json.dumps(event) + "\n" for event in bent if event is not None))
        return ia2exit.check(self.program, map or self.map, trace=path, only="trace")

    def entered(self, function: str) -> Event:
        """The ``enter`` of a function of libone.so."""
        (rva,) = {
            str(one["function"]["rva"])
            for one in self.events
            if one["event"] == "enter" and self.name_at(one["function"]["rva"]) == function
        }
        return next(one for one in self.events if one["event"] == "enter" and one["function"]["rva"] == rva)

    def enters(self, function: str) -> Callable[[Event], bool]:
        """Whether an event is that one."""
        seq = self.entered(function)["seq"]
        return lambda event: event["event"] == "enter" and event["seq"] == seq

    def name_at(self, rva: str) -> str | None:
        """Symbol of a function of libone.so."""
        image = ElfImage(self.program.parent / "libone.so")
        named = Naming(image).functions([int(rva, 16)])
        return named[int(rva, 16)].symbol if named else None


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    return Traced(tmp_path_factory.mktemp("traced"))


def only(result: CheckResult, name: str) -> Finding:
    """The one finding."""
    (one,) = result.findings
    assert one.name == name
    return one


def where(test: Callable[[Event], bool], **members: object) -> Callable[[Event], Event]:
    """Members to put into the events for which ``test`` holds."""
    return lambda event: {**event, **members} if test(event) else event


def object_of(name: str) -> Callable[[Event], bool]:
    return lambda event: event["event"] == "object" and event["path"].endswith(f"/{name}")


def test_a_run_with_the_map_agrees_with_it(traced: Traced) -> None:
    result = traced.check()
    assert result.findings == []
    assert (result.agrees, result.groups) == (True, ["trace"])
    assert result.ran == sum(event["event"] == "enter" for event in traced.events) > 5


def test_all_groups_are_checked_where_there_is_a_trace(traced: Traced) -> None:
    result = ia2exit.check(traced.program, traced.map, trace=traced.trace)
    assert result.groups == ["ldd", "symbols", "trace"]
    assert result.agrees


def test_an_object_that_the_map_lacks_is_an_error(traced: Traced) -> None:
    without = changed(traced.map, "libtwo.so", lambda _: None)
    one = next(one for one in traced.check(map=without).findings if one.name == "trace-object")
    assert (one.severity, Path(one.object).name, one.expected) == ("error", "libtwo.so", "an entry in the map")


def test_an_object_of_another_build_is_an_error(traced: Traced) -> None:
    result = traced.check(where(object_of("libtwo.so"), build_id="00ff"))
    one = next(one for one in result.findings if one.name == "trace-object")
    assert one.expected == f"build ID {entry(traced.map, 'libtwo.so').build_id}"
    assert one.found == "build ID 00ff; it was in compartment 3 (two)"


def test_objects_that_are_shared_by_default_need_no_entry(traced: Traced) -> None:
    """The runtime itself, which was preloaded, and the vdso are in no map."""
    names = {Path(event["path"]).name for event in traced.events if event["event"] == "object"}
    assert {"libia2.so", "linux-vdso.so.1"} <= names
    assert traced.check().findings == []
    gone = changed(traced.map, "libc.so.6", lambda _: None)
    by_default = where(object_of("libc.so.6"), decided_by="default")
    assert "trace-object" not in [one.name for one in traced.check(by_default, gone).findings]
    by_map = where(object_of("libc.so.6"), decided_by="unlisted")
    assert "trace-object" in [one.name for one in traced.check(by_map, gone).findings]


def test_an_object_in_another_compartment_is_an_error(traced: Traced) -> None:
    one = only(traced.check(where(object_of("libtwo.so"), compartment=2, compartment_name="one")), "trace-compartment")
    assert (one.severity, one.expected) == ("error", "compartment 3 (two)")
    assert one.found == "2 (one), decided by map"


def test_a_destructor_that_the_map_does_not_list_is_an_error(traced: Traced) -> None:
    rva = traced.entered("handler")["function"]["rva"]
    kept = [one for one in entry(traced.map, "libone.so").destructors if str(one.rva) != rva]
    without = changed(traced.map, "libone.so", lambda item: msgspec.structs.replace(item, destructors=kept))
    one = only(traced.check(map=without), "trace-destructor")
    assert (one.severity, one.found) == ("error", "it is not listed")
    assert one.expected == f"atexit {rva} of libone.so in the map"


def test_a_destructor_of_another_kind_is_an_error(traced: Traced) -> None:
    one = only(traced.check(where(traced.enters("handler"), kind="quick_exit")), "trace-destructor")
    assert one.found == "it has it as atexit"


def test_a_destructor_with_another_owner_than_its_object_is_an_error(traced: Traced) -> None:
    one = only(traced.check(where(traced.enters("handler"), owner=3, owner_name="two")), "trace-owner")
    assert (one.severity, one.expected, one.found) == ("error", "compartment 2 (one)", "3 (two)")


def test_a_function_that_another_object_registered_is_that_objects(traced: Traced) -> None:
    """The map does not list it; its owner is the registrar's, whoever holds the function."""
    lent = traced.entered("lent")
    assert (lent["owner"], Path(lent["dso"]).name) == (3, "libtwo.so")
    one = only(traced.check(where(traced.enters("lent"), owner=2, owner_name="one")), "trace-owner")
    assert one.expected == "compartment 3 (two)"
    assert one.what.endswith(f"registered for {lent['dso']}")


def test_a_destructor_without_owner_is_an_error(traced: Traced) -> None:
    one = only(traced.check(where(traced.enters("handler"), owner=None, owner_name=None)), "trace-owner")
    assert one.found == "none, it ran with all rights"


def test_the_same_thing_in_several_processes_is_told_once(traced: Traced) -> None:
    again = [{**event, "pid": 1_000_000, "tid": 1_000_000} for event in traced.events]
    both = Traced.__new__(Traced)
    both.__dict__ |= traced.__dict__ | {"events": [*traced.events, *again]}
    assert both.check().ran == 2 * traced.check().ran
    only(both.check(where(object_of("libtwo.so"), compartment=2)), "trace-compartment")


def test_an_object_that_no_process_loaded_is_warned_about_once(tmp_path: Path) -> None:
    one = library(tmp_path, "libone.so", SOURCE)
    program = linked(tmp_path, MAIN, one, library(tmp_path, "libtwo.so", USER, one))
    plugins = [library(tmp_path, f"libplugin{number}.so", f"int plugin{number};") for number in (1, 2)]
    exit_map = mapped(program, *plugins)
    (tmp_path / "map").write_bytes(write_binary(exit_map))
    ia2exit.run([str(program)], map=str(tmp_path / "map"), trace=str(tmp_path / "trace"))
    result = ia2exit.check(program, exit_map, trace=tmp_path / "trace")
    assert result.agrees
    assert found(result) == [("not-loaded", "warning", "libplugin1.so"), ("not-loaded", "warning", "libplugin2.so")]
    assert result.findings[0].found.endswith("no process of the trace loaded it")


def test_a_plugin_that_a_process_loaded_is_not_unused(tmp_path: Path) -> None:
    plugin = library(tmp_path, "libplugin.so", "int plugin;")
    source = f'#include <dlfcn.h>\nint main(void) {{ return dlopen("{plugin}", RTLD_NOW) == 0; }}'
    program = build(tmp_path / "program", source)
    exit_map = mapped(program, plugin, policy="version = 1\n" + POLICY_ALSO)
    (tmp_path / "map").write_bytes(write_binary(exit_map))
    ia2exit.run([str(program)], map=str(tmp_path / "map"), trace=str(tmp_path / "trace"))
    assert found(ia2exit.check(program, exit_map)) == [("not-loaded", "warning", "libplugin.so")]
    assert found(ia2exit.check(program, exit_map, trace=tmp_path / "trace")) == []


def test_a_process_without_an_end_is_a_warning(traced: Traced) -> None:
    result = traced.check(lambda event: None if event["event"] == "end" else event)
    assert only(result, "trace-incomplete").severity == "warning"
    assert result.agrees


# What cannot be used -------------------------------------------------------------------------------------------


def refused(traced: Traced, path: Path) -> str:
    with pytest.raises(Ia2exitError) as caught:
        ia2exit.check(traced.program, traced.map, trace=path)
    return str(caught.value)


def test_a_trace_that_cannot_be_used_is_refused_in_one_line(traced: Traced, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    assert refused(traced, path) == (
        f"{path}: cannot be read (No such file or directory); expected a trace (run --trace)"
    )
    path.write_text("no event\n")
    assert refused(traced, path).startswith(f"{path}: line 1: ")
    path.write_text("")
    assert refused(traced, path).startswith(f"{path}: no process of {traced.program}, expected one (it has none)")
    other = [{**event, "program": "/bin/other"} if event["event"] == "start" else event for event in traced.events]
    path.write_text("".join(json.dumps(event) + "\n" for event in other))
    assert "(it has /bin/other)" in refused(traced, path)
    bare = [{**event, "map": None} if event["event"] == "start" else event for event in traced.events]
    path.write_text("".join(json.dumps(event) + "\n" for event in bare))
    assert refused(traced, path).startswith(f"{path}: {traced.program} ran without a map, expected a run with one")

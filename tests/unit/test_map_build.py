"""The exit map from a policy and a scan: who decides, which numbers, which destructors, which lines are said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ia2exit
from ia2exit.errors import Ia2exitError
from ia2exit.exitmap import MapWarning, build_map, parse_map
from ia2exit.model import (
    KINDS,
    Address,
    Destructor,
    ExitMap,
    Kind,
    MapObject,
    Problem,
    ScannedObject,
    ScanResult,
    to_json,
)
from ia2exit.policy import parse_policy

SCHEMA = json.loads((Path(__file__).parents[2] / "src/ia2exit/schemas/map.schema.json").read_text())
Found = Literal["fini_array", "dt_fini", "code", "note"]


def destructor(
    rva: int | None,
    kind: Kind = "cxa_atexit",
    *,
    symbol: str | None = None,
    holder: str | None = None,
    claimed: int | None = None,
    found: Found = "code",
) -> Destructor:
    return Destructor(
        kind=kind,
        rva=None if rva is None else Address(rva),
        object=holder,
        symbol=symbol,
        found=found,
        claimed=claimed,
    )


def library(name: str, *destructors: Destructor, **fields: Any) -> ScannedObject:
    """A shared object whose build ID comes from its name."""
    fields = {
        "path": f"/usr/lib/{name}",
        "build_id": name.encode().hex(),
        "soname": name,
        "type": "shared-object",
        "needed": [],
        "interpreter": None,
        "coverable": True,
        "destructors": list(destructors),
    } | fields
    return ScannedObject(**fields)


def program(name: str, *destructors: Destructor, **fields: Any) -> ScannedObject:
    return library(name, *destructors, **({"type": "pie", "soname": None, "path": f"/usr/bin/{name}"} | fields))


def mapped(policy: str, *objects: ScannedObject) -> tuple[ExitMap, list[str]]:
    """The map of some objects under a policy (without its version line) in p.toml, and what was said."""
    said: list[str] = []
    scan = ScanResult(objects=list(objects), problems=[])
    exit_map = build_map(parse_policy(f"version = 1\n{policy}", "p.toml"), scan, notice=said.append)
    jsonschema.validate(json.loads(to_json(exit_map)), SCHEMA)
    assert parse_map(to_json(exit_map)) == exit_map
    return exit_map, said


def error_of(policy: str, *objects: ScannedObject) -> str:
    with pytest.raises(Ia2exitError) as caught:
        mapped(policy, *objects)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def entry(exit_map: ExitMap, name: str) -> MapObject:
    (found,) = [item for item in exit_map.objects if item.name == name]
    return found


def decided(exit_map: ExitMap) -> dict[str, tuple[int, str]]:
    return {item.name: (item.compartment, item.decided_by) for item in exit_map.objects}


SSL, CRYPTO, LIBC, CURL = library("libssl.so.3"), library("libcrypto.so.3"), library("libc.so.6"), program("curl")


def test_policy_then_note_then_default_list_then_unlisted_decide() -> None:
    exit_map, said = mapped(
        '[compartments.ssl]\nid = 2\nobjects = ["libssl.so.*"]',
        SSL,
        LIBC,
        library("libnote.so", claimed=9),
        library("libother.so"),
    )
    assert decided(exit_map) == {
        "libssl.so.3": (2, "policy"),
        "libc.so.6": (0, "default"),
        "libnote.so": (9, "note"),
        "libother.so": (10, "unlisted"),
    }
    assert {item.id: item.name for item in exit_map.compartments} == {
        0: "shared",
        2: "ssl",
        9: "libnote.so",
        10: "libother.so",
    }
    assert said == []


def test_without_a_policy_every_object_is_its_own_compartment() -> None:
    exit_map = build_map(None, ScanResult(objects=[CURL, LIBC, SSL], problems=[]))
    assert exit_map.unlisted == "each"
    assert decided(exit_map) == {"curl": (1, "unlisted"), "libssl.so.3": (2, "unlisted"), "libc.so.6": (0, "default")}


@pytest.mark.parametrize(("unlisted", "expected"), [("shared", 0), ("rest", 1)])
def test_unlisted_objects_may_be_shared_or_join_a_compartment(unlisted: str, expected: int) -> None:
    exit_map, _ = mapped(f'unlisted = "{unlisted}"\n[compartments.rest]', SSL)
    assert exit_map.unlisted == expected
    assert decided(exit_map) == {"libssl.so.3": (expected, "unlisted")}


def test_a_compartment_may_name_what_is_shared_by_default() -> None:
    exit_map, _ = mapped('[compartments.c]\nobjects = ["libc.so.*"]', LIBC)
    assert decided(exit_map) == {"libc.so.6": (1, "policy")}


def test_the_policy_may_share_more() -> None:
    exit_map, _ = mapped('shared = ["libssl.so.*"]', SSL, CRYPTO)
    assert decided(exit_map) == {"libssl.so.3": (0, "policy"), "libcrypto.so.3": (1, "unlisted")}


def test_a_program_is_never_shared_by_default_whatever_its_name() -> None:
    exit_map, _ = mapped("", program("libc.so.6"))
    assert decided(exit_map) == {"libc.so.6": (1, "unlisted")}


def test_an_allocator_is_shared_unless_the_policy_names_it() -> None:
    allocator = library("libjemalloc.so.2", defines_malloc=True)
    shared, said = mapped("", allocator)
    assert (shared.objects[0].compartment, shared.objects[0].decided_by, said) == (0, "default", [])
    named, _ = mapped('[compartments.heap]\nobjects = ["libjemalloc.so.*"]\n', allocator)
    assert (named.objects[0].compartment, named.objects[0].decided_by) == (1, "policy")


def test_a_program_with_a_malloc_of_its_own_is_shared_and_that_is_said() -> None:
    exit_map, said = mapped("", program("server", defines_malloc=True))
    assert (exit_map.objects[0].compartment, exit_map.objects[0].decided_by) == (0, "default")
    assert said[0].startswith("/usr/bin/server: it defines malloc, which every object calls")


def test_main_names_the_program() -> None:
    exit_map, _ = mapped('[compartments.app]\nobjects = ["@main"]', CURL, SSL)
    assert decided(exit_map) == {"curl": (1, "policy"), "libssl.so.3": (2, "unlisted")}
    assert entry(exit_map, "curl").main
    assert not entry(exit_map, "libssl.so.3").main


def test_numbers_skip_those_that_are_taken() -> None:
    exit_map, _ = mapped(
        '[compartments.a]\nobjects = ["a.so"]\n[compartments.b]\nid = 1\n[compartments.c]\nobjects = ["c.so"]\n',
        library("a.so"),
        library("c.so"),
        library("note.so", destructor(4, claimed=3), claimed=2),
    )
    assert {item.name: item.id for item in exit_map.compartments} == {
        "shared": 0,
        "b": 1,
        "note.so": 2,
        "note.so~2": 3,
        "a": 4,
        "c": 5,
    }


def test_a_number_that_a_note_and_the_policy_agree_on_is_not_skipped() -> None:
    exit_map, said = mapped('[compartments.a]\nobjects = ["a.so"]', library("a.so", claimed=1))
    assert decided(exit_map) == {"a.so": (1, "policy")}
    assert said == []


def test_the_policy_wins_over_a_note_and_that_is_said_once_per_object() -> None:
    exit_map, said = mapped(
        '[compartments.a]\nid = 2\nobjects = ["a.so"]',
        library("a.so", destructor(16, claimed=4), destructor(32, claimed=5), claimed=3),
    )
    assert decided(exit_map) == {"a.so": (2, "policy")}
    assert {item.compartment for item in entry(exit_map, "a.so").destructors} == {2}
    assert said == [
        "/usr/lib/a.so: its note claims compartment 3 for it and gives destructors to compartment 4, 5,"
        ' p.toml:4 says "a" (2); the policy wins: correct the one that is wrong'
    ]


def test_an_object_that_joins_a_compartment_of_the_policy_by_its_note_is_named() -> None:
    exit_map, said = mapped('[compartments.a]\nid = 2\nobjects = ["a.so"]', library("a.so"), library("b.so", claimed=2))
    assert decided(exit_map) == {"a.so": (2, "policy"), "b.so": (2, "note")}
    assert said == [
        '/usr/lib/b.so: joins compartment "a" (2) by its own note, p.toml does not list it;'
        " add it there, or give another number to one of them"
    ]


def test_a_note_may_give_one_destructor_to_another_compartment() -> None:
    exit_map, _ = mapped("", library("a.so", destructor(16, claimed=4), destructor(32), claimed=3))
    assert [(int(item.rva), item.compartment) for item in entry(exit_map, "a.so").destructors] == [(16, 4), (32, 3)]


def test_a_note_that_contradicts_itself_is_refused() -> None:
    message = error_of(
        "", library("a.so", destructor(16, claimed=4, symbol="f"), destructor(16, claimed=5, symbol="f"))
    )
    assert message == (
        "/usr/lib/a.so: its note gives the cxa_atexit destructor f to compartments 4 and 5, expected one;"
        " remove an IA2_EXIT_DESTRUCTOR"
    )


@pytest.mark.parametrize("claim", [-1, 4096])
def test_a_note_with_an_impossible_number_is_refused(claim: int) -> None:
    assert error_of("", library("a.so", claimed=claim)) == (
        f"/usr/lib/a.so: its note claims compartment {claim}, expected 0 to 4095; correct IA2_EXIT_COMPARTMENT"
    )


def test_destructors_are_sorted_unique_and_only_those_that_the_object_holds() -> None:
    exit_map, _ = mapped(
        "",
        library(
            "a.so",
            destructor(48, "fini", symbol="_fini", found="dt_fini"),
            destructor(32, "atexit", symbol=None),
            destructor(32, "fini_array", symbol="two", found="fini_array"),
            destructor(32, "atexit", symbol="one", found="note", claimed=1),
            destructor(None, "cxa_atexit"),
            destructor(16, "cxa_atexit", symbol="free", holder="libc.so.6"),
        ),
        LIBC,
    )
    assert [(int(item.rva), item.kind, item.symbol) for item in entry(exit_map, "a.so").destructors] == [
        (32, "fini_array", "two"),
        (32, "atexit", "one"),
        (48, "fini", "_fini"),
    ]
    assert entry(exit_map, "libc.so.6").destructors == []


@pytest.mark.parametrize("kind", ["on_exit", "pthread_key"])
def test_kinds_that_belong_to_the_holder_are_listed_there_whoever_registers_them(kind: Kind) -> None:
    exit_map, _ = mapped("", library("a.so", destructor(16, kind, symbol="f", holder="b.so")), library("b.so"))
    (found,) = entry(exit_map, "b.so").destructors
    assert (int(found.rva), found.kind, found.compartment) == (16, kind, entry(exit_map, "b.so").compartment)
    assert entry(exit_map, "a.so").destructors == []


def test_a_shared_holder_owns_nothing_that_others_register() -> None:
    exit_map, _ = mapped("", library("a.so", destructor(16, "pthread_key", holder="libc.so.6")), LIBC)
    assert entry(exit_map, "libc.so.6").destructors == []


def test_copies_of_one_object_are_one_entry() -> None:
    here, there = library("a.so", destructor(16)), library("a.so", destructor(16), path="/opt/a.so")
    exit_map, said = mapped("", here, there)
    assert [item.path for item in exit_map.objects] == ["/opt/a.so"]
    assert said == []


def test_copies_that_disagree_are_named_and_the_policys_word_counts() -> None:
    here, there = library("a.so", destructor(16)), library("a.so", destructor(16), destructor(32), path="/opt/a.so")
    exit_map, said = mapped('[compartments.a]\nobjects = ["/usr/*"]', here, there)
    assert [(item.path, item.compartment, len(item.destructors)) for item in exit_map.objects] == [
        ("/usr/lib/a.so", 1, 2)
    ]
    assert said == [
        "/opt/a.so: left out, the same build ID as /usr/lib/a.so; they differ in compartment (policy against unlisted),"
        " destructors"
    ]


def test_copies_in_two_compartments_are_refused() -> None:
    message = error_of(
        '[compartments.a]\nobjects = ["/usr/*"]\n[compartments.b]\nobjects = ["/opt/*"]',
        library("a.so"),
        library("a.so", path="/opt/a.so"),
    )
    assert message == (
        "/usr/lib/a.so: a copy of /opt/a.so (the same build ID), which the policy puts into compartment 2,"
        " this one into 1; expected one: correct the patterns"
    )


def test_objects_of_one_name_without_build_id_keep_only_what_holds_for_both() -> None:
    one = library("a.so", destructor(16), destructor(32), build_id=None)
    two = library("a.so", destructor(32), build_id=None, path="/opt/a.so")
    exit_map, said = mapped("", one, two)
    assert [int(item.rva) for item in entry(exit_map, "a.so").destructors] == [32]
    assert said == [
        "/usr/lib/a.so: left out, the same name, and neither has a build ID as /opt/a.so; they differ in destructors"
    ]


#: (policy, message), each with curl, libssl.so.3, libcrypto.so.3 and libc.so.6 scanned.
MISFITS = [
    (
        '[compartments.tls]\nobjects = ["libssl.so.1.1"]',
        'p.toml:3: compartment "tls": no loaded object matches "libssl.so.1.1" (loaded: libssl.so.3);'
        " write libssl.so.* or remove the line",
    ),
    (
        '[compartments.tls]\nobjects = ["libsll.so.*"]',
        'p.toml:3: compartment "tls": no loaded object matches "libsll.so.*" (loaded: libssl.so.3, libc.so.6);'
        " write libssl.so.* or remove the line",
    ),
    (
        '[compartments.tls]\nobjects = ["/usr/lib/libssl.so"]',
        'p.toml:3: compartment "tls": no loaded object matches "/usr/lib/libssl.so" (loaded: /usr/lib/libssl.so.3);'
        " write /usr/lib/libssl.so.3 or remove the line",
    ),
    (
        'shared = ["qwertzuiop"]',
        'p.toml:2: shared: no loaded object matches "qwertzuiop" (none of the 4 comes close);'
        " add the object to the paths or remove the line",
    ),
    (
        '[compartments.a]\nobjects = ["lib*.so.3"]\n[compartments.b]\nobjects = ["libssl.so.*"]',
        'p.toml:5: compartment "b": "libssl.so.*" claims libssl.so.3, which compartment "a" claims with "lib*.so.3";'
        " expected one claim: narrow one of the patterns",
    ),
    (
        'shared = ["libssl*"]\n[compartments.a]\nobjects = ["libssl.so.*"]',
        'p.toml:2: shared: "libssl*" claims libssl.so.3, which compartment "a" claims with "libssl.so.*";'
        " expected one claim: narrow one of the patterns",
    ),
]


@pytest.mark.parametrize(("policy", "message"), MISFITS)
def test_a_policy_that_does_not_fit_is_refused(policy: str, message: str) -> None:
    assert error_of(policy, CURL, SSL, CRYPTO, LIBC) == message


def test_main_without_a_program_is_refused() -> None:
    assert error_of('[compartments.a]\nobjects = ["@main"]', SSL) == (
        'p.toml:3: compartment "a": "@main" names no object: there is no program among the 1 scanned;'
        " add the program to the paths or remove the line"
    )


def test_more_compartments_than_numbers_are_refused() -> None:
    message = error_of("[compartments.a]\nid = 4095", SSL)
    assert message.startswith("p.toml: more than 4095 compartments with one for each unlisted object; write unlisted")


def test_nothing_to_map_is_refused() -> None:
    assert error_of("") == "nothing to map: no ELF object was found; name a program, a shared object or a folder"


def test_problems_of_the_scan_are_said_and_warned_of_by_default() -> None:
    scan = ScanResult(objects=[SSL], problems=[Problem(path="/x/bad.so", message="/x/bad.so: not an ELF file")])
    with pytest.warns(MapWarning, match=re.escape("/x/bad.so: left out: not an ELF file")):
        ia2exit.build_map(None, scan)


kinds = st.sampled_from(KINDS)
entries = st.builds(
    destructor, st.none() | st.integers(0, 64), kinds, holder=st.none() | st.sampled_from(["a.so", "b.so", "libc.so.6"])
)
objects = st.builds(
    lambda name, found, claimed, build_id, folder: library(
        name, *found, claimed=claimed, path=f"/{folder}/{name}", **({} if build_id else {"build_id": None})
    ),
    st.sampled_from(["a.so", "b.so", "c.so", "libc.so.6", "libm.so.6"]),
    st.lists(entries, max_size=4),
    st.none() | st.integers(0, 5),
    st.booleans(),
    st.sampled_from(["x", "y"]),
)
policies = st.sampled_from(
    ["", 'unlisted = "shared"', "[compartments.a]\nid = 3", "[compartments.b]\n[compartments.a]"]
)


@given(st.lists(objects, min_size=1, max_size=6), policies, st.randoms(use_true_random=False))
def test_the_order_of_the_scan_does_not_change_a_byte(found: list[ScannedObject], policy: str, random: Any) -> None:
    # copies are told apart by path: two records of one file do not come from one scan
    found = list({item.path: item for item in found}.values())
    shuffled = random.sample(found, len(found))
    exit_map, said = mapped(policy, *found)
    assert to_json(exit_map) == to_json(mapped(policy, *shuffled)[0])
    assert said == mapped(policy, *shuffled)[1]
    assert [item.id for item in exit_map.compartments] == sorted({item.id for item in exit_map.compartments})
    assert len({item.name for item in exit_map.compartments}) == len(exit_map.compartments)
    keys = [(item.build_id or "", item.name) for item in exit_map.objects]
    assert keys == sorted(set(keys))
    ids = {item.id for item in exit_map.compartments}
    for item in exit_map.objects:
        pairs = [(int(entry.rva), KINDS.index(entry.kind)) for entry in item.destructors]
        assert pairs == sorted(set(pairs))
        assert {item.compartment, *(entry.compartment for entry in item.destructors)} <= ids

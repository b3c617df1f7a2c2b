"""schemas/events.schema.json accepts exactly what ia2exit.events accepts."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ia2exit import events
from ia2exit.model import KINDS, Address
from ia2exit.running import schema, trace

FILE = Path(events.__file__).parent / "schemas" / "events.schema.json"
VALIDATOR = Draft202012Validator(json.loads(FILE.read_bytes()))

BASE: dict[str, Any] = {"pid": 10, "tid": 11, "t": 123456789}
PLACE = {"address": "0x7f00deadbeef", "object": "/lib/libz.so.1", "rva": "0x1a40"}
WHO: dict[str, Any] = {"record": 3, "generation": 0, "kind": "fini_array", "function": PLACE}
OWNER: dict[str, Any] = {"owner": 2, "owner_name": "libz.so.1", "foreign": False, "vague": True}
RUNNING: dict[str, Any] = {**WHO, "seq": 1, "registrar": PLACE, "owner": 2, "owner_name": "libz.so.1"}
STACK: list[list[Any]] = [[1, "0x1a40"], [1, "0x1a50", 262144, True], [0, "0x7f00deadbeef"]]
COUNTS = (
    *("ran", "success", "fallback", "violation", "contained", "unenforced", "bypassed", "unfinished"),
    *("unknown", "foreign", "vague", "bystander", "switches", "wrpkru", "mprotect"),
)
SAMPLES: dict[str, dict[str, Any]] = {
    "start": {
        **{"version": 1, "runtime": "0.1.0", "program": "/bin/true", "ppid": 9, "forked": False, "glibc": "2.36"},
        **{"backend": "none", "mode": "observe", "virtual": True, "map": None},
        **{"backend_why": "the CPU has no protection keys", "allow_all": False},
    },
    "object": {
        **{"slot": 1, "path": "/bin/true", "build_id": None, "base": "0x0", "start": "0x400000", "end": "0x401000"},
        **{"compartment": 1, "compartment_name": "true", "decided_by": "unlisted", "covered": False},
        **{"why_not": "static", "entries": 2, "when": "start"},
    },
    "register": {**WHO, **OWNER, "dso": None, "registrar": None},
    "enter": {
        **{**WHO, **OWNER, "seq": 1, "dso": "/lib/libz.so.1", "registrar": PLACE, "depth": 0},
        **{"moment": "thread-end", "pkru_before": "0x0", "pkru_wanted": None, "unenforced": "threads"},
    },
    "leave": {"seq": 1, "record": 3, "generation": 0, "ns": 500, "outcome": "contained", "pkru_after": "0xfffffffc"},
    "exit": {"how": "main", "status": 0},
    "exec": {"path": "/bin/ls", "how": "execve", "followed": False, "child": True},
    "fallback": {**WHO, "seq": 1, "why": "no owner", "remedy": "name it in the policy"},
    "fault": {
        **{"what": "SIGSEGV", "detail": "", "signal": 11, "code": 1, "address": "0x0", "instruction": PLACE},
        **{"destructor": RUNNING, "stack": STACK},
    },
    "violation": {
        **{"destructor": RUNNING, "handler": False, "via": "syscall", "instruction": PLACE, "syscall": 1},
        **{"address": PLACE, "victim": 1, "victim_name": "main", "access": "write", "action": "ended", "stack": STACK},
    },
    "stack": {"of": 12, "destructor": None, "instruction": PLACE, "stack": STACK},
    "compartment": {"id": None, "name": "libz.so.1", **dict.fromkeys(COUNTS, 0)},
    "counters": dict.fromkeys(("registered", *COUNTS, "left", "lost", "out_of_order"), 0),
    "end": {"how": "exit", "status": None},
}
LINES = {name: {"event": name, **BASE, **sample} for name, sample in SAMPLES.items()}


def reads(document: object) -> bool:
    """Whether the reader of events accepts a document."""
    try:
        trace.parse(json.dumps(document).encode())
    except msgspec.DecodeError:
        return False
    return True


def agree(document: object) -> bool:
    """Whether both accept it; they must be of one mind."""
    accepted = VALIDATOR.is_valid(document)
    assert reads(document) == accepted, json.dumps(document)
    return accepted


def test_the_file_is_what_the_records_say() -> None:
    assert FILE.read_bytes() == schema.text(), f"run: python -m ia2exit.running.schema > {FILE.name}"
    Draft202012Validator.check_schema(json.loads(FILE.read_bytes()))


def test_there_is_a_sample_of_each_event() -> None:
    assert set(SAMPLES) == {kind.__struct_config__.tag for kind in get_args(events.AnyEvent)}


@pytest.mark.parametrize("name", LINES)
def test_a_sample_is_accepted(name: str) -> None:
    assert agree(LINES[name])


@pytest.mark.parametrize("name", LINES)
def test_every_member_is_needed(name: str) -> None:
    for member in LINES[name]:
        assert not agree({key: value for key, value in LINES[name].items() if key != member}), member


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize(
    "other", [None, -1, 1.5, True, "", "0x", "0xg1", "x", "0X10", "0x1\n", [], {}, "main", 1 << 70]
)
def test_a_member_of_another_type_is_judged_alike(name: str, other: object) -> None:
    for member in LINES[name]:
        agree({**LINES[name], member: other})


@pytest.mark.parametrize("name", LINES)
def test_a_member_that_nobody_knows_is_ignored(name: str) -> None:
    assert agree({**LINES[name], "later": 1})


PLACES = st.fixed_dictionaries(
    {
        "address": st.one_of(st.integers(0, 2**64 - 1).map(hex), st.text(max_size=6)),
        "object": st.one_of(st.none(), st.text(max_size=6)),
        "rva": st.one_of(st.none(), st.integers(0, 2**64 - 1).map(hex), st.integers(-5, 5)),
    }
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.text(max_size=8),
    st.integers(0, 2**64).map(hex),
    st.sampled_from([*KINDS, "main", "exit", "quick_exit", "_exit", "observe", "none", "read", "start", "unlisted"]),
    PLACES,
    st.lists(st.integers(), max_size=2),
    st.lists(st.lists(st.one_of(st.integers(0, 9), st.integers(0, 99).map(hex)), max_size=3), max_size=2),
)


@given(name=st.sampled_from(sorted(LINES)), data=st.data())
def test_changed_lines_are_judged_alike(name: str, data: st.DataObject) -> None:
    line = copy.deepcopy(LINES[name])
    for member in data.draw(st.lists(st.sampled_from(sorted(line)), max_size=3, unique=True)):
        line[member] = data.draw(VALUES)
    agree(line)


@given(value=st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 4096)))
def test_addresses_keep_their_value(value: int) -> None:
    line = {**LINES["fault"], "address": hex(value)}
    event = trace.parse(json.dumps(line).encode())
    assert isinstance(event, events.Fault)
    assert event.address == value
    assert isinstance(event.address, Address)

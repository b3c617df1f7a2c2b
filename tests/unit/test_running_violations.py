"""Violations in a trace: the records that a run returns, and the report that a person reads."""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec
import pytest
from incident_streams import Stage, lines, result, told

from ia2exit import events
from ia2exit.model import Address, from_json, to_json
from ia2exit.policy import parse_policy
from ia2exit.running import Location, RunResult


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"))


def ended(stage: Stage, *violations: events.Violation) -> list[events.AnyEvent]:
    return [*stage.objects(), stage.enter(), *violations, stage.end()]


def observed(stage: Stage, *violations: events.Violation, outcome: str = "violation") -> list[events.AnyEvent]:
    """Two destructors and what they did, let through or abandoned."""
    done: list[events.AnyEvent] = stage.objects()
    for seq in (1, 2):
        done.append(stage.enter(seq))
        done += [v for v in violations if v.destructor is not None and v.destructor.seq == seq]
        done.append(stage.leave(seq, outcome))
    return [*done, stage.counters(ran=2, violation=2), stage.end("exit", 0)]


def lines_of(text: str, label: str) -> list[str]:
    """What the report says behind a label, its continuation lines included."""
    found, inside = [], False
    for line in text.splitlines():
        if line.startswith(f"  {label.ljust(9)} "):
            inside = True
        elif line[:11].strip():
            inside = False
        if inside:
            found.append(line[12:])
    return found


def toml(text: str) -> str:
    """The lines of TOML in a report."""
    return "\n".join(line[4:] for line in lines_of(text, "remedy") if line.startswith("    "))


def test_a_violation_is_a_record_with_names_for_every_address(stage: Stage) -> None:
    (violation,) = result(ended(stage, stage.violation())).violations
    assert violation.destructor is not None
    culprit = violation.destructor.function
    assert (culprit.symbol, culprit.name, culprit.offset) == ("_ZN4PlugD1Ev", "Plug::~Plug()", 0)
    assert violation.destructor.registrar is not None
    assert (violation.destructor.registrar.symbol, violation.destructor.registrar.offset) == ("main", 4)
    assert (violation.destructor.order, violation.destructor.owner_name) == (1, "plug")
    assert violation.address is not None
    assert (violation.address.symbol, violation.address.offset, violation.address.section) == ("secret", 8, ".data")
    assert (violation.instruction.name, violation.instruction.offset) == ("Plug::~Plug()", 3)
    assert [(at.name, at.offset) for at in violation.stack] == [("Plug::~Plug()", 3), ("main", 5)]
    assert violation.stack[1].address == stage.place("app", "main", 5).address


def test_the_record_survives_json(stage: Stage) -> None:
    found = result(ended(stage, stage.violation(), stage.violation(via="syscall", syscall=0)))
    assert from_json(to_json(found), RunResult) == found


def test_a_destructor_that_was_ended_has_no_return_and_its_mark(stage: Stage) -> None:
    text = told(ended(stage, stage.violation()))
    (row,) = (line for line in text.splitlines() if line.startswith("  1 "))
    assert row.endswith("no return  <- violation")
    assert "app was ended by SIGSEGV while its destructors ran\n" in text


def test_culprit_victim_place_and_outcome_are_told(stage: Stage) -> None:
    text = told(ended(stage, stage.violation()))
    app, plug = stage.paths["app"], stage.paths["libplug.so"]
    assert "ia2exit: violation: Plug::~Plug() of libplug.so wrote to secret of app, compartment program\n" in text
    culprit, registered = lines_of(text, "culprit")
    assert culprit == f"destructor #1 Plug::~Plug() (cxa_atexit) of {plug}, compartment plug"
    assert registered.startswith("registered at main+0x4 (app+0x")
    (did,) = lines_of(text, "did")
    assert did.startswith("wrote, by the instruction at Plug::~Plug()+0x3 (libplug.so+0x")
    (victim,) = lines_of(text, "victim")
    assert victim == f"secret+0x8 (app+{stage.rva('app', 'secret', 8):#x}), .data of {app}, compartment program"
    assert [line.split(" (")[0] for line in lines_of(text, "stack")] == ["Plug::~Plug()+0x3", "main+0x5"]
    assert lines_of(text, "then") == ["the program was ended (mode enforce)"]


@pytest.mark.parametrize(
    ("action", "said"), [("opened", "it was let through"), ("abandoned", "the destructor was abandoned, the next one")]
)
def test_each_mode_has_its_outcome(stage: Stage, action: str, said: str) -> None:
    outcome = "contained" if action == "abandoned" else "violation"
    text = told(observed(stage, stage.violation(action=action), outcome=outcome), signal=None)
    (line,) = lines_of(text, "then")
    assert line.startswith(said)
    assert ("<- abandoned" in text) == (action == "abandoned")


def test_a_system_call_is_told_by_name(stage: Stage) -> None:
    (violation,) = result(ended(stage, stage.violation(via="syscall", syscall=0, access="write"))).violations
    assert violation.syscall_name == "read"
    text = told(ended(stage, stage.violation(via="syscall", syscall=0, access="write", address=None)))
    (did,) = lines_of(text, "did")
    assert did.startswith("wrote, by the system call read (0) made at Plug::~Plug()+0x3")
    assert lines_of(text, "victim") == ["memory of compartment program; the kernel does not tell which"]
    assert "or        " not in text


def test_a_system_call_of_a_later_kernel_is_told_by_number(stage: Stage) -> None:
    text = told(ended(stage, stage.violation(via="syscall", syscall=99999)))
    assert "the system call unknown (99999) made at" in text


def test_what_repeats_is_told_once_with_how_often(stage: Stage) -> None:
    same = [stage.violation(seq, action="opened", address=stage.place("app", "secret", 4 * seq)) for seq in (1, 2)]
    other = stage.violation(action="opened", address=stage.place("app", "buffer", 7))
    text = told(observed(stage, *same, other, other), signal=None)
    assert text.count("ia2exit: violation: ") == 2
    assert lines_of(text, "seen") == ["2 times, in destructors #1, #2", "2 times, in destructor #1"]
    assert ", 4 violations" in text


def test_many_repeats_are_still_one(stage: Stage) -> None:
    seen = [stage.violation(1, action="opened", address=stage.place("app", "buffer", n % 256)) for n in range(300)]
    text = told(observed(stage, *seen), signal=None)
    assert lines_of(text, "seen") == ["300 times, in destructor #1"]


def test_the_remedy_is_a_policy_that_can_be_pasted(stage: Stage) -> None:
    text = told(ended(stage, stage.violation()))
    policy = parse_policy(toml(text)).policy
    assert policy.compartments["program"].objects == ["@main", "libplug.so", "liblost.so"]
    assert "if everyone may touch secret, define it with IA2_SHARED_DATA (ia2_exit_note.h) in app" in text


def test_with_a_map_only_the_compartment_is_to_be_pasted(stage: Stage) -> None:
    mapped = [stage.start(map="/tmp/map"), *ended(stage, stage.violation())[1:]]
    assert list(tomllib.loads(toml(told(mapped)))) == ["compartments"]


@pytest.mark.parametrize("name", ["libssl.so.3", "main", "a b\n[x]", "-x", "ünit", "", "9"])
def test_a_compartment_of_any_name_gives_valid_toml(stage: Stage, name: str) -> None:
    text = told(ended(stage, stage.violation(victim_name=name)))
    assert len(parse_policy(toml(text)).policy.compartments) == 1


def test_objects_with_odd_names_give_patterns_for_just_them(stage: Stage) -> None:
    odd = stage.object("liblost.so", 2, path='/x/li[b]*"?.so')
    text = told([*stage.objects()[:3], odd, stage.enter(), stage.violation(), stage.end()])
    assert parse_policy(toml(text)).policy.compartments["program"].objects[2] == 'li[[]b][*]"[?].so'


def test_shared_code_that_touches_a_compartment_is_no_case_for_one_compartment(stage: Stage) -> None:
    text = told(ended(stage, stage.violation(destructor=stage.running(owner=0, owner_name="shared"))))
    assert tomllib.loads(toml(text)) == {"version": 1, "shared": ["@main"]}


def test_nobody_knows_a_remedy_for_memory_of_nobody(stage: Stage) -> None:
    text = told(ended(stage, stage.violation(victim=None, victim_name=None)))
    assert lines_of(text, "remedy") == []
    assert "an unknown compartment" in text


def test_code_between_destructors_is_told_as_that(stage: Stage) -> None:
    text = told(ended(stage, stage.violation(destructor=None)))
    assert lines_of(text, "culprit") == ["code that ran between destructors"]
    assert "violation: Plug::~Plug() of libplug.so wrote" in text
    assert parse_policy(toml(text)).policy.compartments["program"].objects[0] == "@main"


def test_a_signal_handler_is_not_charged_to_the_destructor(stage: Stage) -> None:
    text = told(ended(stage, stage.violation(handler=True)))
    assert "violation: a signal handler wrote to secret" in text
    assert "not the destructor that it interrupted" in text


def test_an_address_without_symbol_has_object_and_rva(stage: Stage) -> None:
    nothing = msgspec.structs.replace(stage.place("app", "secret"), rva=Address(0x9999), address=Address(1))
    text = told(ended(stage, stage.violation(address=nothing)))
    assert "wrote to app+0x9999, compartment program" in text
    assert "if everyone may touch that variable," in text


def test_an_object_that_was_rebuilt_since_gives_no_names(stage: Stage) -> None:
    other = [stage.object("app", 1, build_id="00" * 20), stage.object("libplug.so", 2)]
    (violation,) = result([stage.start(), *other, stage.enter(), stage.violation(), stage.end()]).violations
    assert violation.address is not None
    assert violation.address == Location(
        **{m: getattr(stage.place("app", "secret", 8), m) for m in ("address", "object", "rva")}
    )
    assert violation.instruction.name == "Plug::~Plug()"


def test_a_slot_that_is_used_again_means_what_it_meant_then(stage: Stage) -> None:
    frame = events.Frame(slot=3, address=stage.frame("libplug.so", "tidy", 1).address)
    before, after = stage.violation(stack=[frame], action="opened"), stage.violation(2, stack=[frame], action="opened")
    again = [stage.object("libplug.so", 2, "unload"), stage.object("libplug.so", 2, "load", slot=3)]
    stream = [*stage.objects()[:3], stage.object("liblost.so", 2, "load"), before]
    gone = stage.object("liblost.so", 2, "unload")
    first, second = result([*stream, gone, *again, after, stage.end()]).violations
    assert first.stack[0].object == str(stage.paths["liblost.so"])
    assert (second.stack[0].object, second.stack[0].name) == (str(stage.paths["libplug.so"]), "tidy")


def test_names_cannot_steer_the_terminal(stage: Stage) -> None:
    forged = "\x1b[2J\nia2exit: forged"
    odd = stage.object("liblost.so", 2, path=f"/x/{forged}", compartment_name=forged)
    place = msgspec.structs.replace(stage.place("app", "secret"), object=f"/x/{forged}")
    changes: dict[str, Any] = {
        "address": place,
        "victim_name": forged,
        "destructor": stage.running(owner_name=forged, function=place),
    }
    text = told([*stage.objects()[:3], odd, stage.enter(), stage.violation(**changes), stage.end()])
    assert "\x1b" not in text
    assert "\nia2exit: forged" not in text


def test_the_last_line_may_be_cut_off(stage: Stage) -> None:
    whole = lines(ended(stage, stage.violation()))
    for cut in (1, 30, len(whole[-1]) - 2):
        found = result([], data=b"".join(whole[:-1]) + whole[-1][:cut])
        assert (found.truncated, len(found.violations)) == (True, 1)


def test_counts_are_told_by_compartment_where_they_say_something(stage: Stage) -> None:
    rows = [
        stage.counts(1, "program", ran=3, success=3),
        stage.counts(2, "plug", ran=1, violation=1),
        stage.counts(None, None, wrpkru=7),
    ]
    total = stage.counters(ran=4, success=3, violation=1, switches=6, mprotect=9)
    text = told([*ended(stage, stage.violation())[:-1], *rows, total, stage.end()])
    table = [
        line.split()
        for line in text.splitlines()
        if line.startswith(("  compartment", "  program", "  plug", "  total"))
    ]
    assert table == [
        ["compartment", "ran", "success", "violation"],
        ["program", "3", "3", "0"],
        ["plug", "1", "0", "1"],
        ["total", "4", "3", "1"],
    ]
    assert "nobody" not in text
    assert "ia2exit: 6 switches, 0 WRPKRU, 9 mprotect calls; " in text


def test_counts_that_say_nothing_are_told_when_asked_for(stage: Stage) -> None:
    rows = [stage.counts(1, "program", ran=1, success=1, switches=2), stage.counts(None, None, wrpkru=7)]
    total = stage.counters(ran=1, success=1, switches=2, wrpkru=7)
    stream = [*stage.objects(), stage.enter(), stage.leave(), *rows, total, stage.end("exit", 0)]
    assert "mprotect calls" not in told(stream, signal=None)
    text = told(stream, signal=None, counters=True)
    outcomes, tallies = text.split("  compartment ")[1:]
    names = "ran  success  fallback  violation  contained  unenforced  bypassed  unfinished"
    assert outcomes.splitlines()[0].strip() == names
    assert [line.split() for line in tallies.splitlines()[:4]] == [
        ["unknown", "foreign", "vague", "bystander", "switches", "wrpkru", "mprotect"],
        ["program", "0", "0", "0", "0", "2", "0", "0"],
        ["nobody's", "0", "0", "0", "0", "0", "7", "0"],
        ["total", "0", "0", "0", "0", "2", "7", "0"],
    ]
    assert max(len(line) for line in (outcomes + tallies).splitlines() if "  " in line) <= 100

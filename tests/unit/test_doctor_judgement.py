"""What follows from facts about a machine, whatever machine that is."""

from __future__ import annotations

import io
import string

import msgspec
import pytest
from examined_machines import FILTER, MACHINE, NO_KEYS, check, failing, machine, traced, without_keys
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ia2exit.examining import Facts, judge
from ia2exit.examining.causes import CALLS
from ia2exit.examining.records import Trace, Trial
from ia2exit.examining.table import render
from ia2exit.examining.trials import TRIALS
from ia2exit.vm.needs import Need

DENIED = Trial(works=False, errno="EPERM")
UNKNOWN = Trial(works=False, errno="ENOSYS")
#: Calls that the runtime does without where it must, by the name of their trial.
DISPENSABLE = ("procmap", "dispatch", "memfd", "mseal", "mem", "readv")


def shown(facts: Facts, width: int = 80, *, verbose: bool = False) -> str:
    """The table in a pipe."""
    return render(judge(facts), Console(width=width, color_system=None, file=io.StringIO()), verbose=verbose)


# Machines ------------------------------------------------------------------------------------------------------


def test_where_nothing_is_missing_all_is_ok_and_nothing_is_to_be_done() -> None:
    diagnosis = judge(MACHINE)
    assert {one.state for one in diagnosis.checks} == {"ok"}
    assert {one.remedy for one in diagnosis.checks} == {None}
    assert (diagnosis.auto, diagnosis.closes, diagnosis.compartments) == ("pku", ["pku", "mprotect"], 14)


def test_without_keys_mprotect_does_it_and_that_is_the_remedy() -> None:
    diagnosis = judge(without_keys())
    assert (diagnosis.auto, diagnosis.auto_why, diagnosis.closes) == ("mprotect", NO_KEYS, ["mprotect"])
    assert (diagnosis.free_keys, diagnosis.compartments) == (0, 0)
    lacking = {one.name: one for one in diagnosis.checks if one.state != "ok"}
    assert set(lacking) == {"auto", "pku", "CPU flags", "free keys", "closing by key"}
    for one in lacking.values():
        assert one.remedy is not None
        assert one.remedy.startswith("nothing to do: the backend mprotect does it")
        assert "ia2exit vm -- CMD" in one.remedy


def test_mprotect_is_no_remedy_where_it_does_not_work_either() -> None:
    facts = without_keys(traces={})
    assert "nothing to do" not in str(check(facts, "CPU flags").remedy)


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        ({"pku"}, "without nopku"),
        ({"hypervisor"}, "-cpu host"),
        ({"fpu"}, "ia2exit vm"),
        (None, "ia2exit vm"),
    ],
)
def test_what_brings_keys_depends_on_who_withholds_them(flags: set[str] | None, remedy: str) -> None:
    facts = without_keys(flags=None if flags is None else frozenset(flags))
    assert check(facts, "CPU flags").state == "missing"
    assert remedy in str(check(facts, "CPU flags").remedy)


@pytest.mark.parametrize(
    ("keys", "state", "compartments"),
    [(0, "missing", 0), (1, "missing", 0), (2, "limited", 1), (14, "limited", 13), (15, "ok", 14)],
)
def test_one_key_is_the_runtimes_and_each_other_is_a_compartment(keys: int, state: str, compartments: int) -> None:
    facts = failing("keys", Trial(works=True, value=keys))
    assert check(facts, "free keys").state == state
    assert judge(facts).compartments == compartments


def test_where_no_backend_closes_memory_none_is_named() -> None:
    traces = {name: msgspec.structs.replace(trace, success=1) for name, trace in MACHINE.traces.items()}
    diagnosis = judge(machine(traces=traces))
    assert diagnosis.closes == []
    assert [one.state for one in diagnosis.checks[:3]] == ["missing"] * 3
    assert "no backend closes memory" in shown(machine(traces=traces))


def test_a_backend_that_the_program_got_instead_of_another_proves_nothing_about_that() -> None:
    traces = {**MACHINE.traces, "pku": traced("mprotect")}
    assert judge(machine(traces=traces)).closes == ["mprotect"]


def test_a_runtime_that_is_nowhere_is_missing_with_the_place_where_it_was_sought() -> None:
    facts = machine(runtime=None, runtime_missing="/opt/libia2.so: no such file", traces={})
    one = check(facts, "preload")
    assert (one.state, one.found) == ("missing", "/opt/libia2.so: no such file")
    assert "pip install" in str(one.remedy)
    assert judge(facts).closes == []


def test_a_runtime_that_ld_so_refuses_is_missing_with_the_words_of_ld_so() -> None:
    said = "ERROR: ld.so: object '/opt/ia2exit/libia2.so' from LD_PRELOAD cannot be preloaded: ignored."
    traces = dict.fromkeys(MACHINE.traces, Trace(program="/bin/true", said=said))
    one = check(machine(traces=traces), "preload")
    assert (one.state, one.found) == ("missing", said)


@pytest.mark.parametrize(
    ("looked", "answers", "state", "found", "remedy"),
    [
        (True, True, "ok", "libia2_audit.so answers", None),
        (True, False, "limited", "does not answer", "ia2_audit"),
        (False, False, "limited", "takes no notice of LD_AUDIT", "without --audit"),
    ],
)
def test_the_audit_module_is_needed_by_nothing_and_missed(
    looked: bool, answers: bool, state: str, found: str, remedy: str | None
) -> None:
    traces = {**MACHINE.traces, "none": traced("none", audited=answers)}
    one = check(machine(auditing=looked, traces=traces), "auditing")
    assert one.state == state
    assert found in one.found
    assert remedy in str(one.remedy) if remedy else one.remedy is None
    assert judge(machine(auditing=looked, traces=traces)).closes == judge(MACHINE).closes


def test_where_nothing_could_be_tried_each_trial_says_why() -> None:
    facts = machine(trials={}, untried="this is Linux on riscv64", traces={}, runtime=None, runtime_missing="none")
    assert check(facts, "closing by mprotect").found == "cannot be tried: this is Linux on riscv64"
    assert check(facts, "mseal").state != "ok"


# Why a call fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISPENSABLE)
def test_a_call_that_a_filter_denies_is_named_by_its_own_check_and_by_seccomp(name: str) -> None:
    facts = failing(name, DENIED, seccomp=FILTER)
    one, filtering = check(facts, CALLS[name].name), check(facts, "seccomp")
    assert one.state == "limited"
    assert one.found == "the seccomp filter denies it (EPERM)"
    assert f"SystemCallFilter={CALLS[name].through}" in str(one.remedy)
    assert filtering.state == "limited"
    assert filtering.found == f"a filter that denies {CALLS[name].through} (EPERM)"


@pytest.mark.parametrize("name", DISPENSABLE)
def test_a_call_that_kills_is_missing_for_programs_die_of_it(name: str) -> None:
    one = check(failing(name, Trial(works=False, signal="SIGSYS"), seccomp=FILTER), CALLS[name].name)
    assert one.state == "missing"
    assert "SIGSYS" in one.found
    assert "die" in one.means


@pytest.mark.parametrize("seccomp", [0, FILTER, None])
def test_a_call_that_is_younger_than_the_kernel_is_no_denial(seccomp: int | None) -> None:
    facts = failing("mseal", UNKNOWN, release="6.1.0-9-amd64", seccomp=seccomp)
    assert check(facts, "mseal").found == "Linux 6.1.0-9-amd64 does not have it (ENOSYS)"
    assert check(facts, "mseal").remedy == "boot Linux 6.10 or later"
    assert check(facts, "seccomp").state == "ok"


def test_an_unknown_call_on_a_young_kernel_is_hidden_by_the_filter_or_by_a_sandbox() -> None:
    assert "seccomp filter" in check(failing("mseal", UNKNOWN, seccomp=FILTER), "mseal").found
    assert "a sandbox hides it" in check(failing("mseal", UNKNOWN), "mseal").found


def test_a_filter_that_denies_keys_is_why_there_are_none() -> None:
    facts = without_keys(trials={**MACHINE.trials, "keys": DENIED}, seccomp=FILTER, flags=MACHINE.flags)
    assert "the seccomp filter denies it (EPERM)" in check(facts, "free keys").found
    for name in ("auto", "pku", "free keys"):
        assert "SystemCallFilter=pkey_alloc" in str(check(facts, name).remedy)


def test_a_filter_that_denies_nothing_of_ours_is_no_lack() -> None:
    one = check(machine(seccomp=FILTER), "seccomp")
    assert (one.state, one.found) == ("ok", "a filter that denies nothing of what is needed")


# Others --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "remedy"),
    [(1, "ptrace_scope=0"), (2, "as root"), (3, "boot"), (None, "SYS_PTRACE"), (0, "SYS_PTRACE")],
)
def test_what_lets_a_debugger_attach_depends_on_who_forbids_it(scope: int | None, remedy: str) -> None:
    one = check(failing("attach", DENIED, ptrace_scope=scope), "attaching")
    assert one.state == "limited"
    assert remedy in str(one.remedy)


@pytest.mark.parametrize(("glibc", "state"), [("2.34", "missing"), ("2.35", "ok"), ("2.100", "ok"), (None, "ok")])
def test_the_glibc_that_counts_is_that_of_programs_and_else_that_of_ld_so(glibc: str | None, state: str) -> None:
    traces = {**MACHINE.traces, "none": msgspec.structs.replace(traced("none"), glibc=glibc)}
    facts = machine(traces=traces)
    assert check(facts, "glibc").state == state
    assert judge(facts).glibc == (glibc or "2.41")


@pytest.mark.parametrize(("most", "state"), [(65530, "ok"), (1000, "limited"), (None, "limited")])
def test_few_mappings_are_a_limit(most: int | None, state: str) -> None:
    assert check(machine(max_map_count=most), "vm.max_map_count").state == state


def test_a_guest_lacks_what_it_lacks_with_the_command_that_brings_it() -> None:
    need = Need("virtme-ng", None, "boots a kernel", "pip install virtme-ng")
    facts = machine(needs=[need, *MACHINE.needs], kernel=None)
    one, kernel = check(facts, "virtme-ng"), check(facts, "kernel")
    assert (one.state, one.remedy) == ("missing", need.remedy)
    assert need.why in one.means
    assert (kernel.state, kernel.remedy) == ("missing", "ia2exit vm --setup")


# Any machine ---------------------------------------------------------------------------------------------------

WORDS = st.text(string.ascii_letters + " \x1b[31m\n", max_size=90)
TRIAL = st.one_of(
    st.just(Trial(works=True, value=3)),
    st.sampled_from(["EPERM", "EACCES", "ENOSYS", "EINVAL", "ENOTTY", "ENOSPC", "ENOENT"]).map(
        lambda name: Trial(works=False, errno=name)
    ),
    st.sampled_from(["SIGSYS", "SIGSEGV", "SIGALRM"]).map(lambda name: Trial(works=False, signal=name)),
    st.just(Trial(works=False)),
    WORDS.map(lambda text: Trial(works=False, detail=text)),
)
TRACE = st.builds(
    lambda backend, ran, failed, said: Trace(
        program="/bin/true", backend=backend, ran=ran, success=max(ran - failed, 0), said=said
    ),
    st.sampled_from(["pku", "mprotect", "none", "legacy", None]),
    st.integers(0, 3),
    st.integers(0, 1),
    st.one_of(st.none(), WORDS),
)
MACHINES = st.builds(
    machine,
    release=st.sampled_from(["6.18.0", "5.4.0-generic", "4.4", "odd", ""]),
    flags=st.sampled_from([None, frozenset(), frozenset({"pku"}), frozenset({"pku", "ospke"})]),
    trials=st.dictionaries(st.sampled_from(sorted(TRIALS)), TRIAL),
    seccomp=st.sampled_from([None, 0, 1, 2, 7]),
    ptrace_scope=st.sampled_from([None, 0, 1, 2, 3, 9]),
    max_map_count=st.sampled_from([None, 0, 65530]),
    traces=st.dictionaries(st.sampled_from(sorted(MACHINE.traces)), TRACE),
    runtime=st.sampled_from([None, "/opt/libia2.so"]),
    loader=st.one_of(st.none(), WORDS),
    auditing=st.booleans(),
    gdb=st.one_of(st.none(), WORDS),
    kernel=st.one_of(st.none(), WORDS),
)


@given(facts=MACHINES)
def test_whatever_a_machine_lacks_has_a_remedy_and_what_it_has_needs_none(facts: Facts) -> None:
    for one in judge(facts).checks:
        assert one.found
        assert one.means
        assert (one.remedy is None) == (one.state == "ok"), one


@given(facts=MACHINES)
def test_whatever_is_shown_fits_the_width_and_steers_no_terminal(facts: Facts) -> None:
    text = shown(facts, verbose=True)
    assert max(map(len, text.split("\n"))) <= 80
    assert "\x1b" not in text
    assert len({one.name for one in judge(facts).checks}) == len(judge(facts).checks)


def test_a_remedy_is_told_once() -> None:
    text = " ".join(shown(without_keys(), width=300).split())
    assert text.count("the backend mprotect does it") == 1
    assert text.count("-> as for auto") == 4


def test_what_a_check_that_is_ok_means_is_told_on_request() -> None:
    meaning = check(MACHINE, "mseal").means
    assert meaning not in shown(MACHINE, width=300)
    assert meaning in shown(MACHINE, width=300, verbose=True)

"""Registrations in programs compiled here: exactly the right ones are found, whatever the compiler's options."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from ia2exit.elf.image import ElfImage
from ia2exit.model import Destructor
from ia2exit.scanning.code import find_registrations

SOURCES = Path(__file__).parent / "code_fixtures"
CLANG = next((name for name in ("clang", "clang-19", "clang-16", "clang-14") if shutil.which(name)), None)
COMPILERS = ["gcc", *([CLANG] if CLANG else [])]

SHARED, PIE, FIXED = ("-fPIC", "-shared"), ("-fPIE", "-pie", "-DPROGRAM"), ("-fno-pie", "-no-pie", "-DPROGRAM")
LAZY, NOW, NO_PLT, CET = ("-Wl,-z,lazy",), ("-Wl,-z,now",), ("-fno-plt",), ("-fcf-protection=full", "-Wl,-z,ibtplt")
#: Each level with each kind of object, and each way to call another object with each of these.
OPTIONS = [
    ("-O0", *SHARED, *LAZY),
    ("-O0", *PIE, *NOW),
    ("-O0", *FIXED, *CET),
    ("-O0", *FIXED, *NO_PLT),
    ("-O1", *SHARED, *NO_PLT),
    ("-O1", *PIE, *CET, *LAZY),
    ("-O1", *FIXED, *LAZY),
    ("-O2", *SHARED, *CET, *NOW),
    ("-O2", *PIE, *NO_PLT),
    ("-O2", *FIXED, *NOW),
    ("-O2", *PIE, *LAZY, "-flto"),
    ("-O3", *SHARED, *LAZY),
    ("-O3", *SHARED, *NO_PLT, *CET),
    ("-O3", *PIE, *NOW),
    ("-Os", *SHARED, *NOW),
    ("-Os", *PIE, *NO_PLT, *CET),
    ("-Os", *FIXED, *CET),
    ("-O2", *SHARED, "-fno-omit-frame-pointer", "-fstack-protector-all", "-g"),
    ("-O2", *SHARED, "-Wl,-z,pack-relative-relocs"),
]

#: Registered functions of registrations.c -> kind.
EXPECTED = {
    **dict.fromkeys(
        [
            f"exit_{what}"
            for what in ("plain", "tail", "left", "right", "loop", "in_table", "after_calls", "conditional")
        ]
        + [f"exit_in_switch_{case}" for case in range(1, 6)]
        + [f"exit_forwarded_{which}" for which in ("1", "2", "twice", "third")]
        + ["exit_through_struct_1", "exit_through_struct_2", "tzset"],
        "atexit",
    ),
    "exit_on_exit": "on_exit",
    "exit_quick": "quick_exit",
    "exit_key": "pthread_key",
    "exit_forwarded_key": "pthread_key",
}


class Build(NamedTuple):
    """A compiled object, its stripped copy, and its symbols: address -> names."""

    path: Path
    stripped: Path
    symbols: dict[int, set[str]]


def build(compiler: str, source: str, options: tuple[str, ...], folder: Path) -> Build:
    """Compile a source of code_fixtures/."""
    path, stripped = folder / "object", folder / "stripped"
    command = [compiler, *options, "-pthread", str(SOURCES / source), "-o", str(path)]
    if source.endswith(".cpp"):
        command += ["-std=c++17", "-lstdc++"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    subprocess.run(["strip", "--strip-all", str(path), "-o", str(stripped)], check=True, timeout=60)
    symbols: dict[int, set[str]] = {}
    listed = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True, timeout=60).stdout
    for line in listed.splitlines():
        address, _, name = line.rpartition(" ")[0].rpartition(" ")[0], None, line.split()[-1]
        if address.strip():
            symbols.setdefault(int(address, 16), set()).add(name.partition("@")[0])
    return Build(path, stripped, symbols)


def scan(path: Path) -> list[Destructor]:
    return find_registrations(ElfImage(path))


def names(destructor: Destructor, symbols: dict[int, set[str]]) -> set[str]:
    """What a destructor is called: by the import's name, or by the linker's symbols."""
    if destructor.symbol is not None:
        return {destructor.symbol}
    return set() if destructor.rva is None else symbols[destructor.rva]


def usable(compiler: str, options: tuple[str, ...]) -> bool:
    """Link-time optimisation with clang needs a linker plug-in that need not be there."""
    return not ("-flto" in options and compiler != "gcc")


BUILDS = [(compiler, options) for compiler in COMPILERS for options in OPTIONS if usable(compiler, options)]
IDS = [" ".join([compiler, *options]) for compiler, options in BUILDS]


@pytest.mark.parametrize(("compiler", "options"), BUILDS, ids=IDS)
def test_all_registrations_of_c_and_no_others(compiler: str, options: tuple[str, ...], tmp_path: Path) -> None:
    built = build(compiler, "registrations.c", options, tmp_path)
    found = scan(built.path)
    known = {name: d.kind for d in found for name in names(d, built.symbols) if name in EXPECTED}
    assert known == EXPECTED
    others = [d for d in found if not names(d, built.symbols) & EXPECTED.keys()]
    # `exported_forward` passes on what only its callers in other objects know.
    kept = [] if "-flto" in options else [("atexit", None, None)]
    assert [(d.kind, d.rva, d.symbol) for d in others] == kept


@pytest.mark.parametrize(("compiler", "options"), BUILDS[::3], ids=IDS[::3])
def test_a_stripped_object_gives_the_same(compiler: str, options: tuple[str, ...], tmp_path: Path) -> None:
    built = build(compiler, "registrations.c", options, tmp_path)
    assert scan(built.stripped) == scan(built.path)


@pytest.mark.parametrize(("compiler", "options"), BUILDS[::2], ids=IDS[::2])
def test_static_and_thread_local_objects_of_cpp(compiler: str, options: tuple[str, ...], tmp_path: Path) -> None:
    built = build(compiler, "registrations.cpp", options, tmp_path)
    found = Counter[tuple[str, str]]()
    for destructor in scan(built.path):
        called = names(destructor, built.symbols)
        assert called, destructor
        found[destructor.kind, short_name(called)] += 1
    once = {"tracked 1": 1, "tracked 2": 2, "array": 1, "plain": 1, "string": 1}
    once |= {"tracked 4": 1, "tracked 5": 1, "tracked 8": 1}
    assert {name: n for (kind, name), n in found.items() if kind == "cxa_atexit"} == once
    assert {name: n for (kind, name), n in found.items() if kind == "atexit"} == {"lambda": 1}
    # `__tls_init` may be inlined where thread_local objects are used.
    threads = {name for kind, name in found if kind == "thread_atexit"}
    assert threads == {"tracked 6", "tracked 7", "tracked 10"}
    assert {kind for kind, _ in found} == {"cxa_atexit", "atexit", "thread_atexit"}


def short_name(symbols: set[str]) -> str:
    """A name for a function of registrations.cpp that does not depend on the compiler."""
    symbol = min(symbols)
    if symbol.startswith("_ZN7TrackedILi"):
        return "tracked " + symbol.removeprefix("_ZN7TrackedILi").partition("E")[0]
    if symbol.startswith(("__tcf_", "__cxx_global_array_dtor")):
        return "array"
    if "basic_string" in symbol:
        return "string"
    return {"_ZN12_GLO": "plain", "_ZZ3useiE": "lambda"}.get(symbol[:9], symbol)


def test_every_site_is_a_call_or_jump_to_a_registration(tmp_path: Path) -> None:
    built = build("gcc", "registrations.c", ("-O2", *SHARED, *LAZY), tmp_path)
    lines = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(built.path)], check=True, capture_output=True, text=True, timeout=60
    ).stdout.splitlines()
    code = {line.partition(":")[0].strip(): line.split("\t")[-1] for line in lines if ":\t" in line}
    registering = ("atexit", "on_exit", "at_quick_exit", "pthread_key_create", "forward")
    for destructor in scan(built.path):
        assert destructor.site is not None
        instruction = code[f"{destructor.site.rva:x}"]
        assert instruction.split()[0].startswith(destructor.site.instruction)
        assert any(name in instruction for name in registering), instruction


def test_without_an_unwind_table_the_code_before_each_call_is_decoded(tmp_path: Path) -> None:
    options = ("-O2", *PIE, "-fno-asynchronous-unwind-tables", "-Wl,--no-eh-frame-hdr")
    built = build("gcc", "registrations.c", options, tmp_path)
    assert len(ElfImage(built.path).functions) == 0
    found = {name for d in scan(built.path) for name in names(d, built.symbols)}
    # Through `atexit` of libc_nonshared and functions that pass a parameter on, nothing can be followed.
    assert found == {"exit_on_exit", "exit_key"}


def test_an_object_that_registers_nothing_gives_nothing(tmp_path: Path) -> None:
    source = tmp_path / "empty.c"
    source.write_text("int never(void) { return 1; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(tmp_path / "empty.so")], check=True, timeout=60)
    assert scan(tmp_path / "empty.so") == []

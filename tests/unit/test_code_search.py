"""The search for calls in code, and the values that are carried through it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError
from ia2exit.scanning import code_search
from ia2exit.scanning.code import find_registrations
from ia2exit.scanning.code_search import CodeSearch
from ia2exit.scanning.code_values import (
    MAX_CHOICES,
    Choice,
    Entry,
    Load,
    Offset,
    Stack,
    alternatives,
    depends_on_entry,
    join,
    load,
    plus,
)
from ia2exit.scanning.code_walk import decode, synchronised

CODE = """
#include <stdlib.h>
static void handler(void) {}
int registers(void) { return atexit(handler); }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shared object that registers one handler."""
    path = tmp_path_factory.mktemp("code") / "library.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=CODE.encode(), check=True, timeout=60)
    return path


def assembled(text: str, folder: Path) -> ElfImage:
    """A shared object made from assembler source."""
    path = folder / "assembled.so"
    command = ["gcc", "-shared", "-nostdlib", "-x", "assembler", "-", "-o", str(path)]
    subprocess.run(command, input=text.encode(), check=True, timeout=60)
    return ElfImage(path)


def symbol(image: ElfImage, name: str) -> int:
    [index] = image.dynsym.named([name])[name]
    return int(image.dynsym.entries["value"][index])


def test_calls_are_found_wherever_the_code_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ".globl there, calls\nthere: ret\ncalls:\n.rept 40\ncall .Lthere\nnop\n.endr\n.set .Lthere, there\n"
    image = assembled(text, tmp_path)
    start, target = symbol(image, "calls"), symbol(image, "there")
    expected = [(start + 6 * number, target) for number in range(40)]
    for chunk in range(16, 29):
        monkeypatch.setattr(code_search, "_CHUNK", chunk)
        assert sorted(CodeSearch(image).branches_to([target])) == expected


def test_a_call_in_the_last_bytes_of_a_segment_is_found(tmp_path: Path) -> None:
    image = assembled(".globl there\nthere: ret\ncall .Lthere\n.set .Lthere, there\n", tmp_path)
    target = symbol(image, "there")
    [segment] = [s for s in image.loads if s.executable]
    assert segment.vaddr + segment.filesz == target + 6
    assert list(CodeSearch(image).branches_to([target])) == [(target + 1, target)]


def test_short_and_conditional_jumps_are_found(tmp_path: Path) -> None:
    image = assembled(
        ".globl there\nthere: ret\njmp .Lthere\njne .Lthere\n.byte 0x0f, 0x85\n.long there_ - . - 4\n"
        ".set .Lthere, there\n.set there_, there\n",
        tmp_path,
    )
    target = symbol(image, "there")
    search = CodeSearch(image)
    assert list(search.short_jumps_to(target)) == [target + 1, target + 3]
    assert list(search.branches_to([target])) == [(target + 5, target)]


def test_bytes_in_the_middle_of_an_instruction_are_no_call(library: Path, tmp_path: Path) -> None:
    text = """
        .globl decoy, registers
        .type decoy, @function
        .type registers, @function
        handler: .cfi_startproc
        ret
        .cfi_endproc
        decoy: .cfi_startproc
        .byte 0x48, 0xb8, 0x90, 0x90, 0x90      # movabs whose number holds the bytes of a call
        call __cxa_atexit@PLT
        ret
        .cfi_endproc
        registers: .cfi_startproc
        leaq handler(%rip), %rdi
        xorl %esi, %esi
        jmp __cxa_atexit@PLT
        .cfi_endproc
    """
    image = assembled(text, tmp_path)
    [found] = find_registrations(image)
    assert found.site is not None
    assert found.site.rva == symbol(image, "registers") + 9
    assert (found.kind, found.rva, found.site.instruction) == ("cxa_atexit", symbol(image, "decoy") - 1, "jmp")


def test_code_decoded_from_a_wrong_start_falls_into_step() -> None:
    code = bytes.fromhex("90" * 7 + "488d3d10000000" + "31f6" + "e800000000")
    start = synchronised(code, 0x1000, 0x1000 + 16)
    assert [i.ip for i in decode(code[start - 0x1000 :], start)][-1] == 0x1010


def test_arithmetic_keeps_what_leads_to_a_pointer() -> None:
    assert plus(0xFFFFFFFFFFFFFFFF, 2) == 1
    assert plus(Stack(-8), -8) == Stack(-16)
    assert plus(plus(Entry(7), 8), -8) == Entry(7)
    assert load(Offset(Entry(7), 16)) == Load(Offset(Entry(7), 16))
    assert plus(None, 4) is None


def test_numbers_that_say_the_same_are_told_apart() -> None:
    assert join(Entry(7), Stack(7)) == Choice(frozenset((Entry(7), Stack(7))))


def test_a_merge_of_too_many_values_is_unknown() -> None:
    value = join(0, 1)
    for number in range(2, MAX_CHOICES):
        value = join(value, number)
    assert alternatives(value) == set(range(MAX_CHOICES))
    assert join(value, MAX_CHOICES) is None
    assert join(value, 0) == value


def test_chains_of_loads_end_somewhere() -> None:
    value: Load | None = load(Entry(7))
    for _ in range(10):
        value = load(value) if value is not None else None
    assert value is None


def test_only_what_comes_from_the_caller_depends_on_it() -> None:
    assert [depends_on_entry(v) for v in (1, None, Stack(0), Entry(6), Load(Entry(6)))] == [False] * 3 + [True] * 2


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=40))
def test_damaged_objects_give_an_error_or_a_result(
    library: Path, tmp_path: Path, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(library.read_bytes())
    for where, byte in changes:
        data[64 + int(where * (len(data) - 64))] = byte
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(data)
    try:
        found = find_registrations(ElfImage(damaged))
    except Ia2exitError:
        return
    assert all(one.found == "code" and one.site is not None for one in found)

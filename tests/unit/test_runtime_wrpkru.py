"""Where libia2.so writes PKRU: read from its instructions, since this says what holds on every CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from iced_x86 import Decoder, FlowControl, Instruction, Mnemonic, OpKind, Register

from ia2exit.native import runtime_library

#: Writes of PKRU by function: what opens, what closes, the two around a destructor, and legacy mode's.
EXPECTED = {"ia2_pkru_open": 1, "ia2_pkru_close": 1, "ia2_call_pku": 2, "ia2_pkru_legacy": 1}
#: Instructions that may lie between a write and the comparison with memory that only the runtime writes.
CLOSE = 40


@pytest.fixture(scope="module")
def library() -> Path:
    return runtime_library()


@pytest.fixture(scope="module")
def functions(library: Path) -> dict[str, list[Instruction]]:
    """The instructions of each function that has a size, by its name."""
    found: dict[str, list[Instruction]] = {}
    with library.open("rb") as file:
        elf = ELFFile(file)
        text = elf.get_section_by_name(".text")
        table = elf.get_section_by_name(".symtab")
        assert text is not None
        assert isinstance(table, SymbolTableSection)
        code, start = text.data(), text["sh_addr"]
        for symbol in table.iter_symbols():
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_size"] and symbol["st_shndx"] != "SHN_UNDEF":
                at = symbol["st_value"] - start
                found[symbol.name] = list(Decoder(64, code[at : at + symbol["st_size"]], ip=symbol["st_value"]))
    return found


def writes(instructions: list[Instruction]) -> list[int]:
    return [i for i, each in enumerate(instructions) if each.mnemonic == Mnemonic.WRPKRU]


def test_pkru_is_written_in_these_places_only(functions: dict[str, list[Instruction]]) -> None:
    counted = {name: len(writes(code)) for name, code in functions.items() if writes(code)}
    assert counted == EXPECTED


def test_no_other_bytes_are_that_instruction(library: Path, functions: dict[str, list[Instruction]]) -> None:
    """A jump may go into the middle of an instruction: 0F 01 EF must not be there either."""
    with library.open("rb") as file:
        segments = [each.data() for each in ELFFile(file).iter_segments("PT_LOAD") if each["p_flags"] & 1]
    assert sum(code.count(b"\x0f\x01\xef") for code in segments) == sum(EXPECTED.values())


@pytest.mark.parametrize("name", list(EXPECTED))
def test_each_write_is_followed_by_a_comparison_before_anything_else_is_called(
    functions: dict[str, list[Instruction]], name: str
) -> None:
    instructions = functions[name]
    for place in writes(instructions):
        after = instructions[place + 1 : place + 1 + CLOSE]
        compared = next(i for i, each in enumerate(after) if each.mnemonic == Mnemonic.CMP)
        left = [each.flow_control for each in after[:compared]]
        assert not {FlowControl.RETURN, FlowControl.CALL, FlowControl.INDIRECT_CALL} & set(left)
        assert after[compared + 1].flow_control == FlowControl.CONDITIONAL_BRANCH


def test_what_is_compared_with_does_not_come_from_the_stack(functions: dict[str, list[Instruction]]) -> None:
    """The first comparison after closing: with a table whose address is loaded relative to RIP."""
    for name in ("ia2_pkru_close", "ia2_call_pku"):
        instructions = functions[name]
        first = writes(instructions)[0]
        after = instructions[first + 1 : first + 8]
        compared = next(each for each in after if each.mnemonic == Mnemonic.CMP)
        assert OpKind.MEMORY in (compared.op0_kind, compared.op1_kind)
        table = compared.memory_base
        assert table not in (Register.RSP, Register.RBP)
        before = after[: after.index(compared)]
        (loaded,) = [each for each in before if each.mnemonic == Mnemonic.MOV and each.op0_register == table]
        assert loaded.memory_base == Register.RIP


@pytest.mark.parametrize("name", [*EXPECTED, "ia2_gate_open_now", "ia2_gate_close_now"])
def test_no_system_call_is_made_on_the_way(functions: dict[str, list[Instruction]], name: str) -> None:
    assert not [each for each in functions[name] if each.mnemonic in (Mnemonic.SYSCALL, Mnemonic.INT)]


def test_nothing_of_malloc_or_stdio_is_called_by_the_runtime(library: Path) -> None:
    """No import can allocate or lock: what the runtime takes from libc is known by name."""
    with library.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        imported = {each.name for each in table.iter_symbols() if each["st_shndx"] == "SHN_UNDEF" and each.name}
    assert not imported & {
        "malloc",
        "calloc",
        "realloc",
        "free",
        "printf",
        "fprintf",
        "snprintf",
        "fwrite",
        "pthread_mutex_lock",
    }

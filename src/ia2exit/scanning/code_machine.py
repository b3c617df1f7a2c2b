"""The part of an x86-64 machine that function pointers travel through: general registers and the stack frame.

Each instruction that moves a 64-bit value is carried out on the values of code_values; what any other instruction
writes becomes unknown. Nothing is ever written to memory outside the frame.

Source: Intel SDM volume 2; x86-64 psABI 3.2 (which registers a call preserves).
"""

from __future__ import annotations

from collections.abc import Callable

from iced_x86 import (
    Instruction,
    InstructionInfoFactory,
    MemorySize,
    Mnemonic,
    OpAccess,
    OpKind,
    Register,
)

from ia2exit.scanning.code_memory import Memory
from ia2exit.scanning.code_values import Entry, Load, Offset, Result, Simple, Stack, Value, join, load, plus

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11 = range(12)
#: Registers that a called function need not preserve.
SCRATCH = (RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11)
#: More frame words than this are not followed: a frame of that size is no path for a function pointer.
_MAX_WORDS = 512
#: Frames of code that was reached in no known way start far away from each other and from the function's own.
_OTHER_STACK, _OTHER_FRAME, _ALIGNED = -1 << 40, -1 << 41, -1 << 42

#: Every name of a general register -> (number, size in bytes).
GENERAL: dict[int, tuple[int, int]] = {}
for _size, _first in ((8, Register.RAX), (4, Register.EAX), (2, Register.AX)):
    for _number in range(16):
        GENERAL[_first + _number] = (_number, _size)
for _number in range(4):
    GENERAL[Register.AL + _number] = GENERAL[Register.AH + _number] = (_number, 1)
for _number in range(4, 16):
    GENERAL[Register.SPL + _number - 4] = (_number, 1)

#: Instructions that write no general register that they do not name first; those that write one they do not name
#: at all (or name second) are looked up in iced's tables.
_IMPLICIT_NAMES = """
    MUL IMUL DIV IDIV MULX CWDE CDQE CDQ CQO CPUID RDTSC RDTSCP XGETBV RDPMC XCHG XADD CMPXCHG CMPXCHG8B
    CMPXCHG16B SYSCALL ENTER LAHF IN LOOP LOOPE LOOPNE PCMPESTRI PCMPISTRI VPCMPESTRI VPCMPISTRI MOVSB
    MOVSW MOVSD MOVSQ STOSB STOSW STOSD STOSQ LODSB LODSW LODSD LODSQ SCASB SCASW SCASD SCASQ CMPSB
    CMPSW CMPSD CMPSQ XLATB
"""
_IMPLICIT = frozenset(getattr(Mnemonic, name) for name in _IMPLICIT_NAMES.split())
_READ_ONLY = frozenset(
    getattr(Mnemonic, name) for name in ("CMP", "TEST", "BT", "NOP", "PREFETCHT0", "PREFETCHNTA", "PTEST", "BOUND")
)
WRITES = (OpAccess.WRITE, OpAccess.COND_WRITE, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE)
_WORDS = (MemorySize.UINT64, MemorySize.INT64, MemorySize.QWORD_OFFSET)
_NEAR = (OpKind.NEAR_BRANCH64, OpKind.NEAR_BRANCH32)
_IMMEDIATES = (
    OpKind.IMMEDIATE8,
    OpKind.IMMEDIATE32,
    OpKind.IMMEDIATE64,
    OpKind.IMMEDIATE8TO32,
    OpKind.IMMEDIATE8TO64,
    OpKind.IMMEDIATE32TO64,
)
_information = InstructionInfoFactory()


class State:
    """Registers and frame words at one point of a function; ``words`` maps bytes from the entry's rsp to values."""

    __slots__ = ("registers", "words")

    def __init__(self, registers: list[Value], words: dict[int, Value]) -> None:
        self.registers = registers
        self.words = words

    @classmethod
    def at_entry(cls) -> State:
        """The state in which a function is entered.

        No function uses a register that is no argument before it writes it, but the cold part of one, which has a range
        of its own in the unwind table and is jumped to, does.
        """
        registers: list[Value] = [Entry(number) for number in range(16)]
        registers[RSP] = Stack(0)
        return cls(registers, {})

    @classmethod
    def somewhere(cls) -> State:
        """The state in code that was reached in no known way: nothing is known, the frame is some frame."""
        registers: list[Value] = [None] * 16
        registers[RSP], registers[RBP] = Stack(_OTHER_STACK), Stack(_OTHER_FRAME)
        return cls(registers, {})

    def copy(self) -> State:
        """An independent copy."""
        return State(self.registers.copy(), self.words.copy())

    def merge(self, other: State) -> None:
        """Make this the state of code that is reached from here and from ``other``."""
        self.registers = [
            one if one is two else join(one, two) for one, two in zip(self.registers, other.registers, strict=True)
        ]
        words = self.words
        for offset, value in other.words.items():
            words[offset] = join(words[offset], value) if offset in words else value


class Machine:
    """Carries out instructions on a :class:`State`.

    Args:
        memory: the object's constants.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        #: Scratch registers that a called function of the object changes; None: by the ABI, all.
        self.clobbers: Callable[[int], frozenset[int]] | None = None
        self.state = State.at_entry()
        self._steps: dict[int, Callable[[Instruction], None]] = {
            Mnemonic.MOV: self._mov,
            Mnemonic.LEA: self._lea,
            Mnemonic.PUSH: self._push,
            Mnemonic.POP: self._pop,
            Mnemonic.XOR: self._clear,
            Mnemonic.SUB: self._add,
            Mnemonic.ADD: self._add,
            Mnemonic.AND: self._and,
            Mnemonic.LEAVE: self._leave,
            Mnemonic.XCHG: self._xchg,
        }
        for name in dir(Mnemonic):
            if name.startswith("CMOV"):
                self._steps[getattr(Mnemonic, name)] = self._cmov

    def step(self, instruction: Instruction) -> None:
        """Carry out one instruction that is neither call nor jump."""
        self._steps.get(instruction.mnemonic, self._other)(instruction)

    def called(self, instruction: Instruction) -> None:
        """Forget what the function that a call goes to may have changed; rax is what it returned."""
        registers = self.state.registers
        is_near = instruction.op0_kind in _NEAR
        is_known = is_near and self.clobbers is not None
        for number in self.clobbers(instruction.near_branch_target) if is_known and self.clobbers else SCRATCH:
            registers[number] = None
        if is_near:
            registers[RAX] = Result(instruction.near_branch_target)

    def target(self, instruction: Instruction) -> Value:
        """Where a call or jump goes to, as a value."""
        if instruction.op0_kind in _NEAR:
            return instruction.near_branch_target
        return self._operand(instruction, 0)

    def evaluate(self, value: Simple) -> Value:
        """A value that was told in terms of a called function's entry, in terms of this function."""
        if isinstance(value, Entry):
            return self.state.registers[value.register]
        if isinstance(value, Offset):
            return plus(self.evaluate(value.base), value.offset)
        if isinstance(value, Load):
            return self._word(self.evaluate(value.address))
        return value

    # Operands ------------------------------------------------------------------------------------------

    def _address(self, instruction: Instruction) -> Value:
        base = instruction.memory_base
        if instruction.memory_index != Register.NONE or instruction.segment_prefix in (Register.FS, Register.GS):
            return None
        displacement = instruction.memory_displacement
        if base in (Register.RIP, Register.NONE):
            return displacement
        number, size = GENERAL.get(base, (0, 0))
        if size != 8:
            return None
        return plus(self.state.registers[number], displacement - (1 << 64) if displacement >> 63 else displacement)

    def _word(self, address: Value) -> Value:
        """The 64-bit word at an address."""
        if isinstance(address, int):
            return self._memory.pointer(address)
        if isinstance(address, Stack):
            return self.state.words.get(address.offset)
        if isinstance(address, Entry | Offset | Load):
            return load(address)
        return None

    def _operand(self, instruction: Instruction, index: int) -> Value:
        """The value of an operand; a narrow one is known only if it is a number (addresses without PIE are 32-bit)."""
        kind = instruction.op_kind(index)
        if kind == OpKind.REGISTER:
            number, size = GENERAL.get(instruction.op_register(index), (0, 0))
            value = self.state.registers[number]
            if size == 4 and isinstance(value, int):
                return value & 0xFFFFFFFF
            return value if size == 8 else None
        if kind == OpKind.MEMORY:
            is_word = instruction.memory_size in _WORDS
            return self._word(self._address(instruction)) if is_word else None
        if kind in _IMMEDIATES:
            return instruction.immediate(index)
        return None

    def _write(self, instruction: Instruction, value: Value) -> None:
        """Write a value to the first operand; a narrow register keeps no address."""
        if instruction.op0_kind == OpKind.REGISTER:
            number, size = GENERAL.get(instruction.op0_register, (0, 0))
            if size == 4:
                value = value & 0xFFFFFFFF if isinstance(value, int) else None
            if size:
                self.state.registers[number] = value if size >= 4 else None
        elif instruction.op0_kind == OpKind.MEMORY:
            self._store(self._address(instruction), value if instruction.memory_size in _WORDS else None)

    def _store(self, address: Value, value: Value) -> None:
        words = self.state.words
        if not isinstance(address, Stack):
            return
        if value is None:
            words.pop(address.offset, None)
        elif address.offset in words or len(words) < _MAX_WORDS:
            words[address.offset] = value

    # Instructions --------------------------------------------------------------------------------------

    def _mov(self, instruction: Instruction) -> None:
        self._write(instruction, self._operand(instruction, 1))

    def _lea(self, instruction: Instruction) -> None:
        self._write(instruction, self._address(instruction))

    def _push(self, instruction: Instruction) -> None:
        value = self._operand(instruction, 0)
        registers = self.state.registers
        registers[RSP] = plus(registers[RSP], instruction.stack_pointer_increment)
        self._store(registers[RSP], value)

    def _pop(self, instruction: Instruction) -> None:
        registers = self.state.registers
        value = self._word(registers[RSP])
        registers[RSP] = plus(registers[RSP], instruction.stack_pointer_increment)
        self._write(instruction, value)

    def _clear(self, instruction: Instruction) -> None:
        same = instruction.op1_kind == OpKind.REGISTER and instruction.op0_register == instruction.op1_register
        self._write(instruction, 0 if same else None)

    def _add(self, instruction: Instruction) -> None:
        """``add``/``sub`` of a number, which moves the stack pointer, or of a register from itself."""
        subtract = instruction.mnemonic == Mnemonic.SUB
        if instruction.op1_kind in _IMMEDIATES and instruction.op0_kind == OpKind.REGISTER:
            number = instruction.immediate(1)
            number -= 1 << 64 if number >> 63 else 0
            value = self._operand(instruction, 0)
            self._write(instruction, plus(value, -number if subtract else number) if value is not None else None)
        elif subtract:
            self._clear(instruction)
        else:
            self._write(instruction, None)

    def _and(self, instruction: Instruction) -> None:
        """``and $-32,%rsp`` aligns the frame by an unknown number of bytes; other results are unknown."""
        value = self._operand(instruction, 0)
        aligns = isinstance(value, Stack) and instruction.op1_kind in _IMMEDIATES
        self._write(instruction, Stack(_ALIGNED) if aligns else None)

    def _leave(self, instruction: Instruction) -> None:
        registers = self.state.registers
        registers[RSP] = registers[RBP]
        registers[RBP] = self._word(registers[RSP])
        registers[RSP] = plus(registers[RSP], 8)

    def _cmov(self, instruction: Instruction) -> None:
        values = join(self._operand(instruction, 0), self._operand(instruction, 1))
        self._write(instruction, values)

    def _xchg(self, instruction: Instruction) -> None:
        first, first_size = GENERAL.get(instruction.op0_register, (0, 0))
        second, second_size = GENERAL.get(instruction.op1_register, (0, 0))
        if first_size == second_size == 8:
            registers = self.state.registers
            registers[first], registers[second] = registers[second], registers[first]
        else:
            self._forget_written(instruction)

    def _other(self, instruction: Instruction) -> None:
        mnemonic = instruction.mnemonic
        if mnemonic in _IMPLICIT:
            self._forget_written(instruction)
        elif mnemonic not in _READ_ONLY:
            self._write(instruction, None)

    def _forget_written(self, instruction: Instruction) -> None:
        for used in _information.info(instruction).used_registers():
            number, size = GENERAL.get(used.register, (0, 0))
            if size and used.access in WRITES:
                self.state.registers[number] = None
        if instruction.op0_kind == OpKind.MEMORY:
            self._store(self._address(instruction), None)

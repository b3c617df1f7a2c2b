"""Walking through one function, from its entry along all branches, once each.

Blocks are walked in the order of their addresses as far as a known way leads to them; what a loop carries back to a
block that was already walked is not followed. So each value found is one that some path really gives, and the time is
linear in the size of the function. Blocks that no known way leads to (jump tables, landing pads) are walked last,
with nothing known.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence

from iced_x86 import Decoder, FlowControl, Instruction

from ia2exit.scanning.code_machine import Machine, State

#: Longest x86 instruction, in bytes.
_LONGEST = 15
#: How far before a call decoding starts where no function is known around it.
_WINDOW = 256

#: Called before each call, return, or jump that leaves the function, with the machine's state just before it.
Visitor = Callable[[Instruction, Machine], None]


def decode(code: bytes, rva: int) -> list[Instruction]:
    """The instructions of ``code``, which lies at ``rva``, one after the other; invalid ones are a byte long."""
    return list(Decoder(64, code, ip=rva))


def synchronised(code: bytes, rva: int, hit: int) -> int:
    """Where to begin decoding ``code`` (at ``rva``) so that an instruction starts at ``hit``: as early as possible.

    x86 code decoded from a wrong start falls into step after a few instructions; the earliest start that does is taken.
    """
    for start in range(max(rva, hit - _WINDOW), hit):
        position, invalid = start, False
        for instruction in Decoder(64, code[start - rva : hit - rva + _LONGEST], ip=start):
            position, invalid = instruction.ip, instruction.is_invalid
            if position >= hit or invalid:
                break
        if position == hit and not invalid:
            return start
    return hit


def walk(
    instructions: Sequence[Instruction], machine: Machine, hits: Collection[int], visit: Visitor, *, known_entry: bool
) -> None:
    """Walk through a function and visit every call, return, and jump out of it.

    Args:
        instructions: all of the function, in order.
        machine: carries out the instructions.
        hits: addresses of interest: walking stops when all of them were passed.
        visit: called before each of these, in the state that it is made in.
        known_entry: the first instruction is the function's entry.
    """
    _Walk(instructions, machine, hits, visit).run(known_entry)


class _Walk:
    def __init__(
        self, instructions: Sequence[Instruction], machine: Machine, hits: Collection[int], visit: Visitor
    ) -> None:
        self._instructions = instructions
        self._index = {instruction.ip: number for number, instruction in enumerate(instructions)}
        self._machine = machine
        self._visit = visit
        self._left = {hit for hit in hits if hit in self._index}
        #: Block starts that a way was found to and that were not walked yet: as a heap, and with their state.
        self._heap: list[int] = []
        self._waiting: dict[int, State] = {}
        self._walked: set[int] = set()
        self._leaders = self._find_leaders()

    def _find_leaders(self) -> set[int]:
        """Indices of the instructions that start a block: targets of branches, what follows a branch."""
        leaders = {0}
        for number, instruction in enumerate(self._instructions):
            flow = instruction.flow_control
            if flow in (FlowControl.NEXT, FlowControl.CALL, FlowControl.INDIRECT_CALL):
                continue
            leaders.add(number + 1)
            if flow in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH):
                target = self._index.get(instruction.near_branch_target)
                if target is not None:
                    leaders.add(target)
        return leaders

    def run(self, known_entry: bool) -> None:
        self._arrive(0, State.at_entry() if known_entry else State.somewhere())
        self._drain()
        for leader in sorted(self._leaders):
            if not self._left:
                return
            if leader not in self._walked and leader < len(self._instructions):
                self._arrive(leader, State.somewhere())
                self._drain()

    def _drain(self) -> None:
        while self._heap and self._left:
            leader = heapq.heappop(self._heap)
            self._machine.state = self._waiting.pop(leader)
            self._walked.add(leader)
            self._block(leader)

    def _arrive(self, leader: int, state: State) -> None:
        """A way leads to a block, with this state (which the walk may keep)."""
        if leader in self._walked or leader >= len(self._instructions):
            return
        if leader in self._waiting:
            self._waiting[leader].merge(state)
        else:
            self._waiting[leader] = state
            heapq.heappush(self._heap, leader)

    def _block(self, number: int) -> None:
        """Walk to the end of the block that starts at an index, and note where it leads to."""
        machine, instructions, leaders = self._machine, self._instructions, self._leaders
        while True:
            instruction = instructions[number]
            flow = instruction.flow_control
            if flow == FlowControl.NEXT:
                machine.step(instruction)
            elif not self._passes(instruction, flow):
                return
            number += 1
            if number >= len(instructions):
                return
            if number in leaders:
                self._arrive(number, machine.state)
                return

    def _passes(self, instruction: Instruction, flow: int) -> bool:
        """Carry out an instruction that may change the flow; whether the next one can follow it."""
        self._left.discard(instruction.ip)
        machine = self._machine
        if flow in (FlowControl.CALL, FlowControl.INDIRECT_CALL):
            self._visit(instruction, machine)
            machine.called(instruction)
            return True
        if flow in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH, FlowControl.INDIRECT_BRANCH):
            target = None
            if flow != FlowControl.INDIRECT_BRANCH:
                target = self._index.get(instruction.near_branch_target)
            if target is None:
                self._visit(instruction, machine)
            if flow != FlowControl.CONDITIONAL_BRANCH:
                if target is not None:
                    self._arrive(target, machine.state)
                return False
            if target is not None:
                self._arrive(target, machine.state.copy())
            return True
        if flow == FlowControl.RETURN:
            self._visit(instruction, machine)
        return flow not in (FlowControl.RETURN, FlowControl.EXCEPTION)

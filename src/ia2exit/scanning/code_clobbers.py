"""Which registers a function of the object changes.

By the ABI a call changes all scratch registers, but a compiler that sees the called function keeps values in those that
it knows to survive (gcc ``-fipa-ra``, part of ``-O2``).
"""

from __future__ import annotations

import numpy as np
from iced_x86 import FlowControl, Instruction, InstructionInfoFactory

from ia2exit.scanning.code_machine import GENERAL, SCRATCH, WRITES
from ia2exit.scanning.code_memory import Memory
from ia2exit.scanning.code_walk import decode

_ALL = frozenset(SCRATCH)
#: Longer functions than this, in bytes, and longer chains of calls count as changing everything.
_MAX_SIZE = 2048
_MAX_DEPTH = 3
_BRANCHES = (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)


class Clobbers:
    """Scratch registers that the functions of one object change.

    Args:
        memory: the object.
    """

    def __init__(self, memory: Memory) -> None:
        self._image = memory.image
        self._known: dict[int, frozenset[int]] = {}
        self._information = InstructionInfoFactory()

    def of(self, function: int, depth: int = 0) -> frozenset[int]:
        """Numbers of the scratch registers that a call of the function at this RVA may change."""
        if function not in self._known:
            # A function that calls itself: its own changes are counted where they are made.
            self._known[function] = frozenset()
            self._known[function] = self._changed(function, depth)
        return self._known[function]

    def _changed(self, function: int, depth: int) -> frozenset[int]:
        functions = self._image.functions
        index = int(functions[:, 0].searchsorted(np.uint64(function)))
        if depth > _MAX_DEPTH or index >= len(functions) or int(functions[index, 0]) != function:
            return _ALL
        end = int(functions[index, 1])
        if end - function > _MAX_SIZE or self._image.offset(function, end - function) is None:
            return _ALL
        changed: set[int] = set()
        for instruction in decode(self._image.read(function, end - function), function):
            changed |= self._written(instruction)
            flow = instruction.flow_control
            if flow in (FlowControl.INDIRECT_CALL, FlowControl.INDIRECT_BRANCH):
                return _ALL
            is_inside = flow in _BRANCHES and function <= instruction.near_branch_target < end
            if flow == FlowControl.CALL or (flow in _BRANCHES and not is_inside):
                changed |= self.of(instruction.near_branch_target, depth + 1)
            if changed >= _ALL:
                return _ALL
        return frozenset(changed) & _ALL

    def _written(self, instruction: Instruction) -> set[int]:
        used = self._information.info(instruction).used_registers()
        return {GENERAL[u.register][0] for u in used if u.access in WRITES and u.register in GENERAL}

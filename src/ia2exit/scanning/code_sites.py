"""Registration functions, and the places that call them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from iced_x86 import FlowControl, Instruction, OpKind

from ia2exit.model import Kind
from ia2exit.scanning.code_machine import RDI, RSI, Machine
from ia2exit.scanning.code_values import Entry, Import, Simple, Value, alternatives

Via = Literal["plt", "got", "stub", "direct"]

#: Registration functions: the kind that they register, and the register that the function argument is in.
REGISTRATIONS: dict[str, tuple[Kind, int]] = {
    "__cxa_atexit": ("cxa_atexit", RDI),
    "atexit": ("atexit", RDI),
    "on_exit": ("on_exit", RDI),
    "at_quick_exit": ("quick_exit", RDI),
    "__cxa_at_quick_exit": ("quick_exit", RDI),
    "__cxa_thread_atexit": ("thread_atexit", RDI),
    "__cxa_thread_atexit_impl": ("thread_atexit", RDI),
    "pthread_key_create": ("pthread_key", RSI),
    "__pthread_key_create": ("pthread_key", RSI),
    "tss_create": ("pthread_key", RSI),
}
#: What an object's own copies from libc_nonshared pass on to, and what they are called.
_NONSHARED: dict[str, tuple[Kind, str]] = {
    "__cxa_atexit": ("atexit", "atexit"),
    "__cxa_at_quick_exit": ("quick_exit", "at_quick_exit"),
}
#: Longest copy of ``atexit`` from libc_nonshared, in bytes.
_NONSHARED_SIZE = 64


class Target(NamedTuple):
    """A registration function; ``argument`` tells the registered function by what its registers hold on entry."""

    kind: Kind
    function: str
    argument: Simple
    #: Start of a function of the object that passes a parameter on; None for the registration function itself.
    entry: int | None = None


class Targets(NamedTuple):
    """What calls are searched for in one round: by address, by the word that holds the address, by imported name."""

    addresses: dict[int, tuple[Via, tuple[Target, ...]]]
    words: dict[int, tuple[Target, ...]]
    names: dict[str, tuple[Target, ...]]

    def at(self, destination: Simple) -> tuple[Via, tuple[Target, ...]]:
        """How a call of ``destination`` reaches a target, and which."""
        if isinstance(destination, int):
            return self.addresses.get(destination, ("direct", ()))
        if isinstance(destination, Import):
            if destination.own is not None and destination.own in self.addresses:
                return self.addresses[destination.own]
            return "got", self.names.get(destination.name, ())
        return "direct", ()


class Site(NamedTuple):
    """A place where a registration function is called."""

    rva: int
    instruction: Literal["call", "jmp"]
    via: Via
    target: Target
    value: Value
    #: Start of the function around it, or None where that is not known.
    caller: int | None
    #: The second argument is NULL.
    without_argument: bool

    def forwarding(self, value: Simple) -> Target:
        """The calling function as a registration function: it passes on what depends on its own arguments.

        The object's own ``atexit`` and ``at_quick_exit`` get these names: short, and with no argument for the handler.
        """
        kind, function = self.target.kind, self.target.function
        is_short = self.caller is not None and self.rva - self.caller < _NONSHARED_SIZE
        is_bare = self.without_argument or function == "__cxa_at_quick_exit"
        if function in _NONSHARED and is_short and is_bare and value == Entry(RDI):
            kind, function = _NONSHARED[function]
        return Target(kind, function, value, self.caller)


class Visitor:
    """Notes the calls and jumps of a function that go to a target.

    Args:
        targets: what to look for.
        caller: start of the function, if known.
        found: where the sites are put.
    """

    def __init__(self, targets: Targets, caller: int | None, found: list[Site]) -> None:
        self._targets, self.caller, self._found = targets, caller, found

    def __call__(self, instruction: Instruction, machine: Machine) -> None:
        """See code_walk.Visitor."""
        flow = instruction.flow_control
        if flow == FlowControl.RETURN:
            return
        direct = instruction.op0_kind in (OpKind.NEAR_BRANCH64, OpKind.NEAR_BRANCH32)
        for destination in alternatives(machine.target(instruction)):
            via, targets = self._targets.at(destination)
            for target in targets:
                self._found.append(
                    Site(
                        rva=instruction.ip,
                        instruction="call" if flow in (FlowControl.CALL, FlowControl.INDIRECT_CALL) else "jmp",
                        via=via if direct or via == "stub" else "got",
                        target=target,
                        value=machine.evaluate(target.argument),
                        caller=self.caller,
                        without_argument=machine.state.registers[RSI] == 0,
                    )
                )

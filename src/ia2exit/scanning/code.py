"""Registrations made in code: calls of ``__cxa_atexit`` and its relatives, with the function that they register.

Works on stripped objects: by the dynamic symbols, the relocations, the unwind table and the code itself. First all
calls, jumps and references that may be a registration are searched for (code_search), then only the functions around
them are decoded and walked through (code_walk), carrying values along (code_machine). A function of the object that
passes a parameter of its own on, such as the copy of ``atexit`` that every object has from libc_nonshared, is a
registration function in its turn: the search goes on with its callers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from iced_x86 import FlowControl, Instruction, OpKind

from ia2exit.elf.image import ElfImage
from ia2exit.model import Address, CallSite, Destructor, Kind
from ia2exit.scanning.code_machine import RDI, RSI, Machine
from ia2exit.scanning.code_memory import Memory
from ia2exit.scanning.code_search import CodeSearch
from ia2exit.scanning.code_values import Entry, Import, Simple, Value, alternatives, depends_on_entry
from ia2exit.scanning.code_walk import decode, synchronised, walk

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
#: How many functions may pass the function pointer on before it reaches a registration function.
_MAX_FORWARDING = 4


class Target(NamedTuple):
    """A registration function; ``argument`` tells the registered function by what its registers hold on entry."""

    kind: Kind
    function: str
    argument: Simple


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


class _Targets(NamedTuple):
    """What calls are searched for in one round: by address, and by the word that holds the address."""

    addresses: dict[int, tuple[Via, tuple[Target, ...]]]
    words: dict[int, tuple[Target, ...]]
    names: dict[str, tuple[Target, ...]]


def find_registrations(image: ElfImage) -> list[Destructor]:
    """The destructors that the object's code registers, in the order of their call sites.

    A registration whose function argument is no constant gives a destructor without RVA. A function that the loader
    binds by name gives ``symbol`` and ``symbol_source="import"``: with ``rva`` None where the object only imports it,
    with the RVA of its own definition (or canonical PLT entry) where it has one. Keys without destructor give nothing.

    Raises:
        Ia2exitError: the file's contents are impossible.
    """
    return _Finder(image).find()


class _Finder:
    def __init__(self, image: ElfImage) -> None:
        self._image = image
        self._memory = Memory(image)
        self._search = CodeSearch(image)
        self._machine = Machine(self._memory)
        self._sites: dict[tuple[int, Target], Site] = {}
        #: Functions that pass a parameter on -> as what they were searched for; and those that were found called.
        self._forwarders: dict[int, set[Target]] = {}
        self._called: set[int] = set()

    def find(self) -> list[Destructor]:
        targets = self._registration_functions()
        for _ in range(_MAX_FORWARDING + 1):
            if not targets.addresses and not targets.words:
                break
            found = self._sites_of(targets)
            self._sites.update({(site.rva, site.target): site for site in found})
            targets = self._forwarding(found)
        return self._destructors()

    # Targets -------------------------------------------------------------------------------------------

    def _registration_functions(self) -> _Targets:
        """The registration functions as imports, and as definitions where the object is the C library itself."""
        base: dict[str, tuple[Target, ...]] = {
            name: (Target(kind, name, Entry(register)),) for name, (kind, register) in REGISTRATIONS.items()
        }
        definitions = {rva: base[name] for name, rva in self._defined()}
        return self._targets(base, definitions, "direct")

    def _defined(self) -> Iterable[tuple[str, int]]:
        """Registration functions that the object defines (its own copies from libc_nonshared are found by shape)."""
        image = self._image
        tables = [image.dynsym] if image.symtab is None else [image.dynsym, image.symtab]
        for table in tables:
            names = REGISTRATIONS.keys() - ({"atexit", "at_quick_exit"} if table is image.symtab else set())
            for name, indices in table.named(names).items():
                for index in indices:
                    if int(table.entries["section"][index]) != 0 and image.is_code(int(table.entries["value"][index])):
                        yield name, int(table.entries["value"][index])

    def _targets(
        self, names: dict[str, tuple[Target, ...]], definitions: dict[int, tuple[Target, ...]], via: Via
    ) -> _Targets:
        """Add the words that hold the functions' addresses, and the PLT entries that jump through these."""
        words: dict[int, tuple[Target, ...]] = {}
        for word in self._memory.slots(frozenset(names), frozenset(definitions)):
            value = self._memory.pointer(word)
            own = value.own if isinstance(value, Import) else value
            found = definitions.get(own) if own is not None else None
            if found is None and isinstance(value, Import):
                found = names.get(value.name)
            if found is not None:
                words[word] = found
        addresses: dict[int, tuple[Via, tuple[Target, ...]]] = {
            start: ("plt", words[word]) for start, word in self._search.plt_entries(words)
        }
        addresses.update({rva: (via, found) for rva, found in definitions.items()})
        return _Targets(addresses, words, names)

    # Sites ---------------------------------------------------------------------------------------------

    def _sites_of(self, targets: _Targets) -> list[Site]:
        """All calls of the targets."""
        search = self._search
        hits = [position for position, _ in search.branches_to(targets.addresses)]
        hits += [position for position, _ in search.references_to(targets.words) if not search.is_plt_jump(position)]
        for address, (via, _) in targets.addresses.items():
            if via == "stub":
                hits += search.short_jumps_to(address)
        found: list[Site] = []
        for start, end, inside in self._by_function(sorted(set(hits))):
            found += self._sites_in(start, end, inside, targets)
        return found

    def _by_function(self, hits: list[int]) -> Iterable[tuple[int | None, int, list[int]]]:
        """(start, end, hits inside) of the functions that hits lie in; start None: no known function."""
        functions = self._image.functions
        if len(functions) == 0:
            yield from ((None, hit, [hit]) for hit in hits)
            return
        indices = functions[:, 0].searchsorted(np.array(hits, np.uint64), side="right").astype(np.int64) - 1
        groups: dict[int, list[int]] = {}
        for hit, index in zip(hits, indices.tolist(), strict=True):
            if index >= 0 and hit < int(functions[index, 1]):
                groups.setdefault(index, []).append(hit)
            else:
                yield None, hit, [hit]
        for index, inside in groups.items():
            yield int(functions[index, 0]), int(functions[index, 1]), inside

    def _sites_in(self, start: int | None, end: int, hits: list[int], targets: _Targets) -> list[Site]:
        """The calls of the targets in one function, or, where none is known, in the window before one hit."""
        segment = self._image.load_of(hits[0])
        if segment is None:
            return []
        if start is None:
            low = max(segment.vaddr, hits[0] - 512)
            high = min(hits[0] + 16, segment.vaddr + segment.filesz)
            begin = synchronised(self._image.read(low, high - low), low, hits[0])
        else:
            begin, high = start, min(end, segment.vaddr + segment.filesz)
        instructions = decode(self._image.read(begin, high - begin), begin)
        starts = {instruction.ip: instruction.len for instruction in instructions}
        # The search saw opcodes; the instruction may begin with a prefix.
        real = {at for hit in hits for at in (hit, hit - 1, hit - 2) if at in starts and at + starts[at] > hit + 1}
        found: list[Site] = []
        if real:
            visitor = _Visitor(targets, start, found)
            walk(instructions, self._machine, real, visitor, known_entry=start is not None)
        return found

    # Forwarding ----------------------------------------------------------------------------------------

    def _forwarding(self, sites: Iterable[Site]) -> _Targets:
        """The functions that pass a parameter on to a registration function, as the next round's targets."""
        new: dict[int, tuple[Target, ...]] = {}
        for site in sites:
            if site.caller is None:
                continue
            known = self._forwarders.setdefault(site.caller, set())
            for value in alternatives(site.value):
                target = self._as_target(site, value) if depends_on_entry(value) else None
                if target is not None and target not in known:
                    known.add(target)
                    new[site.caller] = (*new.get(site.caller, ()), target)
        return self._targets({}, new, "stub")

    def _as_target(self, site: Site, value: Simple) -> Target:
        kind, function, _ = site.target
        own = _NONSHARED.get(function)
        is_short = site.caller is not None and site.rva - site.caller < _NONSHARED_SIZE
        is_bare = site.without_argument or function == "__cxa_at_quick_exit"
        if own is not None and is_short and is_bare and value == Entry(RDI):
            kind, function = own
        return Target(kind, function, value)

    # Results -------------------------------------------------------------------------------------------

    def _destructors(self) -> list[Destructor]:
        called = self._called_forwarders()
        found: list[Destructor] = []
        for site in sorted(self._sites.values(), key=lambda site: (site.rva, site.target.function)):
            seen: list[Destructor] = []
            for value in alternatives(site.value):
                if depends_on_entry(value) and site.caller in called:
                    continue
                destructor = self._destructor(site, value)
                if destructor is not None and destructor not in seen:
                    seen.append(destructor)
            found += sorted(seen, key=lambda d: (d.rva is None, d.rva or 0, d.symbol or ""))
        return found

    def _called_forwarders(self) -> set[int]:
        """Forwarding functions all of whose callers are known: they are called here, and no other object can."""
        targets = {target for site in self._sites.values() for target in (site.target,)}
        called = {rva for rva, own in self._forwarders.items() if own & targets}
        symbols = self._image.dynsym.entries
        return called - set(symbols["value"][symbols["section"] != 0].tolist())

    def _destructor(self, site: Site, value: Simple) -> Destructor | None:
        """The destructor that a site registers if its argument has this value; None for NULL."""
        kind, function, _ = site.target
        call = CallSite(rva=Address(site.rva), instruction=site.instruction, via=site.via, function=function)
        rva: int | None = None
        name: str | None = None
        if isinstance(value, Import):
            rva, name = value.own, value.name
        elif isinstance(value, int):
            if value == 0:
                return None
            stub = self._memory.plt_target(value)
            if isinstance(stub, Import):
                rva, name = value, stub.name
            elif self._memory.is_function(value):
                rva = value
        return Destructor(
            kind=kind,
            rva=None if rva is None else Address(rva),
            symbol=name,
            symbol_source=None if name is None else "import",
            found="code",
            site=call,
        )


class _Visitor:
    """Notes the calls and jumps of a function that go to a target."""

    def __init__(self, targets: _Targets, caller: int | None, found: list[Site]) -> None:
        self._targets, self._caller, self._found = targets, caller, found

    def __call__(self, instruction: Instruction, machine: Machine) -> None:
        direct = instruction.op0_kind in (OpKind.NEAR_BRANCH64, OpKind.NEAR_BRANCH32)
        for destination in alternatives(machine.target(instruction)):
            via, targets = self._lookup(destination)
            for target in targets:
                flow = instruction.flow_control
                self._found.append(
                    Site(
                        rva=instruction.ip,
                        instruction="call" if flow in (FlowControl.CALL, FlowControl.INDIRECT_CALL) else "jmp",
                        via=via if direct or via == "stub" else "got",
                        target=target,
                        value=machine.evaluate(target.argument),
                        caller=self._caller,
                        without_argument=machine.state.registers[RSI] == 0,
                    )
                )

    def _lookup(self, destination: Simple) -> tuple[Via, tuple[Target, ...]]:
        nothing: tuple[Via, tuple[Target, ...]] = ("direct", ())
        if isinstance(destination, int):
            return self._targets.addresses.get(destination, nothing)
        if isinstance(destination, Import):
            if destination.own is not None and destination.own in self._targets.addresses:
                return self._targets.addresses[destination.own]
            return "got", self._targets.names.get(destination.name, ())
        return nothing

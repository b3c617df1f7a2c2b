"""Registrations made in code: calls of ``__cxa_atexit`` and its relatives, with the function that they register.

Works on stripped objects: by the dynamic symbols, the relocations, the unwind table and the code itself. First all
calls, jumps and references that may be a registration are searched for (code_search), then only the functions around
them are decoded and walked through (code_walk), carrying values along (code_machine). A function of the object that
passes a parameter of its own on, such as the copy of ``atexit`` that every object has from libc_nonshared, is a
registration function in its turn: the search goes on with its callers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from iced_x86 import FlowControl, Instruction

from ia2exit.elf.image import ElfImage
from ia2exit.model import Address, CallSite, Destructor
from ia2exit.scanning.code_clobbers import Clobbers
from ia2exit.scanning.code_machine import RAX, Machine
from ia2exit.scanning.code_memory import Memory
from ia2exit.scanning.code_search import CodeSearch
from ia2exit.scanning.code_sites import REGISTRATIONS, Site, Target, Targets, Via, Visitor
from ia2exit.scanning.code_values import Entry, Import, Result, Simple, Value, alternatives, depends_on_entry, join
from ia2exit.scanning.code_walk import decode, synchronised, walk

#: How many functions may pass the function pointer on before it reaches a registration function.
_MAX_FORWARDING = 4
#: Longer functions than this, in bytes, are decoded only just before each call.
_MAX_FUNCTION = 1 << 22
#: What longer functions than this return is not looked into, in bytes.
_MAX_RETURNING = 256
#: How far before a call code is read where no function is known around it, in bytes.
_WINDOW = 512


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
        self._clobbers = Clobbers(self._memory)
        self._sites: dict[tuple[int, Target], Site] = {}
        #: Functions that pass a parameter on, as the targets that they are.
        self._forwarders: set[Target] = set()
        self._results: dict[int, Value] = {}

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

    def _registration_functions(self) -> Targets:
        """The registration functions as imports, and as definitions where the object is the C library itself."""
        base: dict[str, tuple[Target, ...]] = {
            name: (Target(kind, name, Entry(register)),) for name, (kind, register) in REGISTRATIONS.items()
        }
        definitions: dict[int, tuple[Target, ...]] = {}
        for name, rva in self._defined():
            definitions.setdefault(rva, base[name])  # of two names for one function, the first in our list
        return self._targets(base, definitions, "direct")

    def _defined(self) -> Iterator[tuple[str, int]]:
        """Registration functions that the object defines (its own copies from libc_nonshared are found by shape)."""
        image = self._image
        tables = [image.dynsym] if image.symtab is None else [image.dynsym, image.symtab]
        for table in tables:
            names = [name for name in REGISTRATIONS if table is image.dynsym or name not in ("atexit", "at_quick_exit")]
            for name, indices in table.named(names).items():
                for index in indices:
                    rva = int(table.entries["value"][index])
                    if int(table.entries["section"][index]) != 0 and image.is_code(rva):
                        yield name, rva

    def _targets(
        self, names: dict[str, tuple[Target, ...]], definitions: dict[int, tuple[Target, ...]], via: Via
    ) -> Targets:
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
        return Targets(addresses, words, names)

    # Sites ---------------------------------------------------------------------------------------------

    def _sites_of(self, targets: Targets) -> list[Site]:
        """All calls of the targets."""
        search = self._search
        hits = [position for position, _ in search.branches_to(targets.addresses)]
        hits += [position for position, _ in search.references_to(targets.words) if not search.is_plt_jump(position)]
        own = [address for address, (via, _) in targets.addresses.items() if via != "plt"]
        hits += [position for position, _ in search.addresses_of(own)]
        for address in own:
            hits += search.short_jumps_to(address)
        found: list[Site] = []
        for start, end, inside in self._by_function(sorted(set(hits))):
            found += self._sites_in(start, end, inside, targets)
        return found

    def _by_function(self, hits: list[int]) -> Iterator[tuple[int | None, int, list[int]]]:
        """(start, end, hits inside) of the functions that hits lie in; start None: no known function."""
        functions = self._image.functions
        if len(functions) == 0:
            yield from ((None, hit, [hit]) for hit in hits)
            return
        following = np.append(functions[1:, 0], functions[-1:, 1])
        ends = np.minimum(functions[:, 1], following)
        indices = functions[:, 0].searchsorted(np.array(hits, np.uint64), side="right").astype(np.int64) - 1
        groups: dict[int, list[int]] = {}
        for hit, index in zip(hits, indices.tolist(), strict=True):
            if index >= 0 and hit < int(ends[index]) <= int(functions[index, 0]) + _MAX_FUNCTION:
                groups.setdefault(index, []).append(hit)
            else:
                yield None, hit, [hit]
        for index, inside in groups.items():
            yield int(functions[index, 0]), int(ends[index]), inside

    def _sites_in(self, start: int | None, end: int, hits: list[int], targets: Targets) -> list[Site]:
        """The calls of the targets in one function, or, where none is known, in the window before one hit."""
        segment = self._image.load_of(hits[0])
        if segment is None:
            return []
        limit = segment.vaddr + segment.filesz
        if start is None:
            low, high = max(segment.vaddr, hits[0] - _WINDOW), min(hits[0] + 16, limit)
            begin = synchronised(self._image.read(low, high - low), low, hits[0])
        else:
            begin, high = start, min(end, limit)
        instructions = decode(self._image.read(begin, high - begin), begin)
        lengths = {instruction.ip: instruction.len for instruction in instructions}
        # The search saw opcodes; the instruction may begin with a prefix.
        real = {at for hit in hits for at in (hit, hit - 1, hit - 2) if at + lengths.get(at, 0) > hit + 1}
        found: list[Site] = []
        if real:
            self._walk(instructions, real, Visitor(targets, start, found))
        if any(None in alternatives(site.value) for site in found):
            again: list[Site] = []
            self._machine.clobbers = self._clobbers.of
            self._walk(instructions, real, Visitor(targets, start, again))
            self._machine.clobbers = None
            return again
        return found

    def _walk(self, instructions: list[Instruction], hits: set[int], visitor: Visitor) -> None:
        walk(instructions, self._machine, hits, visitor, known_entry=visitor.caller is not None)

    def _forwarding(self, sites: Iterable[Site]) -> Targets:
        """The functions that pass a parameter on to a registration function, as the next round's targets."""
        new: dict[int, tuple[Target, ...]] = {}
        for site in sites:
            for value in alternatives(site.value):
                if site.caller is None or not depends_on_entry(value):
                    continue
                target = site.forwarding(value)
                if target not in self._forwarders:
                    self._forwarders.add(target)
                    new[site.caller] = (*new.get(site.caller, ()), target)
        return self._targets({}, new, "stub")

    # Results -------------------------------------------------------------------------------------------

    def _destructors(self) -> list[Destructor]:
        called = self._called_forwarders()
        found: list[Destructor] = []
        for site in sorted(self._sites.values(), key=lambda site: (site.rva, site.target.function)):
            here: list[Destructor] = []
            for value in self._values(site):
                if depends_on_entry(value) and site.caller in called:
                    continue
                destructor = self._destructor(site, value)
                if destructor is not None and destructor not in here:
                    here.append(destructor)
            found += sorted(here, key=lambda d: (d.rva is None, d.rva or 0, d.symbol or ""))
        return found

    def _called_forwarders(self) -> set[int]:
        """Forwarding functions that only this object can call, and does."""
        called = {site.target.entry for site in self._sites.values() if site.target.entry is not None}
        symbols = self._image.dynsym.entries
        return called - set(symbols["value"][symbols["section"] != 0].tolist())

    def _values(self, site: Site) -> Iterator[Simple]:
        for value in alternatives(site.value):
            if isinstance(value, Result):
                yield from alternatives(self._returned(value.function))
            else:
                yield value

    def _returned(self, function: int) -> Value:
        """The constant that a short function of the object returns, or None."""
        if function not in self._results:
            stub = self._memory.plt_target(function)
            own = stub.own if isinstance(stub, Import) else None
            self._results[function] = self._constant_of(function if own is None else own)
        return self._results[function]

    def _constant_of(self, function: int) -> Value:
        functions = self._image.functions
        index = int(functions[:, 0].searchsorted(np.uint64(function)))
        if index >= len(functions) or int(functions[index, 0]) != function or not self._image.is_code(function):
            return None
        size = int(functions[index, 1]) - function
        if size > _MAX_RETURNING or self._image.offset(function, size) is None:
            return None
        instructions = decode(self._image.read(function, size), function)
        returned: list[Value] = []

        def note(instruction: Instruction, machine: Machine) -> None:
            if instruction.flow_control == FlowControl.RETURN:
                returned.append(machine.state.registers[RAX])

        returns = {i.ip for i in instructions if i.flow_control == FlowControl.RETURN}
        walk(instructions, self._machine, returns, note, known_entry=True)
        result: Value = returned[0] if returned else None
        for value in returned[1:]:
            result = join(result, value)
        is_constant = all(isinstance(value, int | Import) for value in alternatives(result))
        return result if is_constant else None

    def _destructor(self, site: Site, value: Simple) -> Destructor | None:
        """The destructor that a site registers if its argument has this value; None for NULL."""
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
            kind=site.target.kind,
            rva=None if rva is None else Address(rva),
            symbol=name,
            symbol_source=None if name is None else "import",
            found="code",
            site=CallSite(
                rva=Address(site.rva), instruction=site.instruction, via=site.via, function=site.target.function
            ),
        )

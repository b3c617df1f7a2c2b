"""Finding the few instructions that may register a destructor, without decoding the rest.

Every byte position of the executable segments is looked at once, with numpy: near calls and jumps (``E8``, ``E9``,
``0F 8x`` and a 32-bit displacement), references to a word of memory (``FF 15`` call, ``FF 25`` jump, ``8B`` load,
RIP-relative; ``FF 14 25`` / ``FF 24 25`` absolute), and addresses put into a register (``8D`` RIP-relative; without PIE
``B8+r`` and ``C7 C0+r`` with a 32-bit number): linkers turn loads from the GOT into these. What is found may be no
instruction at all but the middle of one: the caller has to decode from a function's start to know (code_walk).

Source of the encodings: Intel SDM volume 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ia2exit.elf.constants import ET_EXEC
from ia2exit.elf.image import ElfImage

Positions = NDArray[np.int64]

#: Bytes looked at together: small enough that the temporary arrays stay in the cache.
_CHUNK = 1 << 20
#: Longest instruction that is searched for.
_OVERLAP = 8
#: Which bytes may be an opcode of interest.
_INTERESTING = np.zeros(256, dtype=bool)
_INTERESTING[[0x0F, 0x8B, 0x8D, 0xC7, 0xE8, 0xE9, 0xFF]] = True
_JUMP_SLOT = b"\xff\x25"
_PUSH_SLOT = b"\xff\x35"
_ENDBR64 = b"\xf3\x0f\x1e\xfa"
#: What follows ``jmp *slot(%rip)`` in a PLT entry: push of the relocation's number, or padding (binutils, lld, mold).
_PLT_TAILS = (b"\x68", b"\x66\x90", b"\x90", b"\x0f\x1f", b"\x66\x0f\x1f", b"\xcc", b"\x66\x2e\x0f\x1f", b"\x41\xbb")


class CodeSearch:
    """The calls, jumps and references to memory in the code of one object.

    Args:
        image: the object.
    """

    def __init__(self, image: ElfImage) -> None:
        self._image = image
        #: (position, target) of near calls and jumps, sorted by target; both RVAs.
        self._branches = _Pairs()
        #: (position of the opcode, word) of references to memory.
        self._references = _Pairs()
        #: (position of the opcode, address in an executable segment) of addresses put into a register.
        self._addresses = _Pairs()
        executable = [segment for segment in image.loads if segment.executable and segment.filesz]
        self._low = min((segment.vaddr for segment in executable), default=0)
        self._high = max((segment.vaddr + segment.memsz for segment in executable), default=0)
        for segment in executable:
            code = np.frombuffer(image.data, np.uint8, segment.filesz, segment.offset)
            for start in range(0, len(code), _CHUNK):
                self._look(code[start : start + _CHUNK + _OVERLAP], segment.vaddr + start)

    def _look(self, code: NDArray[np.uint8], rva: int) -> None:
        """Note everything whose opcode starts in the first _CHUNK bytes of ``code``, which lies at ``rva``."""
        if len(code) < _CHUNK + _OVERLAP:
            code = np.concatenate([code, np.zeros(_OVERLAP, np.uint8)])
        opcodes = code[: min(_CHUNK, len(code) - _OVERLAP)]
        at = np.flatnonzero(_INTERESTING[opcodes])
        opcode, modrm = code[at], code[at + 1]
        is_near = (opcode & 0xFE) == 0xE8
        self._add_branches(code, rva, at[is_near], 1)
        self._add_branches(code, rva, at[(opcode == 0x0F) & ((modrm & 0xF0) == 0x80)], 2)
        relative = (modrm & 0xC7) == 0x05
        through = ((opcode == 0x8B) & relative) | ((opcode == 0xFF) & ((modrm == 0x15) | (modrm == 0x25)))
        words = at[through]
        self._references.add(words + rva, _displacement(code, words + 2) + words + (rva + 6))
        absolute = at[(opcode == 0xFF) & ((modrm == 0x14) | (modrm == 0x24))]
        absolute = absolute[code[absolute + 2] == 0x25]
        self._references.add(absolute + rva, _displacement(code, absolute + 3))
        lea = at[(opcode == 0x8D) & relative]
        self._add(self._addresses, lea + rva, _displacement(code, lea + 2) + lea + (rva + 6))
        if self._image.elf_type == ET_EXEC:
            short = np.flatnonzero((opcodes & 0xF8) == 0xB8)
            long = at[(opcode == 0xC7) & ((modrm & 0xF8) == 0xC0)]
            self._add(self._addresses, short + rva, _displacement(code, short + 1))
            self._add(self._addresses, long + rva, _displacement(code, long + 2))

    def _add_branches(self, code: NDArray[np.uint8], rva: int, at: Positions, opcode: int) -> None:
        self._add(self._branches, at + rva, _displacement(code, at + opcode) + at + (rva + opcode + 4))

    def _add(self, pairs: _Pairs, positions: Positions, targets: Positions) -> None:
        """Note the positions whose target lies among the executable segments."""
        inside = (targets >= self._low) & (targets < self._high)
        pairs.add(positions[inside], targets[inside])

    def branches_to(self, targets: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(position, target) of possible calls and jumps to these addresses."""
        return self._branches.to(targets)

    def addresses_of(self, targets: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(position of the opcode, target) of instructions that may put one of these addresses into a register."""
        return self._addresses.to(targets)

    def references_to(self, words: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(position of the opcode, word) of possible calls, jumps and loads through these words."""
        return self._references.to(words)

    def short_jumps_to(self, target: int) -> Iterator[int]:
        """Positions of possible two-byte jumps (``EB``, ``7x``) to an address."""
        segment = self._image.load_of(target)
        if segment is None:
            return
        start = max(segment.vaddr, target - 129)
        code = self._image.read(start, min(target + 128, segment.vaddr + segment.filesz) - start)
        for position in range(len(code) - 1):
            opcode, rel = code[position], code[position + 1]
            near = rel - 256 if rel > 127 else rel
            if (opcode == 0xEB or opcode & 0xF0 == 0x70) and start + position + 2 + near == target:
                yield start + position

    def plt_entries(self, words: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(RVA of an entry's start, its word) of PLT entries that jump through these words.

        Lazy and bound ones, with and without ``endbr64`` and ``bnd``, of binutils, lld and mold.
        """
        for position, word in self.references_to(words):
            if self.is_plt_jump(position):
                for start in self._plt_starts(position):
                    yield start, word

    def is_plt_jump(self, position: int) -> bool:
        """Whether the ``jmp *word(%rip)`` at ``position`` looks like one of a PLT, not like a function's tail call."""
        around = self._around(position)
        if around is None or around[16:18] != _JUMP_SLOT or not around[22:].startswith(_PLT_TAILS):
            return False
        function = self._function_around(position)
        if function is not None:
            # binutils describe a whole PLT as one function: it starts with PLT0 or with an entry.
            code = self._image.read(function, 7)
            code = code[4:] if code.startswith(_ENDBR64) else code
            return code.removeprefix(b"\xf2")[:2] in (_JUMP_SLOT, _PUSH_SLOT)
        start = min(self._plt_starts(position))
        if start % 8:
            return False
        before = around[: 16 - (position - start)]
        # The end of the entry before, of PLT0, or nothing: a function would go on from its own instructions.
        return (
            before[-5:-4] == b"\xe9"
            or before[-8:-6] == _JUMP_SLOT
            or before.endswith((b"\x00\x00", b"\x90", b"\x0f\x1f\x40\x00", b"\x0f\x1f\x44\x00\x00", b"\xcc"))
            or b"\x0f\x1f" in before[-7:]
        )

    def _function_around(self, position: int) -> int | None:
        """Start of the function of the unwind table that ``position`` lies in, or None."""
        functions = self._image.functions
        index = int(functions[:, 0].searchsorted(np.uint64(position), side="right")) - 1
        return int(functions[index, 0]) if index >= 0 and position < int(functions[index, 1]) else None

    def _plt_starts(self, position: int) -> set[int]:
        """Where the PLT entry with its jump at ``position`` may start."""
        around = self._around(position) or b""
        starts, before = {position}, around[:16]
        if before.endswith(b"\xf2"):
            starts.add(position - 1)
            before = before[:-1]
        if before[-6:-4] == b"\x41\xbb":
            before = before[:-6]
        if before.endswith(_ENDBR64):
            starts.add(position - (16 - len(before)) - 4)
        return starts

    def _around(self, position: int) -> bytes | None:
        """16 bytes before ``position`` (zero where there are none), 16 from it on."""
        segment = self._image.load_of(position)
        if segment is None or position + 8 > segment.vaddr + segment.filesz:
            return None
        before = min(16, position - segment.vaddr)
        after = min(16, segment.vaddr + segment.filesz - position)
        return bytes(16 - before) + self._image.read(position - before, before + after)


class _Pairs:
    """(position, target) pairs that grow by arrays and are then looked up by target."""

    def __init__(self) -> None:
        self._parts: list[tuple[Positions, Positions]] = []

    def add(self, positions: Positions, targets: Positions) -> None:
        if len(positions):
            self._parts.append((positions, targets))

    def to(self, targets: Iterable[int]) -> Iterator[tuple[int, int]]:
        if not self._parts:
            return
        wanted = np.unique(np.fromiter(targets, np.int64))
        if len(wanted) == 0:
            return
        for positions, found in self._parts:
            match = np.flatnonzero((found >= wanted[0]) & (found <= wanted[-1]))
            match = match[np.isin(found[match], wanted)]
            yield from zip(positions[match].tolist(), found[match].tolist(), strict=True)


def _displacement(code: NDArray[np.uint8], at: Positions) -> Positions:
    """The signed 32-bit little-endian number at each position."""
    word = code[at].astype(np.int64)
    for byte in (1, 2):
        word |= code[at + byte].astype(np.int64) << (8 * byte)
    return word | (code[at + 3].view(np.int8).astype(np.int64) << 24)

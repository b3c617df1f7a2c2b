"""Are the predictions of ``scan`` true? Checked against binutils' disassembly and the linker's symbols.

Only objects with full symbols (``.symtab``) can be checked. A prediction from code is *wrong* when the instruction at
its call site is no call or jump that reaches a registration function, or when the predicted function starts nowhere.
"""

from __future__ import annotations

import bisect
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from harness import BUILD, ROOT, TIME_LIMIT
from ia2exit.elf import constants as elf
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError
from ia2exit.model import Destructor
from ia2exit.scanning.code import find_registrations
from ia2exit.scanning.code_sites import REGISTRATIONS

#: Larger objects than this, in bytes of code, take binutils too long.
MAX_CODE = 6_000_000
#: Share of the functions in the unwind table that must have a symbol for an object to count as one with full symbols.
FULL = 0.9
#: Objects of the distribution that come with all their symbols.
WITH_SYMBOLS = ("libasan.so.8", "libtsan.so.2", "liblsan.so.0", "libubsan.so.1")
FIXTURES = ROOT / "tests" / "unit" / "code_fixtures"
FLAGS = (
    ("-O0", "-fPIC", "-shared"),
    ("-O2", "-fPIE", "-pie", "-DPROGRAM"),
    ("-Os", "-fno-pie", "-no-pie", "-DPROGRAM"),
)

_LINE = re.compile(r"^ *([0-9a-f]+):\t(.+)$", re.M)
_NAMED = re.compile(r"<([\w.$]+)(?:@[\w.@]*)?(?:\+0x[0-9a-f]+)?>")
_SLOT = re.compile(r"^([0-9a-f]+) .* R_X86_64_(?:JUMP_SLOT|GLOB_DAT|64|JUMP_SLO) .* ([\w.$]+)(?:@[\w.]*)? \+ 0$", re.M)
_RELATIVE = re.compile(r"^([0-9a-f]+) .* R_X86_64_RELATIVE +([0-9a-f]+)$", re.M)
_REFERENCE = re.compile(r"\(%rip\) +# ([0-9a-f]+)")
_DIRECT = re.compile(r"\b(?:call|jmp|j[a-z]+) +([0-9a-f]+) <")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One checked object."""

    path: str
    predictions: int
    #: What is wrong, one line a prediction.
    wrong: list[str]


class Listing:
    """An object's disassembly by binutils, and its functions by the linker's symbols."""

    def __init__(self, path: Path) -> None:
        self.image = ElfImage(path)
        self._path = path

    def read(self) -> None:
        """Have binutils read the object."""
        path = self._path
        text = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", "-w", str(path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=TIME_LIMIT,
        ).stdout
        lines = [(int(found[1], 16), found[2]) for found in _LINE.finditer(text)]
        relocations = subprocess.run(
            ["readelf", "-rW", str(path)], capture_output=True, text=True, check=True, timeout=TIME_LIMIT
        ).stdout
        self._slots = {int(found[1], 16): found[2] for found in _SLOT.finditer(relocations)}
        self._pointers = {int(found[1], 16): int(found[2], 16) for found in _RELATIVE.finditer(relocations)}
        self._addresses = [address for address, _ in lines]
        self._code = dict(lines)

    def at(self, rva: int) -> str:
        """The instruction at an address; empty where none starts."""
        return self._code.get(rva, "")

    def of(self, function: int) -> list[str]:
        """The instructions of the function that starts at an address."""
        first = bisect.bisect_left(self._addresses, function)
        last = bisect.bisect_left(self._addresses, function + self.functions.get(function, 0))
        return [self._code[address] for address in self._addresses[first:last]]

    @cached_property
    def functions(self) -> dict[int, int]:
        """Starts of all functions with a linker symbol -> size in bytes."""
        table = self.image.symtab
        if table is None:
            return {}
        entries = table.entries
        chosen = entries[np.isin(entries["info"] & 15, (elf.STT_FUNC, elf.STT_GNU_IFUNC)) & (entries["section"] != 0)]
        return dict(zip(chosen["value"].tolist(), chosen["size"].tolist(), strict=True))

    @cached_property
    def _starts(self) -> list[int]:
        return sorted(self.functions)

    def has_full_symbols(self) -> bool:
        """Whether nearly all functions of the unwind table have a linker symbol."""
        known = self.image.functions[:, 0].tolist()
        return sum(start in self.functions for start in known) >= FULL * len(known) > 0

    def holding(self, rva: int) -> int | None:
        """Start of the function that an address lies in."""
        index = bisect.bisect_right(self._starts, rva) - 1
        found = self._starts[index] if index >= 0 else None
        return found if found is not None and rva < found + self.functions[found] else None

    def registers(self, instruction: str, depth: int = 0) -> bool:
        """Whether an instruction names a registration function, or calls a function of the object that reaches one."""
        if any(name in REGISTRATIONS for name in _NAMED.findall(instruction)):
            return True
        reference, direct = _REFERENCE.search(instruction), _DIRECT.search(instruction)
        target = int(direct[1], 16) if direct is not None else None
        if reference is not None:
            word = int(reference[1], 16)
            if self._slots.get(word) in REGISTRATIONS:
                return True
            target = self._pointers.get(word)
        if target not in self.functions or depth > 4:
            return False
        return any(self.registers(line, depth + 1) for line in self.of(target))

    def is_registration(self, destructor: Destructor) -> bool:
        """Whether the call site is a call or jump that reaches a registration function."""
        if destructor.site is None:
            return False
        instruction = self.at(destructor.site.rva)
        word = instruction.removeprefix("bnd ").removeprefix("addr32 ").removeprefix("notrack ").partition(" ")[0]
        if not word.startswith("call" if destructor.site.instruction == "call" else "j"):
            return False
        if "*%" not in instruction:
            return self.registers(instruction)
        holder = self.holding(destructor.site.rva)
        return holder is not None and any(self.registers(line) for line in self.of(holder))

    def is_function(self, destructor: Destructor) -> bool:
        """Whether a predicted address is the start of a function; what the loader binds by name has none here."""
        return destructor.rva is None or destructor.symbol_source == "import" or int(destructor.rva) in self.functions


def check(path: Path) -> Verdict | None:
    """Check all predictions from code for one object; None where it has no symbols or is too large."""
    try:
        image = ElfImage(path)
        too_large = sum(segment.filesz for segment in image.loads if segment.executable) > MAX_CODE
        if image.symtab is None or too_large:
            return None
        listing, found = Listing(path), find_registrations(image)
    except Ia2exitError:
        return None
    if not found or not listing.has_full_symbols():
        return None
    listing.read()
    wrong: list[str] = []
    for destructor in found:
        site = destructor.site.rva if destructor.site else None
        if not listing.is_registration(destructor):
            wrong.append(f"{site}: no registration: {listing.at(site or 0)}")
        elif not listing.is_function(destructor):
            wrong.append(f"{site}: {destructor.rva} is no function")
    return Verdict(path=str(path), predictions=len(found), wrong=wrong)


def candidates(folder: Path) -> Iterable[Path]:
    """Objects that may have full symbols: of this build, compiled here, the distribution's, Python's extensions."""
    for source in sorted(FIXTURES.glob("registrations.c*")):
        for number, flags in enumerate(FLAGS):
            built = folder / f"{source.suffix[1:]}-{number}"
            language = ["-std=c++17", "-lstdc++"] if source.suffix == ".cpp" else []
            subprocess.run(
                ["gcc", *flags, "-pthread", str(source), "-o", str(built), *language], check=True, timeout=TIME_LIMIT
            )
            yield built
    yield from sorted(p for p in (BUILD / "tests").rglob("*") if p.suffix == ".so" or p.name == "dl_debug_test")
    libraries = Path("/usr/lib/x86_64-linux-gnu")
    yield from (libraries / name for name in WITH_SYMBOLS if (libraries / name).exists())
    yield from sorted(Path(sysconfig.get_path("platlib")).rglob("*.so*"))


def check_all(paths: Iterable[Path] = ()) -> list[Verdict]:
    """Check everything that can be checked here, and these objects."""
    if shutil.which("objdump") is None:
        raise Ia2exitError("objdump: not found; install binutils")
    with tempfile.TemporaryDirectory() as folder:
        every = [*paths, *candidates(Path(folder))]
        files = {path.resolve(): path for path in every if path.is_file()}
        return [verdict for path in files if (verdict := check(path)) is not None]

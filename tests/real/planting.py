"""A plant: a library whose destructor touches what is not its own, preloaded into a program (plant.c)."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from enforcing import Variable, compiled, make_map, variable_of_library, variable_of_program
from real_programs import Covered, Program, run, run_covered

from ia2exit.exitmap import write_binary

#: What a plant can do, and the section in which it finds a library's variable.
SECTIONS = {"READS": ".data", "WRITES": ".bss", "PASSES": ".data"}


@dataclass(frozen=True)
class Plot:
    """A plant for a program, and its victim."""

    program: Program
    #: READS, WRITES or PASSES.
    way: str
    victim: Variable
    passengers: Mapping[str, Path]
    #: An empty folder for all this.
    folder: Path

    @property
    def plant(self) -> Path:
        """The library."""
        return self.folder / "libplant.so"

    @property
    def loot(self) -> Path:
        """A file that is there once the plant got what it came for."""
        return self.folder / "loot"

    def without_us(self) -> subprocess.CompletedProcess[bytes]:
        """The program without the runtime, with a plant that does nothing."""
        self._compile("RESTS")
        return run(self.program, [], self.folder / "run", self._preloaded)

    def run(self, *options: str) -> Covered:
        """The program under the runtime, with the plant in a compartment of its own."""
        self._compile(self.way)
        exit_map = self.folder / "map"
        exit_map.write_bytes(write_binary(make_map(self.program, {**self.passengers, "plant": self.plant})))
        self.loot.unlink(missing_ok=True)
        options = (*options, "--map", str(exit_map))
        return run_covered(self.program, options, self.folder / "run", self._preloaded)

    @property
    def _preloaded(self) -> list[Path]:
        return [*self.passengers.values(), self.plant]

    def _compile(self, way: str) -> None:
        victim = [f'-DVICTIM="{self.victim.object}"', f"-DOFFSET={self.victim.rva:#x}", f"-DWAY={way}"]
        program = f'-DPROGRAM="{self.program.path.resolve()}"'
        compiled("plant.c", self.plant, program, *victim, f'-DLOOT="{self.loot}"')


def plot(program: Program, way: str, victim: str, passengers: Mapping[str, Path], folder: Path) -> Plot:
    """Choose a variable of the ``program`` or of a ``library`` of it."""
    made = make_map(program, passengers)
    found = variable_of_program(made) if victim == "program" else variable_of_library(program, made, SECTIONS[way])
    return Plot(program, way, found, passengers, folder)

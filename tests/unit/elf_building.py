"""Small ELF files for tests, compiled where the test runs."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from ia2exit.elf.image import ElfImage
from ia2exit.elf.loader import DEFAULT_INTERPRETER
from ia2exit.errors import Ia2exitError


def command(*words: str | Path, env: dict[str, str] | None = None, check: bool = True) -> str:
    """Standard output of a command that must succeed (unless ``check`` is False)."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120, check=False, env=env)
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def build(target: Path, source: str, *flags: str | Path, language: str = "c") -> Path:
    """Compile and link ``source`` into ``target``; a ``.so`` becomes a shared object."""
    file = target.parent / f"{target.name}.{language}"
    file.write_text(source)
    shared = ("-shared", "-fPIC") if ".so" in target.name else ()
    compiler = "g++" if language == "cc" else "gcc"
    command(compiler, "-O1", *shared, "-o", target, file, *flags)
    return target


def stripped_of_sections(path: Path, target: Path) -> Path:
    """A copy without section headers, as ``sstrip`` makes it."""
    data = bytearray(path.read_bytes())
    start = int.from_bytes(data[40:48], "little")
    data[40:48] = bytes(8)
    data[58:64] = bytes(6)
    target.write_bytes(data[:start])
    target.chmod(0o755)
    return target


LIBRARY = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((destructor)) static void first(void) { puts("first"); }
__attribute__((destructor)) static void second(void) { puts("second"); }
static void handler(void) { puts("handler"); }
int twice(int x) { return 2 * x; }
int start(void) { return atexit(handler); }
"""


def distribution_programs(count: int, seed: int) -> list[Path]:
    """Programs of the distribution for the glibc of this machine, in an order that the seed decides."""
    chosen: list[Path] = []
    candidates = sorted(Path("/usr/bin").iterdir())
    random.Random(seed).shuffle(candidates)
    for path in candidates:
        try:
            image = ElfImage(path)
        except Ia2exitError:
            continue
        if image.interpreter == DEFAULT_INTERPRETER and not path.stat().st_mode & 0o6000:
            chosen.append(path)
        if len(chosen) == count:
            break
    return chosen

"""A damaged library, whatever the damage, gives a result or one clear line: every symbol of it bound."""

from __future__ import annotations

from pathlib import Path

import pytest
from checked_programs import library, linked, mapped
from hypothesis import given, settings
from hypothesis import strategies as st

import ia2exit
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError
from ia2exit.model import ExitMap

pytestmark = pytest.mark.timeout(200)
ONE = "int counter = 1; __thread int mine = 2; void one(void) {}"
TWO = """
#include <stdio.h>
extern int counter; extern __thread int mine; void one(void); __attribute__((weak)) int both;
int use(void) { one(); return counter++ + mine++ + both + puts("") + fflush(stdout); }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExitMap, bytes, list[int]]:
    """A program, its map, its libtwo.so, and where in that the tables are that everything else is found by."""
    folder = tmp_path_factory.mktemp("fuzz")
    one = library(folder, "libone.so", ONE)
    two = library(folder, "libtwo.so", TWO, one)
    program = linked(folder, "int main(void) { return 0; }", one, two)
    image = ElfImage(two)
    starts = [0, 64, *(segment.offset for segment in image.segments), *(section.offset for section in image.sections)]
    return program, mapped(program), two.read_bytes(), sorted({at for at in starts if at < image.size})


@settings(max_examples=200)
@given(data=st.data())
def test_a_mutated_library_is_checked_or_refused_and_nothing_else(
    made: tuple[Path, ExitMap, bytes, list[int]], data: st.DataObject
) -> None:
    program, exit_map, content, starts = made
    mutated = bytearray(content)
    values = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
    for _ in range(data.draw(st.integers(1, 4))):
        near = data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 256))
        at = min(near, len(mutated) - 8)
        for offset in range(data.draw(st.sampled_from([1, 1, 4, 8]))):
            mutated[at + offset] = data.draw(values)
    two = program.parent / "libtwo.so"
    two.unlink()  # the old file may still be mapped
    two.write_bytes(mutated)
    message = refusal(program, exit_map)
    if message is not None:
        assert "\n" not in message
        assert "libtwo.so" in message


def refusal(program: Path, exit_map: ExitMap) -> str | None:
    """Why the program cannot be checked, or None where it can."""
    try:
        return None if ia2exit.check(program, exit_map, only="symbols").references > 0 else "nothing bound"
    except Ia2exitError as error:
        return str(error)

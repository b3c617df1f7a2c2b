"""A damaged file, whatever the damage, gives a result or one clear line: the whole scan, disassembly included."""

from __future__ import annotations

from pathlib import Path

import pytest
from elf_building import LIBRARY, build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ia2exit
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError
from ia2exit.model import ScanResult, from_json, to_json

#: Damage must not make the scan run away: the net under each test, in seconds (it takes a few).
pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    flags = ("-g", "-Wl,-z,pack-relative-relocs", "-Wl,-soname,libsmall.so.1")
    return build(tmp_path_factory.mktemp("fuzz") / "libsmall.so", LIBRARY, *flags).read_bytes()


@pytest.fixture(scope="module")
def starts(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """File offsets of the tables that everything else is found by."""
    path = tmp_path_factory.mktemp("starts") / "libsmall.so"
    path.write_bytes(content)
    image = ElfImage(path)
    found = [0, 64, *(segment.offset for segment in image.segments), *(section.offset for section in image.sections)]
    return sorted({at for at in found if at < len(content)})


def _scan(path: Path) -> ScanResult | None:
    """The scan of one file, or None where it is refused in one line that names it."""
    try:
        return ia2exit.scan(path, dependencies=False, jobs=1)
    except Ia2exitError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return None


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_library_is_scanned_or_refused_and_nothing_else(
    content: bytes, starts: list[int], tmp_path: Path, data: st.DataObject
) -> None:
    mutated = bytearray(content)
    values = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
    for _ in range(data.draw(st.integers(1, 6))):
        near = data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 256))
        at = min(near, len(mutated) - 8)
        for offset in range(data.draw(st.sampled_from([1, 1, 4, 8]))):
            mutated[at + offset] = data.draw(values)
    path = tmp_path / "mutated.so"
    path.write_bytes(mutated)
    result = _scan(path)
    if result is not None:
        assert from_json(to_json(result), ScanResult) == result


def test_the_whole_library_is_scanned(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "libsmall.so"
    path.write_bytes(content)
    result = _scan(path)
    assert result is not None
    assert {"first", "second", "handler"} <= {d.symbol for d in result.objects[0].destructors}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(0, 20000))
def test_a_library_cut_anywhere_is_refused(content: bytes, tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.so"
    path.write_bytes(content[: min(size, len(content) - 1)])
    assert _scan(path) is None

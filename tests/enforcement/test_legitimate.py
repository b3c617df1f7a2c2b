"""What destructors do all day: own data, shared data, and all that libraries need from each other. No violation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from .watching import (
    CONTAIN,
    CONTROL,
    ENFORCE,
    OBSERVE,
    PROGRAMS,
    WITH_SHARED_PAGES,
    Way,
    build,
    check_unnoticed,
    kept,
    library,
)

STATUS = 7
LINKING = {"pie": ["-fpie", "-pie"], "fixed": ["-fno-pie", "-no-pie"]}
#: Bound at the first call, which is in a destructor; or all at start.
BINDING = {"lazy": "-Wl,-z,lazy", "now": "-Wl,-z,now"}


def scenarios(source: str) -> list[str]:
    """The names in a program's table."""
    return re.findall(r'\{"([a-z-]+)", \w+\}', (PROGRAMS / source).read_text())


C_SCENARIOS = scenarios("legitimate.c")
CXX_SCENARIOS = scenarios("legitimate_cxx.cpp")
#: The scenarios about shared data are about how main was linked.
ONLY_WITH_SCRIPT, ONLY_WITHOUT_SCRIPT = "shared-data", "shared-without-pages"

every_way = pytest.mark.parametrize("way", [CONTROL, *OBSERVE, *ENFORCE, *CONTAIN], ids=str)


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    """``pie-lazy`` and so on; ``script``: with pages of its own for shared data."""
    built = {}
    for binding, flag in BINDING.items():
        folder = kept(f"legitimate-{binding}")
        other = library(folder, "legitimate_other.c", flag, name="libother.so")
        mine = library(folder, "legitimate.c", flag, other)
        for kind, flags in LINKING.items():
            name = f"{kind}-{binding}"
            built[name] = build(folder, "legitimate_main.c", *flags, flag, mine, other, name=name)
        name = f"script-{binding}"
        built[name] = build(folder, "legitimate_main.c", WITH_SHARED_PAGES, flag, mine, other, name=name)
    return built


@pytest.fixture(scope="module")
def cxx_programs() -> dict[str, Path]:
    folder = kept("legitimate-cxx")
    mine = library(folder, "legitimate_cxx.cpp")
    return {kind: build(folder, "legitimate_cxx_main.cpp", *flags, mine, name=kind) for kind, flags in LINKING.items()}


def copied(program: Path) -> set[str]:
    """The symbols that a program has copies of."""
    with program.open("rb") as stream:
        elf = ELFFile(stream)
        table, symbols = elf.get_section_by_name(".rela.dyn"), elf.get_section_by_name(".dynsym")
        assert isinstance(table, RelocationSection)
        assert isinstance(symbols, SymbolTableSection)
        return {
            symbols.get_symbol(one["r_info_sym"]).name
            for one in table.iter_relocations()
            if one["r_info_type"] == 5  # R_X86_64_COPY
        }


@pytest.mark.parametrize("kind", LINKING)
def test_the_programs_have_copies_of_what_libraries_use(
    programs: dict[str, Path], cxx_programs: dict[str, Path], kind: str
) -> None:
    assert {"stdout", "stderr", "optarg", "optind", "__environ"} <= copied(programs[f"{kind}-lazy"])
    assert {"_ZSt4cout", "_ZSt4cerr"} <= copied(cxx_programs[kind])


@pytest.mark.parametrize("name", [f"{kind}-{binding}" for kind in LINKING for binding in BINDING])
@pytest.mark.parametrize("scenario", [name for name in C_SCENARIOS if name != ONLY_WITH_SCRIPT])
@every_way
def test_a_destructor_in_c(programs: dict[str, Path], tmp_path: Path, name: str, scenario: str, way: Way) -> None:
    command: list[str | Path] = [programs[name], "-x", "value", scenario]
    outcome = check_unnoticed(command, way, tmp_path / "trace", LANG="C.UTF-8")
    assert outcome.status == STATUS
    assert b"main: own, changed\n" in outcome.stdout


@pytest.mark.parametrize("binding", BINDING)
@pytest.mark.parametrize("scenario", [name for name in C_SCENARIOS if name != ONLY_WITHOUT_SCRIPT])
@every_way
def test_a_destructor_in_c_beside_shared_pages(
    programs: dict[str, Path], tmp_path: Path, binding: str, scenario: str, way: Way
) -> None:
    command: list[str | Path] = [programs[f"script-{binding}"], "-x", "value", scenario]
    outcome = check_unnoticed(command, way, tmp_path / "trace", LANG="C.UTF-8")
    assert outcome.status == STATUS
    if scenario == ONLY_WITH_SCRIPT:
        assert b"shared data: shared and changed\n" in outcome.stdout


@pytest.mark.parametrize("kind", LINKING)
@pytest.mark.parametrize("scenario", CXX_SCENARIOS)
@every_way
def test_a_destructor_in_cxx(cxx_programs: dict[str, Path], tmp_path: Path, kind: str, scenario: str, way: Way) -> None:
    outcome = check_unnoticed([cxx_programs[kind], scenario], way, tmp_path / "trace")
    assert outcome.status == STATUS
    assert b"main: the program's own string" in outcome.stdout

"""What of an object can be closed, however it is linked: its own data, not RELRO, not what is marked as shared."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from elf_building import stripped_of_sections
from isolation_running import FIXTURES, answers, build_probe, compile_into
from runtime_running import HEADERS, LIMIT, build, library, run_covered, tool

from ia2exit.elf.image import ElfImage
from ia2exit.elf.writable import is_closed
from ia2exit.events import Object

SCRIPT = f"-Wl,-T,{HEADERS / 'ia2_shared.ld'}"
PT_LOAD, PT_GNU_RELRO = 1, 0x6474E552

#: Name -> (linker flags, what becomes of a relocated constant).
LINKED: dict[str, tuple[list[str], str]] = {
    "plain": ([], "open"),
    "now": (["-Wl,-z,now"], "open"),
    "lazy": (["-Wl,-z,lazy"], "open"),
    "norelro": (["-Wl,-z,norelro"], "closed"),
    "large-pages": (["-Wl,-z,separate-code,-z,max-page-size=65536"], "open"),
    "noseparate-code": (["-Wl,-z,noseparate-code"], "open"),
    "lld": (["-fuse-ld=lld"], "open"),
    "lld-norelro": (["-fuse-ld=lld", "-Wl,-z,norelro"], "closed"),
    "lld-separate": (["-fuse-ld=lld", "-Wl,-z,separate-loadable-segments"], "open"),
    "lld-rodynamic": (["-fuse-ld=lld", "-Wl,-z,rodynamic"], "open"),
    "gold": (["-fuse-ld=gold"], "open"),
    "gold-norelro": (["-fuse-ld=gold", "-Wl,-z,norelro"], "closed"),
}
KINDS = {
    "library": ["-shared", "-fPIC"],
    "pie": ["-fPIE", "-pie", "-DPROGRAM"],
    "fixed": ["-fno-pie", "-no-pie", "-DPROGRAM"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranges")
    build_probe(folder)
    compile_into(folder / "caller", FIXTURES / "caller.c")
    return folder


def link(folder: Path, kind: str, name: str, *flags: str) -> Path:
    """Compile layout.c in a way."""
    where: list[str | Path] = [folder / "libprobe.so", f"-Wl,-rpath,{folder}"]
    return compile_into(folder / f"{kind}-{name}.so", FIXTURES / "layout.c", *KINDS[kind], *where, *flags)


def ask(folder: Path, kind: str, path: Path, *more: str | Path) -> dict[str, str]:
    return answers(folder / "caller", path, *more) if kind == "library" else answers(path)


def segments(path: Path) -> list[tuple[int, list[int]]]:
    """(offset in the file, fields) of each program header: type, flags, offset, vaddr, paddr, filesz, memsz, align."""
    data = path.read_bytes()
    (start,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    return [(at, list(struct.unpack_from("<IIQQQQQQ", data, at))) for at in range(start, start + size * count, size)]


def said_of_file(path: Path, names: list[str]) -> dict[str, str]:
    """What Python says of these variables from the file alone: by their names, else by their first whole page."""
    image = ElfImage(path)
    assert image.symtab is not None
    found = image.symtab.named(names)
    said = {}
    for name in names:
        rva = int(image.symtab.entries["value"][found[name][0]])
        place = (rva + 4095) & -4096 if name == "shared_large" else rva
        said[name] = "closed" if is_closed(image, place, 1) else "open"
    return said


def writable_pages(path: Path) -> int:
    """How many pages the kernel and ld.so leave writable; RELRO is rounded down at both ends (elf/dl-reloc.c)."""
    pages: set[int] = set()
    relro: set[int] = set()
    for _, (kind, flags, _, start, _, _, size, _) in segments(path):
        if kind == PT_LOAD and flags & 2:
            pages |= set(range(start // 4096, -(-(start + size) // 4096)))
        elif kind == PT_GNU_RELRO:
            relro = set(range(start // 4096, (start + size) // 4096))
    return len(pages - relro)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("name", list(LINKED))
def test_own_data_is_closed_and_relro_is_not(folder: Path, name: str, kind: str) -> None:
    flags, constant = LINKED[name]
    if kind == "fixed":
        constant = "open"  # nothing to relocate: it is in .rodata
    path = link(folder, kind, name, *flags)
    got = ask(folder, kind, path)
    assert got.pop("object").endswith(f"{writable_pages(path)} pages")
    assert got == {"data": "closed", "bss": "closed", "constant": constant, "code": "open"}
    del got["code"]
    assert said_of_file(path, list(got)) == got


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("linker", ["bfd", "lld"])
def test_shared_data_with_pages_of_its_own_stays_open(folder: Path, linker: str, kind: str) -> None:
    path = link(folder, kind, f"shared-{linker}", "-DMARKED", SCRIPT, f"-fuse-ld={linker}")
    got = ask(folder, kind, path)
    assert (got["shared_small"], got["shared_large"]) == ("open", "open")
    assert (got["data"], got["bss"]) == ("closed", "closed")
    names = ["shared_small", "shared_large", "data", "bss"]
    assert said_of_file(path, names) == {name: got[name] for name in names}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("linker", ["bfd", "lld", "gold"])
def test_without_the_script_whole_pages_of_shared_data_stay_open(folder: Path, linker: str, kind: str) -> None:
    path = link(folder, kind, f"unscripted-{linker}", "-DMARKED", f"-fuse-ld={linker}")
    got = ask(folder, kind, path)
    assert got["shared_large"] == "open"
    assert (got["data"], got["bss"]) == ("closed", "closed")
    names = ["shared_small", "shared_large", "data", "bss"]
    assert said_of_file(path, names) == {name: got[name] for name in names}


@pytest.mark.parametrize("marked", [True, False])
def test_only_an_object_with_the_marker_needs_its_section_headers(folder: Path, marked: bool) -> None:
    flags = ["-DMARKED"] if marked else []
    whole = link(folder, "library", f"whole-{marked}", *flags)
    got = ask(folder, "library", stripped_of_sections(whole, folder / f"stripped-{marked}.so"))
    if marked:
        assert got["object"].startswith("its file cannot be read any more")
        assert got["data"] == "open"
    else:
        assert got["data"] == "closed"


@pytest.mark.parametrize("build_id", ["sha1", "none"])
def test_a_file_that_was_replaced_after_it_was_loaded_is_not_believed(folder: Path, build_id: str) -> None:
    path = link(folder, "library", "replaced", "-DMARKED", f"-Wl,--build-id={build_id}")
    other = link(folder, "library", "other", "-DMARKED", SCRIPT, f"-Wl,--build-id={build_id}")
    got = ask(folder, "library", path, other)
    assert got["object"].startswith("its file cannot be read any more")
    assert got["data"] == "open"


def test_the_same_layout_with_another_build_id_is_another_file(folder: Path) -> None:
    path = link(folder, "library", "first-id", "-DMARKED", SCRIPT, "-Wl,--build-id=0x0011")
    other = link(folder, "library", "second-id", "-DMARKED", SCRIPT, "-Wl,--build-id=0x0022")
    assert ask(folder, "library", path)["data"] == "closed"
    assert ask(folder, "library", path, other)["data"] == "open"


def test_a_program_that_ld_so_starts_is_found(folder: Path) -> None:
    """/proc/self/exe is ld.so then, and no file of the program's; the probe does not know its path."""
    loader = next(Path("/lib64").glob("ld-linux-x86-64.so.2"))
    path = link(folder, "pie", "by-loader", "-DMARKED", SCRIPT)
    assert ask(folder, "pie", path)["data"] == "closed"
    assert answers(loader, path)["object"].startswith("its file cannot be read any more")


def test_a_name_table_in_a_writable_segment_stays_open(folder: Path) -> None:
    """As patchelf leaves it: names, symbols and the dynamic section in a writable segment that it adds."""
    path = link(folder, "library", "patched")
    before = sum(fields[0] == PT_LOAD for _, fields in segments(path))
    subprocess.run([tool("patchelf"), "--set-rpath", f"{folder}:" + "x" * 5000, path], timeout=LIMIT, check=True)
    assert sum(fields[0] == PT_LOAD for _, fields in segments(path)) > before
    got = ask(folder, "library", path)
    assert got.pop("object").endswith("pages")
    assert got == {"data": "closed", "bss": "closed", "constant": "open", "code": "open"}


def test_code_in_a_writable_segment_is_never_closed(folder: Path) -> None:
    path = link(folder, "fixed", "executable-data")
    data = bytearray(path.read_bytes())
    ((at, load),) = [s for s in segments(path) if s[1][0] == PT_LOAD and s[1][1] & 2]
    struct.pack_into("<I", data, at + 4, load[1] | 1)
    path.write_bytes(data)
    got = ask(folder, "fixed", path)
    assert got["object"] == "its code and its writable data share a segment"
    assert (got["data"], got["code"]) == ("open", "open")


def test_more_segments_than_the_table_has_room_for_are_left_open(folder: Path) -> None:
    def far(count: int) -> list[str]:
        return [f"-Wl,--section-start=.far{i}={0x1000000 * i:#x}" for i in range(1, count + 1)]

    got = ask(folder, "library", link(folder, "library", "many", "-DMANY=0", *far(5)))
    assert got["object"] == "its writable data lies in too many pieces"
    assert (got["data"], got["far"]) == ("open", "open")
    got = ask(folder, "library", link(folder, "library", "few", "-DMANY=0", *far(2)))
    assert (got["data"], got["far"]) == ("closed", "closed")


@pytest.mark.parametrize(("back", "size"), [(4096, 4096), (8192, 4096), (8192 - 100, 4096), (4196, 4095), (4196, 4196)])
def test_odd_relro_is_left_out_as_ld_so_protects_it(folder: Path, back: int, size: int) -> None:
    """RELRO over the end of .bss, or in the middle of it, or of parts of pages: what is read-only then, and no more."""
    path = link(folder, "library", f"relro-{back}-{size}")
    data = bytearray(path.read_bytes())
    ((_, load),) = [s for s in segments(path) if s[1][0] == PT_LOAD and s[1][1] & 2]
    ((at, relro),) = [s for s in segments(path) if s[1][0] == PT_GNU_RELRO]
    end = -(-(load[3] + load[6]) // 4096) * 4096
    relro[3], relro[6] = end - back, size
    struct.pack_into("<IIQQQQQQ", data, at, *relro)
    path.write_bytes(data)
    got = ask(folder, "library", path)
    assert got["object"].endswith(f"{writable_pages(path)} pages")
    assert (got["data"], got["constant"]) == ("closed", "closed")


def test_no_relocation_is_left_in_a_marked_object_with_the_script(folder: Path) -> None:
    path = link(folder, "library", "text", "-DMARKED", SCRIPT, "-Wl,-z,text")
    shown = subprocess.run([tool("readelf"), "-dW", path], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert "TEXTREL" not in shown.stdout


@pytest.mark.parametrize(("marked", "stripped"), [(True, True), (True, False), (False, True)])
def test_the_runtime_says_why_an_object_is_not_isolated(tmp_path: Path, marked: bool, stripped: bool) -> None:
    program = build(tmp_path, "objects.c")
    marker: list[str | Path] = ["-include", HEADERS / "ia2_exit_note.h"] if marked else []
    plugin = library(tmp_path, "plugin.c", "plugin.so", *marker)
    if stripped:
        stripped_of_sections(plugin, plugin)
    outcome = run_covered([program, "stay", plugin])
    assert outcome.faults == []
    (event,) = {e.why_not for e in outcome.events if isinstance(e, Object) and e.path == str(plugin)}
    assert bool(event) == (marked and stripped)
    assert not event or event.startswith("its file cannot be read any more")

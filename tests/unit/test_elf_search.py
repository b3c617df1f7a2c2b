"""Dependencies are found where ld.so finds them: each case is compared with the ld.so of this machine."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from pathlib import Path

import pytest
from elf_building import build, command, distribution_programs

from ia2exit.elf import ldcache
from ia2exit.elf.closure import Closure
from ia2exit.elf.constants import R_X86_64_COPY
from ia2exit.elf.loader import DEFAULT_INTERPRETER, Loader, loader
from ia2exit.elf.search import Loaded, expand, needed_objects
from ia2exit.errors import Ia2exitError

MAIN = "int value(void); int main(void) { return value(); }"


def _ld_so_lists(program: Path, **environment: str) -> list[str]:
    """Paths that ld.so loads for a program, in order; it stops before the program's first instruction."""
    traced = command(program, env={"LD_TRACE_LOADED_OBJECTS": "1", "PATH": os.environ["PATH"], **environment})
    lines = [line.strip().rsplit(" (", 1)[0].split(" => ")[-1] for line in traced.splitlines()]
    return [line for line in lines if not line.startswith("linux-vdso") and line != "statically linked"]


def _found(program: Path, **environment: str) -> list[str]:
    return [loaded.path for loaded in needed_objects(str(program), environment=environment)][1:]


def test_a_hundred_programs_need_what_ld_so_loads_in_the_same_order() -> None:
    programs = distribution_programs(100, seed=3)
    assert len(programs) >= 50
    different = {path.name: (_found(path), _ld_so_lists(path)) for path in programs}
    assert {name: pair for name, pair in different.items() if pair[0] != pair[1]} == {}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Folders ``a``, ``b`` and ``c``, each with its own libvalue.so."""
    for number, name in enumerate("abc"):
        (tmp_path / name).mkdir()
        build(tmp_path / name / "libvalue.so", f"int value(void) {{ return {number}; }}")
    return tmp_path


def _program(folder: Path, *flags: str) -> Path:
    return build(folder / "program", MAIN, f"-L{folder}/a", "-lvalue", *flags)


@pytest.mark.parametrize(
    ("flags", "library_path"),
    [
        (["-Wl,--enable-new-dtags,-rpath,$ORIGIN/b"], None),
        (["-Wl,--disable-new-dtags,-rpath,$ORIGIN/b"], None),
        (["-Wl,--enable-new-dtags,-rpath,$ORIGIN/b"], "c"),
        (["-Wl,--disable-new-dtags,-rpath,$ORIGIN/b"], "c"),
        (["-Wl,--enable-new-dtags,-rpath,${ORIGIN}/none:/nowhere:$ORIGIN/c"], None),
        ([], "c:a"),
        ([], "none;b"),
    ],
)
def test_rpath_beats_library_path_beats_runpath(here: Path, flags: list[str], library_path: str | None) -> None:
    program = _program(here, *flags)
    words = re.split("([:;])", library_path) if library_path else []
    joined = "".join(word if word in ":;" else str(here / word) for word in words)
    environment = {"LD_LIBRARY_PATH": joined} if library_path else {}
    assert _found(program, **environment) == _ld_so_lists(program, **environment)


@pytest.mark.parametrize(("tags", "inherited"), [("disable", True), ("enable", False)])
def test_rpath_is_inherited_and_runpath_is_not(here: Path, tags: str, inherited: bool) -> None:
    middle = build(
        here / "libmiddle.so", "int value(void); int mid(void) { return value(); }", f"-L{here}/b", "-lvalue"
    )
    flags = (f"-Wl,--{tags}-new-dtags,-rpath,{here}:{here}/b", "-Wl,--allow-shlib-undefined")
    program = build(here / "program", "int mid(void); int main(void) { return mid(); }", middle, *flags)
    if inherited:
        assert f"{here}/b/libvalue.so" in _found(program)
        assert _found(program) == _ld_so_lists(program)
    else:
        with pytest.raises(Ia2exitError, match=r"libmiddle\.so: needs libvalue\.so, which .*program needs in turn"):
            _found(program)


def test_origin_of_a_program_is_where_its_link_leads(here: Path) -> None:
    program = _program(here, "-Wl,-rpath,$ORIGIN/b")
    (here / "elsewhere").mkdir()
    link = here / "elsewhere" / "link"
    link.symlink_to(program)
    assert _found(link) == _ld_so_lists(link)
    assert _found(link)[0] == f"{here}/b/libvalue.so"


def test_an_object_for_another_machine_is_passed_over(here: Path) -> None:
    program = _program(here, f"-Wl,-rpath,{here}/a:{here}/b")
    content = bytearray((here / "a" / "libvalue.so").read_bytes())
    content[4] = 1
    (here / "a" / "libvalue.so").write_bytes(content)
    assert _found(program) == _ld_so_lists(program)
    assert _found(program)[0] == f"{here}/b/libvalue.so"


def test_two_names_for_one_file_are_one_object(here: Path) -> None:
    (here / "a" / "libother.so").symlink_to("libvalue.so")
    user = "int value(void); int other(void) { return value(); }"
    build(here / "a" / "libuser.so", user, "-Wl,--no-as-needed", "-L.", f"-L{here}/a", "-l:libother.so")
    flags = ("-Wl,--no-as-needed", f"-L{here}/a", "-lvalue", "-luser", f"-Wl,--disable-new-dtags,-rpath,{here}/a")
    program = build(here / "program", MAIN, *flags)
    assert _found(program) == _ld_so_lists(program)
    assert sum("libother" in path or "libvalue" in path for path in _found(program)) == 1


def test_a_missing_dependency_names_who_needs_it_and_the_remedy(here: Path) -> None:
    program = _program(here)
    with pytest.raises(Ia2exitError) as error:
        needed_objects(str(program), environment={})
    assert str(error.value).startswith(f"{program}: needs libvalue.so, but")
    assert "LD_LIBRARY_PATH" in str(error.value)


def test_tokens_are_expanded_braced_or_not_and_unknown_ones_stay() -> None:
    ld_so = Loader("/lib64/ld-linux-x86-64.so.2", (), "lib/x86_64-linux-gnu")
    expanded = expand("$ORIGIN/../$LIB:${PLATFORM}/${ORIGIN}x/$OTHER", "/opt/app/bin", ld_so)
    assert expanded == "/opt/app/bin/../lib/x86_64-linux-gnu:x86_64//opt/app/binx/$OTHER"


def test_default_folders_are_those_built_into_ld_so() -> None:
    help_text = command(DEFAULT_INTERPRETER, "--help")
    printed = re.findall(r"^  (/\S+) \(system search path\)", help_text, re.MULTILINE)
    assert list(loader(DEFAULT_INTERPRETER).folders) == printed
    assert printed


def test_the_cache_says_what_ldconfig_prints() -> None:
    printed = command("/sbin/ldconfig", "-p")
    expected: dict[str, str] = {}
    for name, path in re.findall(r"^\t(\S+) \(libc6,x86-64\) => (.*)$", printed, re.MULTILINE):
        expected.setdefault(name, path)
    assert ldcache.read(Path("/etc/ld.so.cache"), []) == expected
    assert expected


def _cache_file(entries: list[tuple[str, str, int]], hwcaps: list[str]) -> bytes:
    """A cache in the new format: (soname, path, hwcap word) each, and the names of glibc-hwcaps subdirectories."""
    names = sorted({text for entry in entries for text in entry[:2]} | set(hwcaps))
    start = 48 + 24 * len(entries) + 8 + 16 + 4 * len(hwcaps)
    offset = {name: start + sum(len(other) + 1 for other in names[:at]) for at, name in enumerate(names)}
    extension = 48 + 24 * len(entries)
    header = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", len(entries), 0, 2, extension)
    rows = b"".join(struct.pack("<iIIIQ", 0x0303, offset[name], offset[path], 0, cap) for name, path, cap in entries)
    section = struct.pack("<IIIIII", 0xEAA42174, 1, 1, 0, extension + 24, 4 * len(hwcaps))
    table = b"".join(struct.pack("<I", offset[name]) for name in hwcaps)
    return header + rows + section + table + b"".join(name.encode() + b"\0" for name in names)


def test_the_cache_prefers_the_best_cpu_level_that_this_cpu_has(tmp_path: Path) -> None:
    named = 1 << 62
    entries = [
        ("libx.so.1", "/lib/libx.so.1", 0),
        ("libx.so.1", "/lib/v2/libx.so.1", named),
        ("libx.so.1", "/lib/v3/libx.so.1", named | 1),
        ("liby.so.1", "/lib/haswell/liby.so.1", 4),
    ]
    file = tmp_path / "cache"
    file.write_bytes(_cache_file(entries, ["x86-64-v2", "x86-64-v3"]))
    assert ldcache.read(file, ["x86-64-v3", "x86-64-v2"]) == {"libx.so.1": "/lib/v3/libx.so.1"}
    assert ldcache.read(file, ["x86-64-v2"]) == {"libx.so.1": "/lib/v2/libx.so.1"}
    assert ldcache.read(file, []) == {"libx.so.1": "/lib/libx.so.1"}


def test_a_damaged_or_missing_cache_counts_as_empty(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    assert ldcache.read(file, []) == {}
    whole = _cache_file([("libx.so.1", "/lib/libx.so.1", 0)], [])
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        assert set(ldcache.read(file, [])) <= {"libx.so.1"}


def _copied(program: Loaded) -> set[tuple[str, str]]:
    """Copy relocations of a program: their look-up, printed last, leaves the program itself out."""
    rows = program.image.relocations
    indices = rows["symbol"][rows["type"] == R_X86_64_COPY].tolist()
    return {(program.path, program.image.dynsym.name(index)) for index in indices}


BINDING = re.compile(r"binding file (\S+) \[0\] to (\S+) \[0\]: normal symbol `([^']+)'")


def _bindings(program: Path, *arguments: str) -> dict[tuple[str, str], str]:
    """(file, symbol) -> file that ld.so bound it to, for all symbols of a start with LD_BIND_NOW."""
    environment = {"LD_DEBUG": "bindings", "LD_BIND_NOW": "1", "PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    return {(user, symbol): target for user, target, symbol in BINDING.findall(done.stderr)}


@pytest.mark.parametrize("program", ["openssl version", "gdb --version", "cmake --version", "xz --version"])
def test_symbols_bind_to_the_object_that_ld_so_binds_them_to(program: str) -> None:
    name, argument = program.split()
    path = Path("/usr/bin") / name
    if not path.exists():
        path = Path("/usr/bin/ld")
    bound = _bindings(path, argument)
    objects = needed_objects(str(path), environment={})
    closure = Closure(objects)
    by_path = {loaded.path: loaded for loaded in objects}
    sample = sorted(key for key in bound if key[0] in by_path and key not in _copied(objects[0]))
    random.Random(4).shuffle(sample)
    assert len(sample) > 50
    wrong = {}
    for user, symbol in sample[:600]:
        found = closure.resolve(by_path[user], symbol)
        if found is None or found.loaded.path != bound[user, symbol]:
            wrong[user, symbol] = (found and found.loaded.path, bound[user, symbol])
    assert wrong == {}


@pytest.mark.parametrize("program", ["openssl version", "gdb --version", "cmake --version", "xz --version"])
def test_every_relocation_binds_where_ld_so_binds_it(program: str) -> None:
    """All symbols that relocations name, data and copies included, by position instead of by name."""
    name, argument = program.split()
    path = Path("/usr/bin") / name
    if not path.exists():
        path = Path("/usr/bin/ld")
    bound = _bindings(path, argument)
    objects = needed_objects(str(path), environment={})
    closure = Closure(objects, many=True)
    wrong, count = {}, 0
    for loaded in objects:
        rows = loaded.image.relocations
        for index in set(rows["symbol"][(rows["symbol"] != 0) & (rows["type"] != R_X86_64_COPY)].tolist()):
            symbol = loaded.image.dynsym.name(index)
            if (loaded.path, symbol) not in bound or (loaded.path, symbol) in _copied(objects[0]):
                continue
            found = closure.bind(loaded, index)
            count += 1
            if found is None or found.loaded.path != bound[loaded.path, symbol]:
                wrong[loaded.path, symbol] = (found and found.loaded.path, bound[loaded.path, symbol])
    assert wrong == {}
    assert count > 200


def test_a_copy_comes_from_behind_the_program() -> None:
    program = next(path for path in distribution_programs(200, seed=5) if _copied(needed_objects(str(path))[0]))
    objects = needed_objects(str(program), environment={})
    closure = Closure(objects, many=True)
    rows = objects[0].image.relocations
    copies = rows["symbol"][rows["type"] == R_X86_64_COPY].tolist()
    assert copies
    for index in copies:
        found, own = closure.bind(objects[0], index, copy=True), closure.bind(objects[0], index)
        assert found is not None
        assert found.loaded is not objects[0]
        assert own is not None
        assert own.loaded is objects[0]


def test_a_required_version_chooses_among_definitions(tmp_path: Path) -> None:
    source = """
    int old(void) { return 1; } int new(void) { return 2; }
    __asm__(".symver old,value@V1"); __asm__(".symver new,value@@V2");
    """
    script = tmp_path / "script"
    script.write_text("V1 { global: value; local: *; }; V2 { global: value; } V1;")
    library = build(tmp_path / "libversions.so", source, f"-Wl,--version-script={script}")
    program = build(tmp_path / "program", MAIN, library, f"-Wl,-rpath,{tmp_path}")
    objects = needed_objects(str(program), environment={})
    found = Closure(objects).resolve(objects[0], "value")
    nm = re.search(r"^([0-9a-f]+) . value@@V2", command("nm", "-D", "--with-symbol-versions", library), re.MULTILINE)
    assert found is not None
    assert nm is not None
    assert found.rva == int(nm[1], 16)


def test_an_object_linked_with_bsymbolic_binds_to_itself(tmp_path: Path) -> None:
    own = "int value(void) { return 3; } int use(void) { return value(); } int (*hold)(void) = value;"
    other = build(tmp_path / "libother.so", "int value(void) { return 4; }")
    library = build(tmp_path / "libown.so", own, "-Wl,-Bsymbolic", other)
    program = build(tmp_path / "program", MAIN, "-Wl,--no-as-needed", other, library, f"-Wl,-rpath,{tmp_path}")
    objects = needed_objects(str(program), environment={})
    by_name = {Path(loaded.path).name: loaded for loaded in objects}
    closure = Closure(objects)
    in_program, in_library = closure.resolve(objects[0], "value"), closure.resolve(by_name["libown.so"], "value")
    assert in_program is not None
    assert in_library is not None
    assert in_program.loaded is by_name["libother.so"]
    assert in_library.loaded is by_name["libown.so"]


def test_a_symbol_that_nobody_defines_is_bound_to_nothing() -> None:
    objects = needed_objects("/usr/bin/env", environment={})
    assert Closure(objects).resolve(objects[0], "no_such_symbol_anywhere") is None

"""``check``, group symbols: data that crosses compartments, definitions that are taken from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from checked_programs import MAIN, POLICY, found, library, linked, mapped, program_of
from elf_building import build
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_running import HEADERS

import ia2exit
from ia2exit.checking import CheckResult, Finding
from ia2exit.elf.constants import DT_SYMTAB
from ia2exit.elf.image import ElfImage
from ia2exit.errors import Ia2exitError
from ia2exit.model import SHARED, Compartment, ExitMap

SHARED_SCRIPT = f"-Wl,-T,{HEADERS / 'ia2_shared.ld'}"
PIC = "-fPIC"


def check(program: Path, *plugins: Path, allow: tuple[str, ...] = (), policy: str = POLICY) -> CheckResult:
    exit_map = mapped(program, *plugins, policy=policy)
    return ia2exit.check(program, exit_map, plugins=plugins, only="symbols", allow=allow)


def infos(result: CheckResult, name: str) -> list[Finding]:
    return [one for one in result.findings if one.name == name and one.severity == "info"]


def two_uses(folder: Path, one: str, use: str, *flags: str | Path, main: str = "int main(void) { return 0; }") -> Path:
    """libtwo.so refers to what libone.so has."""
    first = library(folder, "libone.so", one, *flags)
    return linked(folder, main, first, library(folder, "libtwo.so", use, first))


COUNTER = "int counter = 1;"
USE = "extern int counter; int use(void) { return counter++; }"


def test_calls_across_are_information(tmp_path: Path) -> None:
    result = check(program_of(tmp_path))
    assert result.agrees
    assert found(result, infos=True) == [("functions", "info", "program"), ("functions", "info", "program")]
    assert sorted(one.what for one in result.findings) == [
        "1 function of libone.so, compartment 2 (one)",
        "1 function of libtwo.so, compartment 3 (two)",
    ]
    assert result.references > 2


def test_data_of_another_compartment_is_a_crossing(tmp_path: Path) -> None:
    result = check(two_uses(tmp_path, COUNTER, USE))
    (one,) = result.findings
    assert (one.name, one.severity) == ("data", "crossing")
    assert one.object == str(tmp_path / "libtwo.so")
    assert one.what == "counter, data of libone.so, compartment 2 (one)"
    assert one.found == "libtwo.so refers to it"
    assert "--allow 'counter@libone.so'" in str(one.remedy)


def test_data_within_a_compartment_or_of_a_shared_object_is_none(tmp_path: Path) -> None:
    program = two_uses(tmp_path, COUNTER, USE)
    together = POLICY.split("[compartments.two]")[0].replace('["libone.so"]', '["libone.so", "libtwo.so"]')
    assert check(program, policy=together).findings == []
    shared = 'version = 1\nshared = ["libone.so"]\n[compartments.two]\nobjects = ["libtwo.so"]\n'
    assert check(program, policy=shared).findings == []


def test_shared_code_that_refers_to_data_of_a_compartment_is_a_crossing_too(tmp_path: Path) -> None:
    program = two_uses(tmp_path, COUNTER, USE)
    policy = 'version = 1\nunlisted = "shared"\n[compartments.one]\nobjects = ["libone.so"]\n'
    assert found(check(program, policy=policy)) == [("data", "crossing", "libtwo.so")]


def test_objects_that_the_map_does_not_name_are_each_their_own(tmp_path: Path) -> None:
    program = two_uses(tmp_path, COUNTER, USE)
    exit_map = msgspec.structs.replace(mapped(program, policy="version = 1\n"), unlisted="each")
    kept = [item for item in exit_map.objects if item.name not in ("libone.so", "libtwo.so")]
    result = ia2exit.check(program, msgspec.structs.replace(exit_map, objects=kept), only="symbols")
    assert found(result) == [("data", "crossing", "libtwo.so")]
    assert result.findings[0].what == "counter, data of libone.so, a compartment of its own"


def test_data_of_threads_is_a_crossing_of_its_own_name(tmp_path: Path) -> None:
    """The first variable of an object's TLS has offset 0: a definition all the same."""
    use = "extern __thread int counter; int use(void) { return counter++; }"
    result = check(two_uses(tmp_path, "__thread int counter = 1;", use))
    (one,) = result.findings
    assert (one.name, one.severity, one.what) == (
        "tls",
        "crossing",
        "counter, data of threads of libone.so, compartment 2 (one)",
    )
    assert "IA2_SHARED_DATA" not in str(one.remedy)


@pytest.mark.parametrize(
    "constant", ["const int counter = 1;", "static int other; int *const counter = &other;"], ids=["rodata", "relro"]
)
def test_data_that_is_never_closed_is_information(tmp_path: Path, constant: str) -> None:
    use = "extern const int counter; int use(void) { return counter; }"
    result = check(two_uses(tmp_path, constant, use, "-Wl,-z,relro"))
    assert result.agrees
    assert [one.found for one in infos(result, "open-data")] == ["counter: in memory that is not closed to it"]


def test_without_relro_the_same_constant_is_closed(tmp_path: Path) -> None:
    use = "extern const int counter; int use(void) { return counter; }"
    constant = "static int other; int *const counter = &other;"
    assert found(check(two_uses(tmp_path, constant, use, "-Wl,-z,norelro"))) == [("data", "crossing", "libtwo.so")]


@pytest.mark.parametrize(("flags", "open"), [([SHARED_SCRIPT], True), ([], False)])
def test_shared_data_may_cross_where_it_has_pages_of_its_own(tmp_path: Path, flags: list[str], open: bool) -> None:
    one = '#include "ia2_exit.h"\nIA2_SHARED_DATA int counter = 1; int other = 2;'
    result = check(two_uses(tmp_path, one, USE, *flags))
    assert result.agrees == open
    assert len(infos(result, "open-data")) == open


# Copies --------------------------------------------------------------------------------------------------------

COPYING = "extern int counter; int main(void) { return counter; }"


def test_a_copy_relocation_of_another_compartments_data_is_one_crossing(tmp_path: Path) -> None:
    own = COUNTER + "int look(void) { return counter; }"
    program = linked(tmp_path, COPYING, library(tmp_path, "libone.so", own), library(tmp_path, "libtwo.so", "int two;"))
    result = check(program)
    (one,) = result.findings  # libone.so's own use of the copy is the same crossing
    assert (one.name, one.severity, one.object) == ("copied", "crossing", str(program))
    assert "R_X86_64_COPY" in one.found
    assert "-fPIC" in str(one.remedy)


def test_a_third_compartment_that_uses_a_copy_crosses_too(tmp_path: Path) -> None:
    program = two_uses(tmp_path, COUNTER, USE, main=COPYING)
    assert found(check(program)) == [("copied", "crossing", "program"), ("data", "crossing", "libtwo.so")]


def test_what_the_program_copies_from_a_shared_object_is_everybodys(tmp_path: Path) -> None:
    """The runtime lets each of them through, to the byte; `environ` is an alias of the copy of `__environ`."""
    main = """
    #include <stdio.h>
    extern char **environ;
    int main(void) { fputs(environ[0], stdout); return 0; }
    """
    use = "#include <stdio.h>\nextern char **__environ; int use(void) { return puts(__environ[0]) + fflush(stdout); }"
    program = two_uses(tmp_path, COUNTER, use, main=main)
    result = check(program)
    assert result.agrees
    assert any("stdout" in one.found for one in infos(result, "open-data"))
    assert ("open-data", "info", "libc.so.6") in found(result, infos=True)


# Interposition -------------------------------------------------------------------------------------------------

TWICE = "int value(void) {{ return {0}; }} int use_{0}(void) {{ return value(); }}"


@pytest.mark.parametrize("what", ["int value = {0}; int use_{0}(void) {{ return value; }}", TWICE])
def test_a_definition_that_another_compartments_replaces_is_an_error(tmp_path: Path, what: str) -> None:
    result = check(program_of(tmp_path, one=what.format(1), two=what.format(2), main="int main(void) { return 0; }"))
    (one,) = result.findings
    assert (one.name, one.severity) == ("interposed", "error")
    assert one.object == str(tmp_path / "libtwo.so")
    assert one.found.startswith("bound to that of libone.so, compartment 2 (one)")


@pytest.mark.parametrize("flags", [["-Wl,-Bsymbolic"], ["-fvisibility=hidden"], ["-fvisibility=protected"]])
def test_a_definition_that_cannot_be_replaced_is_none(tmp_path: Path, flags: list[str]) -> None:
    one = library(tmp_path, "libone.so", TWICE.format(1))
    program = linked(
        tmp_path, "int main(void) { return 0; }", one, library(tmp_path, "libtwo.so", TWICE.format(2), *flags)
    )
    assert check(program).findings == []


@pytest.mark.parametrize("visibility", [2, 3], ids=["hidden", "protected"])
def test_a_relocation_against_a_symbol_that_is_not_for_others_binds_here(tmp_path: Path, visibility: int) -> None:
    """Linkers leave no symbol in such a relocation; ld.so would look at its visibility (glibc elf/dl-reloc.c)."""
    what = "int value = {0}; int use_{0}(void) {{ return value; }}"
    program = program_of(tmp_path, one=what.format(1), two=what.format(2), main="int main(void) { return 0; }")
    image = ElfImage(tmp_path / "libtwo.so")
    (index,) = image.dynsym.named(["value"])["value"]
    place = image.offset(image.dynamic[DT_SYMTAB] + index * image.dynsym.entries.itemsize + 5)
    assert place is not None
    content = bytearray(image.data)
    content[place] = visibility  # st_other
    (tmp_path / "libtwo.so").unlink()
    (tmp_path / "libtwo.so").write_bytes(content)
    assert check(program).findings == []


def test_inline_functions_and_variables_are_bound_together_by_design(tmp_path: Path) -> None:
    weak = "__attribute__((weak)) int value = 1; __attribute__((weak)) int get(void) { return value; }"
    use = "int use(void) { return get() + value; }"
    result = check(program_of(tmp_path, one=weak + use, two=weak + use, main="int main(void) { return 0; }"))
    assert result.agrees
    assert found(result, infos=True) == [("functions", "info", "libtwo.so"), ("vague", "info", "libtwo.so")]


@pytest.mark.parametrize("name", ["__cxa_atexit", "on_exit", "pthread_key_create", "__cxa_thread_atexit_impl"])
def test_a_registration_function_of_somebody_else_is_an_error(tmp_path: Path, name: str) -> None:
    taken = f"int {name}(void) {{ return 0; }}"
    use = f"int {name}(void); int use(void) {{ return {name}(); }}"
    result = check(two_uses(tmp_path, taken, use))
    (one,) = (one for one in result.findings if one.severity == "error")
    assert (one.name, one.object) == ("registration", str(tmp_path / "libone.so"))
    assert one.what.startswith(f"{name}, as ")
    assert "libtwo.so" in one.what


def test_a_registration_function_of_ones_own_is_no_better(tmp_path: Path) -> None:
    source = "int on_exit(void) { return 0; } int use(void) { return on_exit(); }"
    assert found(check(program_of(tmp_path, one=source, main="int main(void) { return 0; }"))) == [
        ("registration", "error", "libone.so")
    ]


def test_libc_and_libstdcxx_may_define_them(tmp_path: Path) -> None:
    source = """
    struct S { S(); ~S(); }; thread_local S s; S::S() {} S::~S() {} extern "C" void one() { (void)&s; }
    """
    one = build(tmp_path / "libone.so", source, "-Wl,-soname,libone.so", language="cc")
    program = linked(
        tmp_path, "void one(void); int main(void) { one(); }", one, library(tmp_path, "libtwo.so", "int t;")
    )
    assert check(program).agrees


# Binding -------------------------------------------------------------------------------------------------------


def test_versions_decide_which_definition_is_meant(tmp_path: Path) -> None:
    """libone.so comes first and has the name in another version: the reference passes it by."""
    script = tmp_path / "script"
    script.write_text("V1 { global: counter; };")
    two = library(tmp_path, "libtwo.so", COUNTER, f"-Wl,--version-script={script}")
    script.write_text("V2 { global: counter; };")
    one = library(tmp_path, "libone.so", "int counter = 2;", f"-Wl,--version-script={script}")
    user = library(tmp_path, "libuser.so", USE, two)
    program = linked(tmp_path, "int main(void) { return 0; }", one, two, user)
    policy = POLICY + '[compartments.user]\nid = 4\nobjects = ["libuser.so"]\n'
    (one_finding,) = check(program, policy=policy).findings
    assert one_finding.what == "counter, data of libtwo.so, compartment 3 (two)"


def test_a_plugin_binds_to_the_program_first_then_to_its_own_libraries(tmp_path: Path) -> None:
    program = program_of(tmp_path, one=COUNTER + "void one(void) {}")
    folder = tmp_path / "plugins"
    folder.mkdir()
    own = library(folder, "libown.so", COUNTER + "int other = 3;")
    use = "extern int counter, other; int use(void) { return counter++ + other++; }"
    plugin = library(folder, "libplugin.so", use, own, f"-Wl,-rpath,{folder}")
    policy = POLICY + '[compartments.plugin]\nid = 4\nobjects = ["libplugin.so"]\n'
    policy += '[compartments.own]\nid = 5\nobjects = ["libown.so"]\n'
    result = check(program, plugin, policy=policy)
    assert sorted(one.what for one in result.findings if one.severity == "crossing") == [
        "counter, data of libone.so, compartment 2 (one)",
        "other, data of libown.so, compartment 5 (own)",
    ]


# What is allowed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["counter@libone.so", "count*@libone*", "counter@*/libone.so"])
def test_a_crossing_may_be_allowed(tmp_path: Path, pattern: str) -> None:
    result = check(two_uses(tmp_path, COUNTER, USE), allow=(pattern,))
    assert (result.agrees, result.findings, result.allowed) == (True, [], 1)


def test_data_of_the_program_is_allowed_by_main(tmp_path: Path) -> None:
    program = program_of(tmp_path, one="extern int counter; int one(void) { return counter; }", main=COUNTER + MAIN)
    # the executable exports what a library refers to
    assert found(check(program)) == [("data", "crossing", "libone.so")]
    assert check(program, allow=("counter@@main",)).agrees


def test_an_interposition_may_be_allowed_a_registration_not(tmp_path: Path) -> None:
    program = program_of(tmp_path, one=TWICE.format(1), two=TWICE.format(2), main="int main(void) { return 0; }")
    assert check(program, allow=("value@libone.so",)).findings == []
    taken = program_of(
        tmp_path,
        one="int on_exit(void) { return 0; }",
        two="int on_exit(void); int u(void) { return on_exit(); }",
        main="int main(void) { return 0; }",
    )
    with pytest.raises(Ia2exitError, match="no crossing to allow"):
        check(taken, allow=("on_exit@libone.so",))


@pytest.mark.parametrize("pattern", ["other@libone.so", "counter@libtwo.so"])
def test_a_pattern_that_allows_nothing_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(Ia2exitError) as caught:
        check(two_uses(tmp_path, COUNTER, USE), allow=(pattern,))
    assert str(caught.value).startswith(f'--allow "{pattern}": no crossing to allow: expected one of a symbol ')


@pytest.mark.parametrize("pattern", ["", "counter", "@libone.so", "counter@"])
def test_a_pattern_of_another_form_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(Ia2exitError, match="expected SYMBOL@OBJECT"):
        ia2exit.check("/bin/true", "map", allow=(pattern,))


# Any assignment ------------------------------------------------------------------------------------------------

#: Library -> the libraries whose variable it refers to; what is referred to comes first.
GRAPH = {
    "libthird.so": [],
    "libsecond.so": ["libthird.so"],
    "libfirst.so": ["libsecond.so", "libthird.so"],
    "libfourth.so": ["libfirst.so", "libthird.so"],
}


def variable(name: str) -> str:
    return f"of_{name.partition('.')[0]}"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExitMap]:
    """A program with these libraries, and its map."""
    folder, made = tmp_path_factory.mktemp("graph"), dict[str, Path]()
    for name, uses in GRAPH.items():
        variables = [variable(one) for one in (name, *uses)]
        source = f"int {variables[0]} = 1; extern int {', '.join(variables)};"
        source += f"int get_{variables[0]}(void) {{ return {' + '.join(variables)}; }}"
        made[name] = library(folder, name, source, *(made[use] for use in uses))
    program = linked(folder, "int main(void) { return 0; }", *made.values())
    return program, mapped(program, policy='version = 1\nunlisted = "shared"\n')


@given(chosen=st.fixed_dictionaries({name: st.integers(0, 3) for name in GRAPH}))
@settings(max_examples=40)
def test_crossings_are_the_references_between_compartments(
    graph: tuple[Path, ExitMap], chosen: Mapping[str, int]
) -> None:
    program, exit_map = graph
    compartments = [Compartment(id=number, name=f"c{number}" if number else "shared") for number in range(4)]
    objects = [
        msgspec.structs.replace(item, compartment=chosen.get(item.name, 0), destructors=[]) for item in exit_map.objects
    ]
    assigned = msgspec.structs.replace(exit_map, compartments=compartments, objects=objects)
    result = ia2exit.check(program, assigned, only="symbols")
    expected = {
        (user, variable(used))
        for user, uses in GRAPH.items()
        for used in uses
        if chosen[used] not in (SHARED, chosen[user])
    }
    crossings = [one for one in result.findings if one.severity == "crossing"]
    assert {(Path(one.object).name, one.what.partition(",")[0]) for one in crossings} == expected
    assert result.agrees == (not expected)

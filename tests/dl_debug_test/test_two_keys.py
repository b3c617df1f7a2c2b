"""scripts/check_two_keys_ldd.sh and check_two_keys_symbols.sh: on the test bed, and on programs that must not pass."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ia2exit.cli import main

from .bed import BED, BUILD, HERE, LIMIT, Bed, execute

SCRIPTS = HERE.parents[1] / "scripts"
BOTH = ["ldd", "symbols"]
every_script = pytest.mark.parametrize("group", BOTH)


def script(group: str, *arguments: str | Path, status: int) -> str:
    """What a script prints on the stream that goes with its status: the other has nothing wrong to say."""
    command = [SCRIPTS / f"check_two_keys_{group}.sh", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * LIMIT, check=False, cwd="/")
    assert done.returncode == status, done.stdout + done.stderr
    if status == 2:
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        return done.stderr
    return done.stdout


# ---- the test bed ----


@every_script
@pytest.mark.parametrize(
    "target",
    [
        "dl_debug_test",
        "dl_debug_test_program",
        "dl_debug",
        "dl_debug_library",
        "dl_debug_library_cxx",
        "libdl_debug_library_vague",
        "plugin_resident",
        "plugin_unloaded.so",
        "libdl_debug_log.so",
    ],
)
def test_the_test_bed_passes(bed: Bed, group: str, target: str) -> None:
    said = script(group, "--target", target, "--build", BUILD, status=0)
    first, last = said.splitlines()[-2:]
    assert " agrees with " in first
    assert first.endswith(f"({group})")
    assert "error" not in last


@every_script
def test_a_path_and_a_map_will_do(bed: Bed, group: str) -> None:
    program, exit_map = BED / "dl_debug_test", BED / "dl_debug_test.map"
    plugins = [BED / "plugin_resident.so", BED / "plugin_unloaded.so"]
    said = script(group, "--target", program, f"--map={exit_map}", *plugins, status=0)
    assert said.startswith(f"ia2exit: {program} agrees with {exit_map} ({group})")


@pytest.mark.parametrize("scenario", ["normal", "thread-end", "dlclose", "crossed"])
def test_a_trace_of_the_test_bed_agrees_with_its_map(
    bed: Bed, scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, exit_map, trace = BED / "dl_debug_test", BED / "dl_debug_test.map", tmp_path / "trace"
    execute(program, scenario, tmp_path, IA2_TRACE_EXIT=str(trace), IA2_EXIT_MAP=str(exit_map))
    options = ["check", str(program), "--map", f"{exit_map}.json", "--trace", str(trace), "--json"]
    status = main(options)
    errors = [one for one in json.loads(capsys.readouterr().out)["findings"] if one["severity"] == "error"]
    if scenario == "crossed":  # it has a destructor that is nobody's
        assert (status, [one["name"] for one in errors]) == (1, ["trace-owner"])
    else:
        assert (status, errors) == (0, [])


# ---- what must not pass ----


@pytest.fixture
def build_folder(tmp_path: Path) -> Path:
    """A build folder with a program of two compartments: libshop.so refers to data of libstore.so."""
    folder = tmp_path / "build" / "shop"
    folder.mkdir(parents=True)
    gcc = ["gcc", "-O1", f"-Wl,-rpath,{folder}"]

    def compiled(name: str, source: str, *flags: str | Path) -> Path:
        (folder / f"{name}.c").write_text(source)
        subprocess.run([*gcc, folder / f"{name}.c", *flags, "-o", folder / name], timeout=LIMIT, check=True)
        return folder / name

    shared = ("-shared", "-fPIC")
    store = compiled("libstore.so", "int stock = 1; void store(void) {}", *shared)
    use = "extern int stock; int sell(void) { return stock--; }"
    shop = compiled("libshop.so", use, *shared, store)
    compiled("shop", "int sell(void); int main(void) { return sell() - 1; }", shop, store)
    (folder / "shop.toml").write_text(
        'version = 1\n[compartments.shop]\nobjects = ["@main", "libshop.so"]\n'
        '[compartments.store]\nobjects = ["libstore.so"]\n'
    )
    return folder.parent


def test_a_map_is_made_from_the_policy_beside_the_program(build_folder: Path) -> None:
    assert " agrees with " in script("ldd", "--build", build_folder, "--target", "shop", status=0)


def test_data_that_crosses_is_exit_status_1_until_it_is_allowed(build_folder: Path) -> None:
    said = script("symbols", "--build", build_folder, "--target", "shop", status=1)
    assert "stock, data of libstore.so, compartment 2 (store)" in said
    said = script("symbols", "--build", build_folder, "--target", "shop", "--allow", "stock@libstore.so", status=0)
    assert "1 allowed" in said


def test_an_object_that_changed_since_its_map_is_exit_status_1(build_folder: Path) -> None:
    folder = build_folder / "shop"
    main(["map", "-q", "-p", str(folder / "shop.toml"), str(folder / "shop"), "-o", str(folder / "shop.map.json")])
    assert " agrees with " in script("ldd", "--build", build_folder, "--target", "shop", status=0)
    (folder / "more.c").write_text("int stock = 1; void store(void) {} int more;")
    command = ["gcc", "-shared", "-fPIC", str(folder / "more.c"), "-o", str(folder / "libstore.so")]
    subprocess.run(command, timeout=LIMIT, check=True)
    said = script("ldd", "--build", build_folder, "--target", "shop", status=1)
    assert "build-id" in said
    assert "it changed on disk since the map was made" in said


@every_script
def test_what_cannot_be_used_is_one_line(build_folder: Path, group: str) -> None:
    name = f"ia2exit: scripts/check_two_keys_{group}.sh: "
    there = ("--build", build_folder, "--target")
    assert script(group, status=2) == f"{name}no --target: expected a program or shared object; see --help\n"
    assert script(group, "--target", status=2) == f"{name}--target: no value, expected one; see --help\n"
    assert script(group, *there, "nothing", status=2) == (
        f"{name}--target nothing: no program or shared object of that name under {build_folder};"
        f" run: ninja -C {build_folder} nothing\n"
    )
    assert script(group, "--target", build_folder / "none", status=2).startswith(
        f"{name}--target {build_folder}/none: no such file"
    )
    assert script(group, "--build", build_folder / "none", "--target", "shop", status=2).startswith(
        f"{name}{build_folder}/none: no such folder: expected a build"
    )
    shutil.copytree(build_folder / "shop", build_folder / "copy")
    assert f"2 files under {build_folder} bear that name" in script(group, *there, "shop", status=2)
    shutil.rmtree(build_folder / "copy")
    (build_folder / "shop" / "shop.toml").unlink()
    assert "no map: expected shop.map.json or the policy shop.toml beside it" in script(group, *there, "shop", status=2)
    assert "--map" in script(group, *there, "shop", "--map", status=2)
    nowhere = build_folder / "nowhere"
    assert script(group, *there, "shop", "--map", nowhere, status=2).startswith(f"ia2exit: {nowhere}: cannot be read")


@every_script
def test_help_says_how_it_is_used(group: str) -> None:
    said = script(group, "--help", status=0)
    assert said.startswith(f"usage: scripts/check_two_keys_{group}.sh --target T [--map MAP]")
    assert "Exit status: 0 where T and its metadata agree, 1 where they do not, 2" in said

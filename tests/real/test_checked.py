"""``ia2exit check`` and real programs: a map that was just made agrees, and so does a run under it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest
from enforcing import POLICIES
from real_programs import HERE, LIMIT, require

import ia2exit
from ia2exit.exitmap import build_map, write_binary
from ia2exit.model import ExitMap, to_json
from ia2exit.policy import load_policy

SCRIPTS = HERE.parents[1] / "scripts"
#: Program -> its version's option, and the data that crosses under its policy, as it is allowed.
CHECKED: dict[str, tuple[str, list[str]]] = {
    "openssl": ("version", []),
    "git": ("--version", []),
    "cmake": ("--version", ["GSS_C_NT_HOSTBASED_SERVICE@libgssapi_krb5.so.2"]),
    "curl": ("--help", ["GSS_C_NT_HOSTBASED_SERVICE@libgssapi_krb5.so.2"]),
}


@pytest.fixture(scope="module", params=CHECKED)
def checked(request: pytest.FixtureRequest) -> tuple[Path, ExitMap]:
    """A program, and the map of its policy; plug-ins that the policy names are left out of it."""
    path = Path("/usr/bin") / request.param
    require(path)
    policy = load_policy(POLICIES / f"{request.param}.toml")
    rules = {name: rule for name, rule in policy.policy.compartments.items() if name != "legacy"}
    policy = msgspec.structs.replace(policy, policy=msgspec.structs.replace(policy.policy, compartments=rules))
    return path, build_map(policy, path)


def test_what_loads_and_what_binds_agree_with_a_map_just_made(checked: tuple[Path, ExitMap]) -> None:
    path, exit_map = checked
    result = ia2exit.check(path, exit_map, allow=CHECKED[path.name][1])
    assert [one for one in result.findings if one.severity != "info"] == []
    assert result.objects == len(exit_map.objects)
    assert result.references > 100


def test_data_that_crosses_is_named(checked: tuple[Path, ExitMap]) -> None:
    path, exit_map = checked
    crossings = [one for one in ia2exit.check(path, exit_map, only="symbols").findings if one.severity != "info"]
    allowed = [pattern.partition("@")[0] for pattern in CHECKED[path.name][1]]
    assert [one.what.partition(",")[0] for one in crossings] == allowed


def test_what_ran_agrees_with_the_map(checked: tuple[Path, ExitMap], tmp_path: Path) -> None:
    path, exit_map = checked
    binary, trace = tmp_path / "map", tmp_path / "trace"
    binary.write_bytes(write_binary(exit_map))
    ia2exit.run([str(path), CHECKED[path.name][0]], map=str(binary), trace=str(trace), mode="observe")
    result = ia2exit.check(path, exit_map, trace=trace, only="trace")
    assert {one.name for one in result.findings if one.severity == "error"} <= {"trace-object"}
    plugins = [one for one in result.findings if one.name == "trace-object"]
    assert all(one.what == "it was loaded by dlopen" for one in plugins)
    assert result.ran >= 6


@pytest.mark.parametrize("group", ["ldd", "symbols"])
def test_the_scripts_take_an_unmodified_program(group: str, tmp_path: Path) -> None:
    require(Path("/usr/bin/openssl"))
    exit_map = tmp_path / "map.json"
    exit_map.write_bytes(to_json(build_map(None, "/usr/bin/openssl")))
    command = [str(SCRIPTS / f"check_two_keys_{group}.sh"), "--target", "/usr/bin/openssl", "--map", str(exit_map)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"/usr/bin/openssl agrees with {exit_map} ({group})" in done.stdout

"""What `ia2exit run` refuses: one line with the remedy, exit status 2, nothing started and nothing written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from running_programs import PYTHON, Word, build, ours, run, script, start

import ia2exit
from ia2exit.errors import Ia2exitError
from ia2exit.running import request


def refused(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line."""
    assert done.returncode == 2
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("ia2exit: ")
    return line


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs that cannot be covered."""
    folder = tmp_path_factory.mktemp("programs")
    build(folder, "exits.c", "-static", name="static")
    build(folder, "exits.c", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1", name="musl")
    shutil.copy("/bin/true", folder / "setuid")
    (folder / "setuid").chmod(0o4755)
    (folder / "plain").write_text("text")
    (folder / "truncated").write_bytes(Path("/bin/true").read_bytes()[:100])
    script(folder / "no-interpreter", "#!/no/such/interpreter\n")
    (folder / "truncated").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "No such file"),
        ("plain", "may not be executed"),
        (".", "is a folder"),
        ("static", "static"),
        ("musl", "musl"),
        ("setuid", "setuid"),
        ("truncated", "truncated"),
        ("no-interpreter", "/no/such/interpreter"),
    ],
)
def test_a_program_that_cannot_be_run_or_covered(programs: Path, name: str, said: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    line = refused(run([programs / name], "--trace", trace))
    assert str(programs / name) in line
    assert said in line
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Ia2exitError, match=said):
        ia2exit.run([str(programs / name)])


def test_a_name_that_path_does_not_hold() -> None:
    assert "no-such-program: no such program in PATH" in refused(run(["no-such-program"]))


def test_no_command_at_all() -> None:
    assert "no command" in refused(start([PYTHON, "-m", "ia2exit", "run"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 1\n[compartments.a]\nobjects = [\n", "policy.toml"),
        ('version = 1\n[compartments.a]\nobject = ["@main"]\n', "object"),
        ('version = 1\n[compartments.a]\nobjects = ["libno.so"]\n', "libno.so"),
        ('version = 99\n[compartments.a]\nobjects = ["@main"]\n', "version"),
    ],
)
def test_a_policy_with_a_mistake(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(text)
    line = refused(run(["echo", "started"], "-p", tmp_path / "policy.toml"))
    assert "policy.toml" in line
    assert said in line


@pytest.mark.parametrize(("form", "place"), [("--binary", 8), ("", None)])
def test_a_map_of_another_version(form: str, place: int | None, tmp_path: Path) -> None:
    output = tmp_path / "map"
    options: list[Word] = [form] if form else []
    made = start([PYTHON, "-m", "ia2exit", "map", "-q", *options, "/bin/echo", "-o", output])
    assert made.returncode == 0, made.stderr
    assert run(["echo", "started"], "--map", output).stdout == b"started\n"
    content = bytearray(output.read_bytes())
    if place is None:
        content = bytearray(
            content.replace(b'"version": 1', b'"version": 99', 1).replace(b'"version":1', b'"version":99', 1)
        )
    else:
        content[place] = 99
    output.write_bytes(content)
    line = refused(run(["echo", "started"], "--map", output))
    assert str(output) in line
    assert "version" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-p", "a", "--map", "b"], "both a policy and a map"),
        (["--map", "no-such-map"], "no-such-map"),
        (["--mode", "enforce", "--backend", "none"], 'mode "enforce" with backend "none", which closes nothing'),
        (["--mode", "contain", "--backend", "none"], 'mode "contain" with backend "none", which closes nothing'),
        (["--map", "no-such-map", "--backend", "none"], "a policy or map is enforced, and backend"),
        (["--timeout", "0"], "a timeout of 0.0 seconds"),
        (["--timeout", "nan"], "a timeout of nan seconds"),
        (["--trace", "/no/such/folder/trace"], "/no/such/folder"),
    ],
)
def test_options_that_cannot_be_had(options: list[Word], said: str) -> None:
    assert said in refused(run(["echo", "started"], *options))


@pytest.mark.parametrize(
    ("options", "variable"),
    [
        (["--mode", "enforce"], "IA2_EXIT_BACKEND=none"),
        (["--backend", "none"], "IA2_EXIT_MODE=contain"),
        (["--backend", "none"], "IA2_EXIT_MAP=map"),
    ],
)
def test_a_variable_counts_where_no_option_says_otherwise(options: list[Word], variable: str) -> None:
    assert 'backend "none"' in refused(start(["env", variable, *ours(["echo", "started"], *options)]))


@pytest.mark.parametrize(
    ("variable", "known"),
    [("IA2_EXIT_MODE=enfoce", "observe, enforce, contain"), ("IA2_EXIT_BACKEND=mpk", "auto, none, mprotect, pku")],
)
def test_a_variable_with_a_slip_is_no_way_to_run_unprotected(variable: str, known: str) -> None:
    line = refused(start(["env", variable, *ours(["echo", "started"])]))
    assert line.startswith(f"ia2exit: {variable}: expected one of {known};")


def test_an_argument_is_checked_like_an_option() -> None:
    with pytest.raises(Ia2exitError, match="enfoce: expected one of observe, enforce, contain"):
        ia2exit.run(["true"], mode="enfoce")  # type: ignore[arg-type]


CPUS = {
    "processor\t: 0\nflags\t\t: fpu sse2 avx512f\n": "has no flag pku",
    "processor\t: 0\nflags\t\t: fpu pku sse2\n": "the flag pku without ospke",
    "": "has no flag pku",
}


@pytest.mark.parametrize("text", CPUS)
def test_backend_pku_needs_protection_keys(text: str, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    with pytest.raises(Ia2exitError, match=CPUS[text]) as raised:
        request.check_keys(str(cpuinfo))
    assert "use --backend mprotect" in str(raised.value)
    with pytest.raises(Ia2exitError, match="No such file"):
        request.check_keys(str(tmp_path / "none"))
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu pku ospke\n")
    request.check_keys(str(cpuinfo))


def test_the_command_line_asks_this_very_cpu() -> None:
    if {"pku", "ospke"} <= set(Path("/proc/cpuinfo").read_text().split()):
        assert run(["echo", "started"], "--backend", "pku").stdout == b"started\n"
    else:
        assert "use --backend mprotect" in refused(run(["echo", "started"], "--backend", "pku"))


@pytest.mark.parametrize("seconds", ["soon", "", "5s"])
def test_a_timeout_is_a_number(seconds: str) -> None:
    done = run(["echo", "started"], "--timeout", seconds)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"is no number of seconds" in done.stderr


def test_an_unknown_backend_is_told_with_those_that_exist() -> None:
    done = run(["echo", "started"], "--backend", "foo")
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"'foo'" in done.stderr
    assert b"mprotect" in done.stderr

"""``ia2exit vm`` on the command line: what cannot be used is a line and status 2, before anything is booted."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ia2exit.vm import needs

ROOT = Path(__file__).resolve().parents[2]


def vm(*arguments: str | Path, path: str | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The verb, without a cache, so that nothing can be booted."""
    variables = {"PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": "/nonexistent"}
    environment = {**os.environ, **variables, **({} if path is None else {"PATH": path})}
    command = [sys.executable, "-m", "ia2exit", "vm", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "vm: no command: "),
        (["--"], "vm: no command: "),
        (["--", ""], "vm: no command: "),
        (["--", "no-such-program"], "no-such-program: not found: "),
        (["--", "/etc/passwd"], "/etc/passwd: not found: "),
        (["--rw", "/etc/passwd", "--", "true"], "/etc/passwd: not a folder: "),
        (["--rw", "/nonexistent", "--", "true"], "/nonexistent: not a folder: "),
        (["--rw", "/", "--", "true"], "/: the guest has its own /: "),
        (["--rw", "/proc/self", "--", "true"], "/proc/self: the guest has its own "),
        (["--rw", "/dev/shm", "--", "true"], "/dev/shm: the guest has its own "),
    ],
)
def test_bad_input_is_a_line(arguments: list[str], why: str) -> None:
    done = vm(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"ia2exit: {why}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--memory", "0"],
        ["--memory", "-1"],
        ["--memory", "2G"],
        ["--memory", "64"],
        ["--memory", "99999999999"],
        ["--cpus", "0"],
        ["--cpus", "1.5"],
        ["--cpus", "4096"],
        ["--cpus", "²"],
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--timeout", "soon"],
        ["--nonsense"],
    ],
)
def test_nonsense_is_refused_with_the_option_named(arguments: list[str]) -> None:
    done = vm(*arguments, "--", "true")
    assert done.returncode == 2
    assert arguments[0] in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_folder_that_the_guest_has_itself_is_no_place_to_run_in() -> None:
    done = vm("--", "true", cwd=Path("/dev/shm"))
    assert (done.returncode, done.stderr) == (
        2,
        "ia2exit: /dev/shm: the guest has its own /dev: change to another folder\n",
    )


@pytest.mark.parametrize("name", ["qemu-system-x86_64", "busybox", "depmod", "modprobe", "file", "virtme-ng"])
def test_each_missing_piece_is_named_with_its_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shutil.which

    def without(tool: str, **more: object) -> str | None:
        absent = {name, *({"busybox-static", "busybox.static"} if name == "busybox" else ())}
        absent |= {"strings"} if name == "file" else set()
        return None if tool in absent else found(tool, path=str(more["path"])) or f"/usr/bin/{tool}"

    monkeypatch.setattr("shutil.which", without)
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda n: None if name == "virtme-ng" else real("json"))
    (lacking,) = needs.missing()
    assert lacking.name == name
    assert ("pip install" if name == "virtme-ng" else "apt-get install") in lacking.remedy


def test_setup_names_all_that_is_missing_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, ia2exit.vm.needs as needs\nneeds.tool = lambda name: None\n"
        "from ia2exit.cli import main\nsys.exit(main(['vm', '--setup']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(": ")[2] for line in lines][:3] == ["qemu-system-x86_64", "busybox", "depmod"]
    assert all("not found" in line and "install" in line for line in lines)
    assert not any(tmp_path.iterdir())


VIRTME_OF_ANOTHER_TIME = """
import sys, pathlib
sys.path.insert(0, {folder!r})
from ia2exit.errors import Ia2exitError
from ia2exit.vm import initramfs
from ia2exit.vm.kernel import Kernel
try:
    initramfs.make(Kernel(pathlib.Path("/k"), pathlib.Path("/r"), "1"), [], pathlib.Path({folder!r}))
except Ia2exitError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("import sys\ndef main():\n    sys.exit('error: unrecognized arguments: --save-initramfs')\n", "unrecognized"),
        ("", "cannot import name 'main'"),
        ("def main():\n    return 0\n", "no message"),
    ],
)
def test_a_virtme_ng_of_another_time_is_said_in_a_line(tmp_path: Path, module: str, why: str) -> None:
    commands = tmp_path / "virtme" / "commands"
    commands.mkdir(parents=True)
    (tmp_path / "virtme" / "__init__.py").touch()
    (commands / "__init__.py").touch()
    (commands / "run.py").write_text(module)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}
    script = VIRTME_OF_ANOTHER_TIME.format(folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("virtme-ng ")
    assert why in done.stdout
    assert "pip install 'virtme-ng>=" in done.stdout
    assert done.stdout.count("\n") == 1


def test_the_range_of_virtme_ng_has_one_value() -> None:
    from ia2exit.vm.initramfs import WANTED

    assert f'vm = ["{WANTED}"]' in (ROOT / "pyproject.toml").read_text()
    assert all(WANTED in need.remedy for need in needs.needs() if need.name == "virtme-ng")

"""``ia2exit vm`` with a real guest. A boot takes a while, so each test asks all that one boot can answer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from ia2exit.vm import kernel

from .parts import why_no_guest

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for a guest, on a machine that is busy with other things.
LIMIT = 280
#: What is asked in a guest about itself, as JSON; its arguments: a folder to write in that reaches the host.
ASK = Path(__file__).resolve().parent / "asking.py"


@pytest.fixture(autouse=True, scope="module")
def _parts() -> None:
    why = why_no_guest()
    if why is not None:
        pytest.skip(why)


def vm(
    *arguments: str | Path, cwd: Path = ROOT, input: bytes = b"", variables: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[bytes]:
    """``ia2exit vm`` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "ia2exit", "vm", "--timeout", str(LIMIT), *map(str, arguments)],
        cwd=cwd,
        input=input,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables},
        capture_output=True,
        timeout=LIMIT + 60,
        check=False,
    )


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder far below /tmp or wherever, with a name that wants quoting."""
    folder = tmp_path.joinpath("it's", *("deep",) * 40, "here, now")
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(tmp_path)


def test_a_guest_has_this_machines_files_and_keys_and_leaves_no_trace(deep: Path) -> None:
    shared = deep / "shared, too"
    shared.mkdir()
    (shared / "before").write_text("host")
    mark = uuid.uuid4().hex
    data = os.urandom(1 << 16)
    done = vm("--rw", shared, "--", sys.executable, "-I", ASK, shared, mark, cwd=deep, input=data)
    assert done.stderr == b""
    assert done.returncode == 42
    told = json.loads(done.stdout)
    assert {"pku", "ospke"} <= set(told["flags"])
    assert told["keys"] >= 1
    assert told["folder"] == str(deep)
    assert told["user"] == [os.getuid(), os.getgid()]
    assert told["same_file"] == ASK.read_text()
    assert told["input"] == data.hex()
    assert told["venv"] == str(Path(sys.prefix))
    assert told["usable"] == {"loopback": True, "/dev/shm": True, "/tmp": True, "pty": True, "namespace": True}
    assert not list(Path("/tmp").glob(f"{mark}*"))
    assert not list(deep.glob(f"{mark}*")), "what is written beside --rw stays in the guest"
    assert (shared / f"{mark}-rw").read_text() == "host: guest"
    assert (shared / f"{mark}-rw").stat().st_uid == os.getuid()


def test_a_given_kernel_and_a_signal_from_tmp() -> None:
    image = kernel.cached().image
    script = 'uname -r; head -c 3000000000 /dev/zero >/tmp/much; echo "$?"; kill -SEGV $$'
    done = vm("--kernel", image, "--memory", "1024", "--", "sh", "-c", script, cwd=Path("/tmp"))
    release, status = done.stdout.decode().split()
    assert release == kernel.cached().release
    assert status == "1", "what is written goes to the guest's memory, which is full"
    assert b"No space left" in done.stderr
    assert done.returncode == -signal.SIGSEGV
    assert not Path("/tmp/much").exists()


def test_a_guest_that_hangs_is_ended_and_its_console_kept(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "ia2exit").mkdir(parents=True)
    (cache / "ia2exit" / "vm").mkdir()
    image = kernel.cached().image
    done = vm("--timeout", "3", "--kernel", image, "--", "sleep", "1000", variables={"XDG_CACHE_HOME": str(cache)})
    assert done.returncode == 124
    (log,) = (cache / "ia2exit" / "vm" / "console").iterdir()
    assert done.stderr.decode().endswith(f"all of it: {log}\n")
    assert done.stderr.count(b"\n") == 1
    assert subprocess_of_guest(tmp_path) == []


def subprocess_of_guest(folder: Path) -> Sequence[str]:
    """Guests that run on with something in that folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"qemu" in line.split(b"\0")[0] and os.fsencode(folder) in line:
                found.append(entry.name)
    return found

"""While the runtime handles signals itself, in the exit phase, the program sees and sets its own: to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from runtime_running import RUNTIME, build, run, run_covered

WAYS = {
    "none": {"IA2_EXIT_BACKEND": "none"},
    "mprotect": {"IA2_EXIT_MODE": "observe", "IA2_EXIT_BACKEND": "mprotect"},
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("signals"), "signals.c", "-pthread")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("scenario", "lines"),
    [
        (
            "family",
            [b"at exit 10: first", b"at exit 11: default", b"sigset, hold again 10: hold", b"raised 11: caught -11"],
        ),
        ("errors", [b"sigaction 9: -1, errno 22", b"sigaction 32: -1, errno 22", b"asked 9: default"]),
        ("stacks", [b"at exit: 0, other, size 0, flags 0x2", b"on it: 1", b"changed in a handler: -1, errno 1,"]),
        ("thread", [b"thread 10: first", b"thread 11: default", b"raised 12: caught -12"]),
        ("children", [b"after vfork: 0x7e00", b"after fork: 0x7e00", b"raised 10: caught 10"]),
        ("last", [b"last 11: second", b"last 7: ignore", b"last 64: first"]),
    ],
)
def test_the_program_sees_and_sets_its_own(program: Path, scenario: str, lines: list[bytes], way: str) -> None:
    vanilla = run([program, scenario])
    assert vanilla.status == 3
    for line in lines:
        assert line in vanilla.stdout
    untraced = run([program, scenario], LD_PRELOAD=str(RUNTIME))
    traced = run_covered([program, scenario], **WAYS[way])
    for other in (untraced, traced):
        assert (other.status, other.stdout, other.stderr) == (vanilla.status, vanilla.stdout, vanilla.stderr)
    assert traced.starts[0].backend == way

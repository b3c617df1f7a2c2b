"""Trials do what they say: a call that is really denied is reported as such, and one that hangs is ended."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import denying
import pytest

from ia2exit.examining import trials
from ia2exit.examining.causes import CALLS

DENY = [sys.executable, denying.__file__]
VERB = [sys.executable, "-m", "ia2exit", "doctor", "--json"]
#: System calls of x86-64 by the trial that makes them; Python itself needs ioctl, and only one request is denied.
NUMBERS = {
    "keys": "330",
    "pkey_mprotect": "329",
    "memfd": "319",
    "dispatch": "157",
    "mseal": "462",
    "procmap": f"16/{trials.PROCMAP_QUERY}",
    "readv": "310",
    "mem": "18",
    "trace": "101",
}
CLONE = "56"


def output_of(*command: str) -> str:
    """What a command prints; skips where this process may not have a filter."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == denying.NOT_HERE:
        pytest.skip("this process may not install a seccomp filter")
    assert done.stderr == ""
    return done.stdout


def diagnosis_without(call: str, failure: int | str) -> dict[str, Any]:
    """What the doctor says where a call fails so; its checks by name."""
    diagnosis = json.loads(output_of(*DENY, call, str(failure), *VERB))
    return {**diagnosis, "checks": {check["name"]: check for check in diagnosis["checks"]}}


def test_every_call_has_a_number_here() -> None:
    assert NUMBERS.keys() == CALLS.keys()
    assert CALLS.keys() <= trials.TRIALS.keys()


@pytest.mark.parametrize("name", NUMBERS)
def test_a_call_that_is_denied_is_reported_as_denied(name: str) -> None:
    checks = diagnosis_without(NUMBERS[name], errno.EPERM)["checks"]
    assert checks["seccomp"]["found"] == f"a filter that denies {CALLS[name].through} (EPERM)"
    if name not in {"keys", "pkey_mprotect"}:
        own = checks["tracing a child" if name == "trace" else CALLS[name].name]
        assert own["state"] != "ok"
        assert own["found"] == "the seccomp filter denies it (EPERM)"


def test_keys_need_none_of_the_calls_that_the_runtime_does_without() -> None:
    whole = json.loads(output_of(*VERB))
    for name in ("memfd", "mseal", "readv"):
        assert diagnosis_without(NUMBERS[name], errno.EPERM)["closes"] == whole["closes"], name


@pytest.mark.parametrize("name", NUMBERS)
def test_without_any_one_of_these_calls_memory_is_closed_all_the_same(name: str) -> None:
    diagnosis = diagnosis_without(NUMBERS[name], errno.EPERM)
    assert "mprotect" in diagnosis["closes"]
    if name in {"keys", "pkey_mprotect"}:
        assert diagnosis["auto"] == "mprotect"
        assert CALLS[name].through in diagnosis["checks"]["auto"]["remedy"]


def test_a_call_that_kills_is_reported_and_takes_nobody_else_along() -> None:
    checks = diagnosis_without(NUMBERS["readv"], "kill")["checks"]
    assert checks["process_vm_readv"]["found"] == "the process dies of it (SIGSYS): seccomp"
    assert checks["process_vm_readv"]["state"] == "missing"
    assert checks["seccomp"]["found"] == "a filter that denies process_vm_readv (SIGSYS)"
    assert checks["closing by mprotect"]["state"] == "ok"


def test_where_no_process_can_be_made_that_is_what_is_said() -> None:
    done = subprocess.run(
        [*DENY, CLONE, str(errno.EAGAIN), sys.executable, "-I", "-S", trials.__file__],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == denying.NOT_HERE:
        pytest.skip("this process may not install a seccomp filter")
    answers = json.loads(done.stdout)
    assert answers.keys() == trials.TRIALS.keys()
    assert {answer["detail"] for answer in answers.values()} == {
        "cannot be tried: no process can be made: Resource temporarily unavailable"
    }


def test_a_doctor_who_can_start_nothing_says_so_without_a_traceback() -> None:
    diagnosis = diagnosis_without(CLONE, errno.EAGAIN)
    assert diagnosis["checks"]["mseal"]["state"] == "limited"
    assert "cannot be tried" in diagnosis["checks"]["mseal"]["found"]


# One trial -----------------------------------------------------------------------------------------------------


def attempt(body: str) -> dict[str, Any]:
    """How a trial of this code goes."""
    lines = [
        "import os, signal, sys",
        f"sys.path.insert(0, {str(Path(trials.__file__).parent)!r})",
        "import trials",
        "trials._LIMIT = 1",
        *(f"def trial():\n    {body}".splitlines()),
        "print(trials.json.dumps(trials.attempt('trial', trial)))",
    ]
    answer: dict[str, Any] = json.loads(output_of(sys.executable, "-c", "\n".join(lines)))
    return answer


def test_a_trial_that_hangs_is_ended() -> None:
    assert attempt("signal.pause()") == {"works": False, "signal": "SIGALRM"}


def test_a_trial_that_dies_says_of_what() -> None:
    assert attempt("os.kill(os.getpid(), signal.SIGSEGV)") == {"works": False, "signal": "SIGSEGV"}


def test_a_trial_that_goes_wrong_in_itself_says_how() -> None:
    assert attempt("1 / 0") == {"works": False, "detail": "ZeroDivisionError: division by zero"}


def test_a_trial_that_fails_names_the_error() -> None:
    assert attempt("os.close(-1)") == {"works": False, "errno": "EBADF"}


def test_a_trial_whose_call_succeeds_without_effect_says_what_is_wrong() -> None:
    answer = attempt("trials._is_closed(trials._page(), 'it can still be read')")
    assert answer == {"works": False, "detail": "it can still be read"}


def test_a_trial_yields_a_number() -> None:
    assert attempt("return 7") == {"works": True, "value": 7}


def test_signals_that_the_caller_ignores_or_blocks_do_not_matter() -> None:
    script = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "os.execv(sys.executable, [sys.executable, '-I', '-S', sys.argv[1]])\n"
    )
    plain = json.loads(output_of(sys.executable, "-I", "-S", trials.__file__))
    hampered = json.loads(output_of(sys.executable, "-c", script, trials.__file__))
    assert {name: trial["works"] for name, trial in hampered.items()} == {
        name: trial["works"] for name, trial in plain.items()
    }
    assert plain.keys() == trials.TRIALS.keys()

"""Collecting the facts: what can be read, the trials, and a real program under the runtime."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

import ia2exit
from ia2exit import events
from ia2exit.errors import Ia2exitError
from ia2exit.examining.records import Facts, Trace, Trial
from ia2exit.native import audit_path, runtime_path
from ia2exit.packages import tool
from ia2exit.running.environment import with_runtime
from ia2exit.running.trace import parse
from ia2exit.vm import kernel, needs

#: Seconds for a program that does next to nothing, and for all trials.
_LIMIT, _TRIALS_LIMIT = 20, 60
#: Programs to run under the runtime: the first that it gets into. Python itself takes longer, and is always there.
_PLAIN: tuple[list[str], ...] = (
    ["/bin/true"],
    ["/usr/bin/true"],
    [os.path.realpath("/proc/self/exe"), "-I", "-S", "-c", ""],
)
_LOADER = "/lib64/ld-linux-x86-64.so.2"  # the one name that the ABI fixes (System V ABI, AMD64 supplement)
#: An audit module that is not there: ld.so says so if it looks for it.
_NO_MODULE = "/nonexistent/ia2exit-doctor.so"
BACKENDS = ("auto", "pku", "mprotect", "none")


def look() -> Facts:
    """Collect all facts. Nothing that the machine lacks raises."""
    runtime, missing = _runtime()
    trials, untried = _trials()
    return Facts(
        version=ia2exit.__version__,
        release=os.uname().release,
        flags=_flags(),
        trials=trials,
        untried=untried,
        seccomp=_number("/proc/self/status", r"^Seccomp:\s*(\d+)"),
        max_map_count=_number("/proc/sys/vm/max_map_count"),
        ptrace_scope=_number("/proc/sys/kernel/yama/ptrace_scope"),
        runtime=runtime,
        runtime_missing=missing,
        traces=_traces(runtime) if runtime else {},
        loader=_loader(),
        auditing=_NO_MODULE in _run(_PLAIN[-1], {**_environment(), "LD_AUDIT": _NO_MODULE}).stderr,
        gdb=tool("gdb"),
        needs=needs.needs(),
        kernel=_kernel(),
    )


# ---- what can be read ----


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return None


def _number(path: str, pattern: str = r"^(\d+)") -> int | None:
    found = re.search(pattern, _read(path) or "", re.MULTILINE)
    return int(found[1]) if found else None


def _flags() -> frozenset[str] | None:
    """Of the first CPU; the file has a paragraph for each, and takes the longer the more there are."""
    with suppress(OSError), Path("/proc/cpuinfo").open(errors="replace") as lines:
        for line in lines:
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return None


def _kernel() -> str | None:
    with suppress(Ia2exitError, OSError):
        return kernel.cached().release
    return None


def _runtime() -> tuple[str | None, str | None]:
    try:
        return runtime_path(), None
    except Ia2exitError as error:
        return None, str(error)


# ---- what can be tried ----


def _run(command: list[str], environment: Mapping[str, str], limit: int = _LIMIT) -> subprocess.CompletedProcess[str]:
    """Run to the end; a program that does not start has said why."""
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:  # ValueError: an environment with a NUL
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _environment() -> dict[str, str]:
    """Ours, without what would change the runtime's mind or ld.so's language."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IA2_") and name != "LD_AUDIT"}
    return {**kept, "LC_ALL": "C"}


def _trials() -> tuple[dict[str, Trial], str | None]:
    """The answers, and where there are none why."""
    script = str(Path(__file__).with_name("trials.py"))
    done = _run([sys.executable or "python3", "-I", "-S", script], os.environ, _TRIALS_LIMIT)
    with suppress(msgspec.DecodeError):
        trials = msgspec.json.decode(done.stdout, type=dict[str, Trial])
        system = os.uname()
        return trials, None if trials else f"this is {system.sysname} on {system.machine}"
    return {}, (done.stderr.strip().splitlines() or [_ending(done.returncode)])[-1]


def _traces(runtime: str) -> dict[str, Trace]:
    """A plain program under each backend: ``none`` tells which program will do."""
    for command in _PLAIN:
        trace = _trace(runtime, command, "none")
        if trace.backend is not None and trace.ran > 0:
            break
    return {"none": trace, **{name: _trace(runtime, command, name) for name in BACKENDS if name != "none"}}


def _trace(runtime: str, command: list[str], backend: str) -> Trace:
    """One program under one backend. Its events come by standard error: no file, whatever /tmp is like."""
    environment = with_runtime(
        _environment(), library=runtime, trace="1", follow=False, mode="observe", backend=backend, audit=audit_path()
    )
    done = _run(command, environment)
    result = Trace(program=command[0])
    for line in done.stderr.splitlines():
        try:
            event = parse(line.encode())
        except msgspec.DecodeError:
            result = msgspec.structs.replace(result, said=result.said or line)
            continue
        if isinstance(event, events.Start):
            told = {"backend": event.backend, "why": event.backend_why, "glibc": event.glibc, "audited": event.audit}
            result = msgspec.structs.replace(result, **told)
        elif isinstance(event, events.Counters):
            result = msgspec.structs.replace(result, ran=event.ran, success=event.success)
    if done.returncode != 0 and result.said is None:
        result = msgspec.structs.replace(result, said=_ending(done.returncode))
    return result


def _ending(status: int) -> str:
    with suppress(ValueError):
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it ended with status {status}"


def _loader() -> str | None:
    """What ld.so says that it is; before glibc 2.33 it knew no ``--version``."""
    done = _run([_LOADER, "--version"], _environment())
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else None

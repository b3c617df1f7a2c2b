"""Debugging a program under the runtime with gdb.

:func:`command_line` says how gdb is to be started; the commands that it then has are in
:mod:`ia2exit.debugger.gdb_commands`.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence

from ia2exit.errors import Ia2exitError
from ia2exit.native import audit_path, runtime_path
from ia2exit.running import auditing, request
from ia2exit.running import environment as environments
from ia2exit.running.program import Program, direct, resolve
from ia2exit.running.request import Backend, Mode


def script() -> str:
    """The file that gdb is to ``source``; in any gdb with Python, without this package being installed for it."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "gdb_commands", "script.py")


def command_line(
    command: Sequence[str],
    *,
    policy: str | None = None,
    map: str | None = None,
    mode: Mode | None = None,
    backend: Backend | None = None,
    trace: str | None = None,
    park_threads: bool = False,
    audit: bool = False,
    core: str | None = None,
    options: Sequence[str] = (),
    environment: Mapping[str, str],
) -> list[str]:
    """How to start gdb, so that it has our commands and starts a program under the runtime, or shows its core file.

    The runtime's variables are for that program only: gdb starts it through ``env``.

    Args:
        command: the program and its arguments; may be empty with ``core``.
        policy: as for :func:`ia2exit.run`.
        map: likewise.
        mode: likewise.
        backend: likewise.
        park_threads: likewise.
        audit: likewise.
        trace: keep the events in this file; else the runtime writes them to /dev/null, and behaves as ever.
        core: a core file to look at instead.
        options: for gdb, after ours.
        environment: the program's, and gdb's.

    Returns:
        The words to execute. Where there is a policy or a map, this process has opened a descriptor that belongs to
        them: execute them in it.

    Raises:
        Ia2exitError: there is no gdb, or as for :func:`ia2exit.run`.
    """
    gdb = shutil.which("gdb", path=environment.get("PATH"))
    if gdb is None:
        raise Ia2exitError("gdb: no such program in PATH: expected GDB 12 or later; apt-get install gdb")
    ours = ["-ex", f"source {script()}"]
    if core is not None:
        if not os.path.isfile(core):
            raise Ia2exitError(f"{core}: no such file: expected a core file; coredumpctl or core(5) say where they go")
        image = [resolve(command, environment).image] if command else []
        return [gdb, *ours, *options, "-core", core, *image]
    request.check(policy=policy, map=map, mode=mode, backend=backend, timeout=None, variables=environment)
    program = resolve(command, environment)
    if audit:
        auditing.check(program.image, environment)
    mapped = None
    if policy is not None or map is not None:
        descriptor = _map(policy, map, program)
        mapped = f"/proc/{os.getpid()}/fd/{descriptor}"
        ours += ["-ex", f"python import os; os.set_inheritable({descriptor}, False)"]  # gdb's alone, not the program's
    wanted = environments.with_runtime(
        environment,
        library=runtime_path(),
        trace=os.path.abspath(trace) if trace is not None else environment.get("IA2_TRACE_EXIT") or os.devnull,
        follow=environment.get("IA2_EXIT_FOLLOW") == "1",
        map=mapped,
        mode=mode,
        backend=backend,
        park_threads=park_threads,
        audit=audit_path() if audit else None,
    )
    ours += ["-ex", "set startup-with-shell on", "-ex", f"set exec-wrapper {_wrapper(environment, wanted)}"]
    return [gdb, *ours, *options, "--args", *direct(program)]


def _map(policy: str | None, map: str | None, program: Program) -> int:
    """The binary map in a memory file, which goes when gdb goes. Returns the descriptor, which gdb is to inherit."""
    from ia2exit import exitmap

    made = exitmap.build_map(policy, [program.image]) if policy is not None else exitmap.read_map(map or "")
    descriptor = os.memfd_create("ia2exit-map", 0)
    os.write(descriptor, exitmap.write_binary(made))
    return descriptor


def _wrapper(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """The command that turns one environment into the other and starts the program; the shell reads it."""
    gone = [word for name in before if name not in after for word in ("-u", name)]
    new = [f"{name}={value}" for name, value in after.items() if before.get(name) != value]
    return shlex.join(["env", *gone, *new])

"""Checks of the group ``debugging``: gdb, and whom one may trace."""

from __future__ import annotations

from ia2exit.examining.causes import because, is_denied, remedy
from ia2exit.examining.records import Check, Facts

_WITHOUT = "crashes and hangs (--timeout) are explained by the runtime itself, which traces nobody"
#: Yama's modes (Linux, Documentation/admin-guide/LSM/Yama.rst).
_SCOPES = {
    0: "kernel.yama.ptrace_scope is 0: own processes",
    1: "kernel.yama.ptrace_scope is 1: descendants",
    2: "kernel.yama.ptrace_scope is 2: root only",
    3: "kernel.yama.ptrace_scope is 3: nobody",
}
_NOBODY = 3


def gdb(facts: Facts) -> Check:
    """The debugger itself."""
    return Check(
        group="debugging",
        name="gdb",
        state="ok" if facts.gdb else "missing",
        found=facts.gdb or "not found",
        means="destructors can be stopped at and looked at" if facts.gdb else f"no debugger; {_WITHOUT}",
        remedy=None if facts.gdb else "as root: apt-get install gdb",
    )


def trace(facts: Facts) -> Check:
    """A program that the debugger starts."""
    works = facts.trial("trace").works
    return Check(
        group="debugging",
        name="tracing a child",
        state="ok" if works else "missing",
        found="works" if works else because(facts, "trace"),
        means="gdb can start programs" if works else f"gdb cannot start programs; {_WITHOUT}",
        remedy=None if works else _permit(facts, "trace"),
    )


def attach(facts: Facts) -> Check:
    """A program that runs already."""
    works = facts.trial("attach").works
    scope = "" if facts.ptrace_scope is None else _SCOPES.get(facts.ptrace_scope, "")
    seen = "works" if works else because(facts, "attach")
    return Check(
        group="debugging",
        name="attaching",
        state="ok" if works else "limited",
        found=f"{seen}; {scope}" if scope else seen,
        means="gdb -p PID reaches programs that run"
        if works
        else "gdb -p PID is refused; gdb has to start the program",
        remedy=None if works else _permit(facts, "attach"),
    )


def _permit(facts: Facts, name: str) -> str:
    if is_denied(facts, name) and not facts.ptrace_scope:
        return f"{remedy(facts, 'trace')}, or docker run --cap-add=SYS_PTRACE"
    if facts.ptrace_scope == _NOBODY:
        return "boot with another kernel.yama.ptrace_scope: 3 cannot be left"
    if facts.ptrace_scope:
        return "as root: sysctl kernel.yama.ptrace_scope=0; or run the debugger as root"
    return "run the debugger outside this sandbox (docker run --cap-add=SYS_PTRACE)"


CHECKS = [gdb, trace, attach]

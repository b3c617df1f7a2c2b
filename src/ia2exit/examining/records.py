"""What an examination of a machine yields, and the facts that it is judged by."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ia2exit.model import Record
from ia2exit.vm.needs import Need

#: Version of ``ia2exit doctor --json``.
DOCTOR_VERSION = 1
#: 16 keys, less that of all other memory and the runtime's own.
MOST_COMPARTMENTS = 14

Group = Literal["backends", "keys", "kernel", "libc", "debugging", "guest"]
#: ``limited``: it works, or something else does instead, at a price that ``means`` names.
State = Literal["ok", "limited", "missing"]
Closing = Literal["pku", "mprotect"]


class Check(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that was tried."""

    group: Group
    name: str
    state: State
    #: What was seen.
    found: str
    #: What follows from that for the user.
    means: str
    #: What to do, a command where one exists; None where all is well.
    remedy: str | None


class Diagnosis(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What :func:`ia2exit.doctor` returns and ``ia2exit doctor --json`` prints (schemas/doctor.schema.json)."""

    version: int = DOCTOR_VERSION
    ia2exit: str
    #: Release of the kernel, and version of the glibc that programs get; None where that could not be told.
    linux: str
    glibc: str | None
    #: Backends under which a program's destructors really ran with only their owner's memory open, best first.
    closes: list[Closing]
    #: What ``--backend auto`` takes, and why not ``pku``; None: the program did not start under the runtime.
    auto: Literal["pku", "mprotect", "none"] | None
    auto_why: str | None
    #: Protection keys that a fresh process can have, and compartments that these are enough for.
    free_keys: Annotated[int, msgspec.Meta(ge=0)]
    compartments: Annotated[int, msgspec.Meta(ge=0, le=MOST_COMPARTMENTS)]
    checks: list[Check]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How a trial went (:mod:`.trials`).

    Attributes:
        works: whether the thing did what it is for.
        value: a number that it found.
        errno: name of the error that a call failed with.
        signal: name of the signal that the process died by.
        detail: what was wrong otherwise, one clause.
    """

    works: bool
    value: int = 0
    errno: str | None = None
    signal: str | None = None
    detail: str | None = None


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A real program under the runtime.

    Attributes:
        program: which one.
        backend: what it got; None: the runtime did not start.
        why: why it did not get ``pku``, by the runtime itself.
        glibc: version of its libc.
        ran: destructors that ran, and those of them that ran with only their owner's memory open.
        audited: whether libia2_audit.so answered to it.
        said: first line on standard error that is no event, or what kept the program from starting.
    """

    program: str
    backend: str | None = None
    why: str | None = None
    glibc: str | None = None
    ran: int = 0
    success: int = 0
    audited: bool = False
    said: str | None = None

    @property
    def closed(self) -> bool:
        """Whether memory was closed for every destructor."""
        return self.backend in ("pku", "mprotect") and self.ran > 0 and self.success == self.ran


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen; None: it could not be read.

    Attributes:
        version: of ia2exit.
        release: of the kernel.
        flags: of the first CPU in /proc/cpuinfo.
        trials: by name, of :mod:`.trials`; empty where nothing could be tried.
        untried: why not, one clause.
        seccomp: mode in /proc/self/status: 0 none, 1 strict, 2 filter.
        max_map_count: /proc/sys/vm/max_map_count.
        ptrace_scope: /proc/sys/kernel/yama/ptrace_scope.
        runtime: path of libia2.so, or the message that says where it was looked for.
        traces: the same program under each backend, ``auto`` included.
        loader: first line of ``ld.so --version``.
        auditing: whether ld.so looked for the module that ``LD_AUDIT`` named.
        gdb: its path.
        needs: of the guest, found or not.
        kernel: release of the guest's kernel in the cache.
    """

    version: str
    release: str
    flags: frozenset[str] | None
    trials: dict[str, Trial]
    untried: str | None
    seccomp: int | None
    max_map_count: int | None
    ptrace_scope: int | None
    runtime: str | None
    runtime_missing: str | None
    traces: dict[str, Trace]
    loader: str | None
    auditing: bool
    gdb: str | None
    needs: list[Need]
    kernel: str | None

    def trial(self, name: str) -> Trial:
        """How one went."""
        return self.trials.get(name, Trial(works=False, detail=f"cannot be tried: {self.untried}"))

    def trace(self, backend: str) -> Trace:
        """The program under one backend."""
        return self.traces.get(backend, Trace(program="-", said=self.runtime_missing))

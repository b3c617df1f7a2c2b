"""What a check yields: its findings, and what was compared."""

from __future__ import annotations

from typing import Literal

from ia2exit.model import Record

#: Version of ``ia2exit check --json``.
CHECK_VERSION = 1

#: ``ldd``: what ld.so loads; ``symbols``: what binds across compartments; ``trace``: what a run says.
Group = Literal["ldd", "symbols", "trace"]
#: ``error``: program and map disagree; ``crossing``: code of one compartment refers to another's data; ``warning``:
#: cannot be told, or may be meant; ``info``: so it is, and nothing is wrong with it. The first two are disagreements.
Severity = Literal["error", "crossing", "warning", "info"]
Name = Literal[
    # ldd
    "missing",
    "build-id",
    "other-path",
    "no-build-id",
    "one-build-id",
    "gone",
    "not-loaded",
    "ld-so",
    "runtime-first",
    "note",
    "destructor-new",
    "destructor-gone",
    "destructor-owner",
    # symbols
    "data",
    "tls",
    "copied",
    "vague",
    "interposed",
    "registration",
    "functions",
    "open-data",
    # trace
    "trace-object",
    "trace-compartment",
    "trace-destructor",
    "trace-owner",
    "trace-incomplete",
]


class Finding(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that was found (docs/exit-handling.md, "Checking a map", says what each name means)."""

    group: Group
    name: Name
    severity: Severity
    #: Path of the object that it is about; of the map's entry where nothing else is known.
    object: str
    #: The thing in it: a symbol, destructors, the build ID.
    what: str
    expected: str
    found: str
    #: What to do; None where nothing is to be done.
    remedy: str | None


class CheckResult(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What :func:`ia2exit.check` returns and ``ia2exit check --json`` prints (schemas/check.schema.json)."""

    version: int = CHECK_VERSION
    program: str
    map: str
    #: Path of the trace, or None.
    trace: str | None
    #: What was checked.
    groups: list[Group]
    #: Whether there is neither an error nor a crossing.
    agrees: bool
    #: What was compared: objects that load, their destructors, references bound by name, destructors of the trace.
    objects: int
    destructors: int
    references: int
    ran: int
    #: Crossings that were allowed.
    allowed: int
    #: Errors first, then crossings, warnings, infos; each in the order in which objects load.
    findings: list[Finding]

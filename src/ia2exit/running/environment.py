"""The environment that makes a program load the runtime, and what a user's own IA2_* variables mean to a run.

An option of the command line, or an argument of :func:`ia2exit.run`, wins over a variable; a variable over the default:

=====================  =============================================================================================
IA2_TRACE_EXIT         where a copy of the events goes when the program has ended (``1``, a path, ``fd:N``: appended, as
                       the runtime itself would), unless ``--trace`` names a file; the run itself needs them elsewhere
IA2_EXIT_FOLLOW        ``1`` is ``--follow``
IA2_EXIT_MAP           the binary map, unless ``--policy`` or ``--map`` is given
IA2_EXIT_MODE          the mode, unless ``--mode`` is given
IA2_EXIT_BACKEND       the backend, unless ``--backend`` is given
IA2_EXIT_PARK_THREADS  ``1`` is ``--park-threads``
IA2_EXIT_SCRUB         set by us alone
IA2_EXIT_AUDIT         likewise, where the audit module is named in LD_AUDIT: that it does not answer is worth a line
all others             passed to the runtime as they are: IA2_DIAG_EXIT (the report shows counters, too),
                       IA2_EXIT_ALLOW_ALL and IA2_EXIT_FORCE_LEGACY (the report says so)
=====================  =============================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_RUNTIME = "libia2.so"


def with_runtime(
    environment: Mapping[str, str],
    *,
    library: str,
    trace: str,
    follow: bool,
    map: str | None = None,
    mode: str | None = None,
    backend: str | None = None,
    park_threads: bool = False,
    audit: str | None = None,
) -> dict[str, str]:
    """The environment of the program: ``environment``, the runtime as last preloaded object, and its variables.

    ``audit`` is the path of libia2_audit.so, or None. Without ``follow`` the runtime takes all that out again before
    the program sees it.
    """
    result = dict(environment)
    result["LD_PRELOAD"] = preload(environment.get("LD_PRELOAD", ""), library)
    result.pop("IA2_EXIT_AUDIT", None)
    if audit is not None:
        result["LD_AUDIT"] = ":".join(filter(None, [environment.get("LD_AUDIT", ""), audit]))
        result["IA2_EXIT_AUDIT"] = "1"
    result["IA2_TRACE_EXIT"] = trace
    for name in ("IA2_EXIT_FOLLOW", "IA2_EXIT_SCRUB"):
        result.pop(name, None)
    result["IA2_EXIT_FOLLOW" if follow else "IA2_EXIT_SCRUB"] = "1"
    for name, value in (("IA2_EXIT_MAP", map), ("IA2_EXIT_MODE", mode), ("IA2_EXIT_BACKEND", backend)):
        if value is not None:
            result[name] = value
    if park_threads:
        result["IA2_EXIT_PARK_THREADS"] = "1"
    return result


def preload(before: str, library: str) -> str:
    """``LD_PRELOAD`` with ``library`` after the entries that are there already (libasan insists on being first).

    What is there keeps its spelling: the runtime takes out its own entry, and the program reads the rest. ld.so takes
    colons and blanks as separators (ld.so(8)); another libia2.so is left out.
    """
    entries = [entry for part in before.split(":") for entry in part.split(" ") if entry]
    if any(os.path.basename(entry) == _RUNTIME for entry in entries):
        before = ":".join(entry for entry in entries if os.path.basename(entry) != _RUNTIME)
    return f"{before}:{library}" if before else library


def as_started() -> dict[str, str]:
    """The environment that this process was started with.

    ``os.environ`` may hold one variable more: in the C locale Python sets ``LC_CTYPE`` for itself and its children
    (PEP 538), and the program must not see that.
    """
    environment = dict(os.environ)
    try:
        with open("/proc/self/environ", "rb") as file:
            names = {entry.partition(b"=")[0] for entry in file.read().split(b"\0")}
    except OSError:
        return environment
    if b"LC_CTYPE" not in names:
        environment.pop("LC_CTYPE", None)
    return environment

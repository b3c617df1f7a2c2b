"""What a run may ask for: which mode and backend go together, and whether the CPU can do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from ia2exit.errors import Ia2exitError

Mode = Literal["observe", "enforce", "contain"]
Backend = Literal["auto", "none", "mprotect", "pku"]

_CPUINFO = "/proc/cpuinfo"
_WITHOUT = "use --backend mprotect, or auto, which takes the best there is"


def check(
    *,
    policy: object,
    map: object,
    mode: str | None,
    backend: str | None,
    timeout: float | None,
    variables: Mapping[str, str],
) -> None:
    """Refuse what cannot be had, before anything is started; ``variables`` count where an argument is None.

    Raises:
        Ia2exitError: two of them exclude each other, or the CPU has no protection keys for backend ``pku``.
    """
    if policy is not None and map is not None:
        raise Ia2exitError("run: both a policy and a map: expected one of them; leave one out")
    if timeout is not None and not 0 < timeout < float("inf"):
        raise Ia2exitError(f"run: a timeout of {timeout} seconds: expected more than 0; leave it out for no limit")
    backend = _one_of(Backend, backend, "IA2_EXIT_BACKEND", variables)
    asked = _one_of(Mode, mode, "IA2_EXIT_MODE", variables)
    by_map = policy is not None or map is not None or bool(variables.get("IA2_EXIT_MAP"))
    if backend == "none" and asked in ("enforce", "contain"):
        raise Ia2exitError(
            f'run: mode "{asked}" with backend "none", which closes nothing: expected a backend that can; '
            "leave --backend out, or use --mode observe"
        )
    if backend == "none" and asked is None and by_map:
        raise Ia2exitError(
            'run: a policy or map is enforced, and backend "none" closes nothing: expected a backend that can; '
            "leave --backend out, or add --mode observe"
        )
    if backend == "pku":
        check_keys()


def _one_of(choice: Any, value: str | None, name: str, variables: Mapping[str, str]) -> str | None:
    """The argument, else the variable; None where neither is given."""
    known = get_args(choice)
    for said, label in ((value, "run: "), (variables.get(name) or None, f"{name}=")):
        if said is None:
            continue
        if said not in known:
            raise Ia2exitError(f"{label}{said}: expected one of {', '.join(known)}; write one of them, or leave it out")
        return said
    return None


def check_keys(cpuinfo: str = _CPUINFO) -> None:
    """Refuse backend ``pku`` where the CPU has no protection keys, or the kernel does not use them.

    ``pku`` in the flags is the CPU's (CPUID leaf 7), ``ospke`` what the kernel has switched on in CR4 (Intel SDM
    volume 3, section 4.6.2).
    """
    flags = _flags(cpuinfo)
    if "pku" not in flags:
        raise Ia2exitError(
            f'run: backend "pku": {cpuinfo} has no flag pku: expected a CPU with protection keys '
            f"(Intel since Skylake-SP, AMD since Zen 3) and a hypervisor that passes them on; {_WITHOUT}"
        )
    if "ospke" not in flags:
        raise Ia2exitError(
            f'run: backend "pku": {cpuinfo} has the flag pku without ospke: expected a kernel that uses protection '
            f"keys (not started with nopku); {_WITHOUT}"
        )


def _flags(cpuinfo: str) -> list[str]:
    """Flags of the first CPU; the others have the same."""
    try:
        with open(cpuinfo, encoding="ascii", errors="replace") as file:
            return next((line.partition(":")[2].split() for line in file if line.startswith("flags")), [])
    except OSError as error:
        raise Ia2exitError(
            f'run: backend "pku": {cpuinfo}: {error.strerror}: expected the flags of the CPU there; {_WITHOUT}'
        ) from None

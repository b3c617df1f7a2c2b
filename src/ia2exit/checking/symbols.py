"""Group ``symbols``: what ld.so binds from one compartment to another.

A call is no crossing: pkeys do not hinder instruction fetch, and the function runs with its caller's rights. Data is:
where the runtime closes it, only its owner's destructors may touch it (docs/isolation.md, "What").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from ia2exit.checking.allowed import Allowed
from ia2exit.checking.metadata import Metadata
from ia2exit.checking.parts import Part
from ia2exit.checking.records import Finding
from ia2exit.checking.references import Reference, Variable, references
from ia2exit.elf.demangle import demangle
from ia2exit.exitmap.patterns import matches
from ia2exit.scanning.code_sites import REGISTRATIONS

#: Symbols, or objects, that one message names.
_SHOWN = 3
_RUNTIME = "libia2.so*"
#: Who may define registration functions: glibc and its former part, the runtime, C++ runtimes for their own one.
_REGISTRARS = (_RUNTIME, "libc.so.*", "libpthread.so.*")
_CXX = {"__cxa_thread_atexit": ("libstdc++.so.*", "libc++abi.so.*", "libc++.so.*")}

_finding = partial(Finding, group="symbols")


@dataclass
class Symbols:
    """What a look at all references gave; ``count`` is how many there were.

    Attributes:
        count: references that bind to something.
        findings: what was found of single symbols.
        calls: (user, definer) -> functions that bind across.
        open_data: the same, data that is never closed.
        registrars: (definer, registration function) -> objects that call it there.
    """

    metadata: Metadata
    allowed: Allowed
    count: int = 0
    findings: list[Finding] = field(default_factory=list)
    calls: dict[tuple[Part, Part], list[str]] = field(default_factory=dict)
    open_data: dict[tuple[Part, Part], list[str]] = field(default_factory=dict)
    registrars: dict[tuple[Part, str], list[Part]] = field(default_factory=dict)

    def take(self, one: Reference) -> None:
        """Judge a reference."""
        self.count += 1
        target = one.bound.part
        if one.symbol in REGISTRATIONS and not _may_register(target, one.symbol) and not _may_register(one.user, ""):
            self.registrars.setdefault((target, one.symbol), []).append(one.user)
        if target is one.user or target.shared or one.user.together(target):
            return
        if one.bound.what == "function" and (one.own is None or one.own.weak or one.user.shared):
            self.calls.setdefault((one.user, target), []).append(one.symbol)
        elif one.bound.what != "function" and not _memory(one).closed:
            self.open_data.setdefault((one.user, target), []).append(one.symbol)
        elif one.origin is not None and (one.origin.part.shared or one.user.together(one.origin.part)):
            self._copy_used(one, one.origin)
        elif one.own is not None and one.own.weak and one.bound.weak:
            self.findings.append(self._vague(one))
        elif not self.allowed.accepts(one.symbol, self._holders(one)):
            self.findings.append(self._interposed(one) if one.own is not None else self._crossing(one))

    @staticmethod
    def _holders(one: Reference) -> list[Part]:
        return [one.bound.part, *([one.origin.part] if one.origin else [])]

    def _copy_used(self, one: Reference, origin: Variable) -> None:
        """The object that defines a copied variable, and those that share it, use the copy: let through to the byte."""
        if origin.part.shared:
            self.open_data.setdefault((one.user, one.bound.part), []).append(one.symbol)

    def _where(self, part: Part) -> str:
        return f"{part.name}, {self.metadata.label(part.compartment)}"

    def _crossing(self, one: Reference) -> Finding:
        name = _printed(one.symbol)
        user, target = one.user, one.bound.part
        does = "copies" if one.copied else "refers to"
        tls = one.bound.what == "tls"
        if one.copied:
            instead = f", or compile {user.name} with -fPIC, which copies nothing"
        else:
            instead = "" if tls else f", or define it with IA2_SHARED_DATA (ia2_exit_note.h) in {target.name}"
        remedy = (
            f"put {user.name} and {target.name} into one compartment{instead},"
            f" or accept it with --allow '{one.symbol}@{target.name}'"
        )
        return _finding(
            name="copied" if one.copied else "tls" if tls else "data",
            severity="crossing",
            object=user.path,
            what=f"{name}, data{' of threads' if tls else ''} of {self._where(target)}",
            expected=f"only its own compartment's code, and {self.metadata.label(user.compartment)} is another",
            found=f"{user.name} {does} it" + (" into its own memory (R_X86_64_COPY)" if one.copied else ""),
            remedy=remedy,
        )

    def _vague(self, one: Reference) -> Finding:
        return _finding(
            name="vague",
            severity="info",
            object=one.user.path,
            what=f"{_printed(one.symbol)}, an inline variable",
            expected=f"its own copy, {self.metadata.label(one.user.compartment)}",
            found=f"bound to that of {self._where(one.bound.part)}: open to the destructor that is registered for it",
            remedy=None,
        )

    def _interposed(self, one: Reference) -> Finding:
        return _finding(
            name="interposed",
            severity="error",
            object=one.user.path,
            what=f"{_printed(one.symbol)}, which it defines",
            expected=f"its own definition, {self.metadata.label(one.user.compartment)}",
            found=f"bound to that of {self._where(one.bound.part)}, which comes before it in the look-up order",
            remedy="give one of them another name or hidden visibility, link it with -Wl,-Bsymbolic,"
            f" or accept it with --allow '{one.symbol}@{one.bound.part.name}'",
        )

    def summed_up(self) -> Iterator[Finding]:
        """What is told once for many symbols."""
        for (definer, symbol), users in self.registrars.items():
            yield _finding(
                name="registration",
                severity="error",
                object=definer.path,
                what=f"{symbol}, as {_some([part.name for part in users])} call{'s' if len(users) == 1 else ''} it",
                expected="that of glibc or libia2.so",
                found=f"bound to {definer.path}: destructors may be registered past the runtime, or in another's name",
                remedy=f"load libia2.so before {definer.name}, or leave {definer.name} out",
            )
        for (user, target), names in self.calls.items():
            yield self._across("functions", user, target, names, "called with the caller's rights")
        for (user, target), names in self.open_data.items():
            yield self._across("open-data", user, target, names, "in memory that is not closed to it")

    def _across(self, name: str, user: Part, target: Part, symbols: list[str], why: str) -> Finding:
        noun = "function" if name == "functions" else "variable"
        return _finding(
            name="functions" if name == "functions" else "open-data",
            severity="info",
            object=user.path,
            what=f"{len(symbols):,} {noun}{'' if len(symbols) == 1 else 's'} of {self._where(target)}",
            expected="nothing: these may cross",
            found=f"{_some([_printed(symbol) for symbol in symbols])}: {why}",
            remedy=None,
        )


def _memory(one: Reference) -> Variable:
    """The variable that code will touch: of a copy, the user's."""
    if not one.copied:
        return one.bound
    image = one.user.loaded.image
    indices = image.dynsym.by_name[one.symbol]
    return Variable(one.user, next(index for index in indices if int(image.dynsym.entries["section"][index])))


def _may_register(part: Part, symbol: str) -> bool:
    return any(matches(pattern, part.scanned) for pattern in (*_REGISTRARS, *_CXX.get(symbol, ())))


def _printed(symbol: str) -> str:
    return demangle(symbol) or symbol


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def check_symbols(parts: Sequence[Part], metadata: Metadata, allowed: Allowed) -> tuple[int, list[Finding]]:
    """How many references there are, and what is found of them.

    Raises:
        Ia2exitError: the tables of an object are corrupt, or a pattern of ``allowed`` allows nothing.
    """
    symbols = Symbols(metadata, allowed)
    for one in references(parts):
        symbols.take(one)
    allowed.check()
    return symbols.count, [*symbols.findings, *symbols.summed_up()]

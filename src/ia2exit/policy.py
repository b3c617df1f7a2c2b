"""The policy: which objects form a compartment, written by people in TOML (docs/policy.md, schemas/policy.schema.json).

::

    version = 1
    unlisted = "each"
    shared = ["libfoo.so.*"]
    [compartments.ssl]
    id = 2
    objects = ["libssl.so.*", "libcrypto.so.*"]

Adding a key is adding a field to :class:`Policy` or :class:`CompartmentRule` and a line to :data:`_EXPECTED`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ia2exit.errors import Ia2exitError
from ia2exit.model import MAX_COMPARTMENT, POLICY_VERSION
from ia2exit.toml_lines import Key, key_lines

#: Pattern for the main program.
MAIN = "@main"
#: Names with a meaning of their own in policies, maps and events.
RESERVED = frozenset({"each", "jit", "main", "none", "shared", "unknown", "unlisted"})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")


class CompartmentRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One compartment of a policy, without its name."""

    #: Globs on soname, base name or, with a slash, the path as found; ``@main`` is the program.
    objects: list[str] = []
    #: 1 to 4095, or None: numbered in the order of the file from 1 up, skipping numbers that are taken.
    id: int | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole policy; the defaults are those of no policy at all: every object its own compartment."""

    version: int = POLICY_VERSION
    #: What happens to objects that nothing names: ``each`` its own compartment, ``shared``, or a compartment's name.
    unlisted: str = "each"
    #: Globs of objects that are shared besides the default list (data/shared-objects.txt).
    shared: list[str] = []
    #: name -> rule, in the order of the file.
    compartments: dict[str, CompartmentRule] = {}


class PolicyFile(msgspec.Struct, frozen=True, kw_only=True):
    """A checked policy and where it came from, for messages."""

    policy: Policy
    source: str = "policy"
    #: key path, for example ``("compartments", "ssl", "id")`` -> line in the file, from 1.
    lines: dict[Key, int] = {}

    def place(self, *key: str) -> str:
        """``file:line`` of a key, or of the nearest table around it; the file alone where neither is known."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.lines:
                return f"{self.source}:{self.lines[key[:length]]}"
        return self.source


#: key -> what a message says was expected; an example is worth more than a type.
_EXPECTED = {
    "version": f"{POLICY_VERSION}",
    "unlisted": '"each", "shared" or the name of a compartment',
    "shared": 'a list of patterns, for example ["libfoo.so.*"]',
    "compartments": 'tables such as [compartments.ssl] with objects = ["libssl.so.*"]',
    "objects": 'a list of patterns, for example ["libssl.so.*"]',
    "id": f"an integer from 1 to {MAX_COMPARTMENT}",
}
_GOT = {
    "str": "a string",
    "int": "an integer",
    "float": "a fraction",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "datetime": "a date and time",
    "date": "a date",
    "time": "a time",
}
T = TypeVar("T", bound=msgspec.Struct)
Place = Callable[..., str]


def suggestion(word: str, known: Iterable[str]) -> str:
    """``did you mean "…"`` for the closest of ``known``, else ``write one of …``."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"write one of: {', '.join(names)}" if names else "remove it"


def _convert(table: Any, kind: type[T], subject: str, place: Place, *key: str) -> T:
    """``table`` as a ``kind``; its errors name ``subject`` and the line of the key."""
    known = [field.name for field in msgspec.structs.fields(kind)]
    if isinstance(table, dict):
        for name in table:
            if name not in known:
                raise Ia2exitError(f'{place(*key, name)}: {subject}unknown key "{name}"; {suggestion(name, known)}')
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        text, _, at = str(error).partition(" - at ")
        path = re.findall(r"\w+|\[(?:\d+|\.\.\.)\]", at.replace("$", ""))
        name = path[0] if path else key[-1]
        got = re.search(r"got `(\w+)`", text)
        # a wrong element of a list: say which, counted from 1 as people do
        element = f" {_GOT.get(got[1], got[1])} in it" if got and len(path) > 1 else ""
        found = f"got{element}" if element else f"got {_GOT.get(got[1], got[1])}" if got else text.lower()
        where = place(*key, name) if path else place(*key)
        what = f'"{name}": expected {_EXPECTED[name]}' if path else "expected a table"
        raise Ia2exitError(f"{where}: {subject}{what}, {found}; correct the value") from None


def _check_pattern(pattern: str, subject: str, place: str) -> None:
    if not pattern:
        raise Ia2exitError(f'{place}: {subject}: empty pattern; write a soname such as "libssl.so.*"')
    if pattern.startswith("@") and pattern != MAIN:
        raise Ia2exitError(f'{place}: {subject}: unknown pattern "{pattern}"; write "{MAIN}" for the program')


def _check_patterns(patterns: list[str], subject: str, place: str) -> None:
    for index, pattern in enumerate(patterns):
        _check_pattern(pattern, subject, place)
        if pattern in patterns[:index]:
            raise Ia2exitError(f'{place}: {subject}: pattern "{pattern}" stands there twice; remove one')


def _check_name(name: str, place: str) -> None:
    if name in RESERVED:
        raise Ia2exitError(
            f'{place}: compartment "{name}": the name is reserved (reserved: {", ".join(sorted(RESERVED))});'
            " choose another"
        )
    if not _NAME.fullmatch(name):
        raise Ia2exitError(
            f'{place}: compartment "{name}": expected a name of at most 64 letters, digits or any of _ . + -,'
            " not beginning with a sign; rename it"
        )


def check_policy(policy: Policy, place: Place) -> None:
    """Check what types cannot say: names, ids, patterns, ``unlisted``. Raises :class:`Ia2exitError`."""
    if policy.version != POLICY_VERSION:
        raise Ia2exitError(
            f"{place('version')}: policy of version {policy.version}, expected version = {POLICY_VERSION};"
            " rewrite it by docs/policy.md"
        )
    taken: dict[int, str] = {}
    for name, rule in policy.compartments.items():
        key = ("compartments", name)
        _check_name(name, place(*key))
        if rule.id is not None:
            if not 1 <= rule.id <= MAX_COMPARTMENT:
                raise Ia2exitError(
                    f'{place(*key, "id")}: compartment "{name}": id {rule.id} is out of range, expected'
                    f" {_EXPECTED['id']}; choose another or remove the line"
                )
            if rule.id in taken:
                raise Ia2exitError(
                    f'{place(*key, "id")}: compartment "{name}": id {rule.id} is already that of compartment'
                    f' "{taken[rule.id]}"; choose another or remove the line'
                )
            taken[rule.id] = name
        _check_patterns(rule.objects, f'compartment "{name}"', place(*key, "objects"))
    _check_patterns(policy.shared, "shared", place("shared"))
    names = ["each", "shared", *policy.compartments]
    if policy.unlisted not in names:
        raise Ia2exitError(
            f'{place("unlisted")}: unlisted = "{policy.unlisted}" names no compartment;'
            f" {suggestion(policy.unlisted, names)}"
        )


def parse_policy(text: str, source: str = "policy") -> PolicyFile:
    """A checked policy from TOML text; ``source`` stands at the start of messages. Raises :class:`Ia2exitError`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, _, at = str(error).removesuffix(")").rpartition(" (at ")
        # "line 3, column 5", or "end of document"
        line = re.match(r"line (\d+), (.*)", at)
        number = line[1] if line else str(text.rstrip().count("\n") + 1)
        detail = f"{message}, {line[2] if line else at}"
        raise Ia2exitError(f"{source}:{number}: expected TOML: {detail}; see docs/policy.md") from None
    lines = key_lines(text)
    place_of = PolicyFile(policy=Policy(), source=source, lines=lines).place
    version = document.get("version")
    if type(version) is not int or version != POLICY_VERSION:
        found = "no version" if version is None else f"version {version!r}"
        raise Ia2exitError(
            f"{place_of('version')}: {found}, expected version = {POLICY_VERSION}; write that line first"
            + ("" if version is None else ", after bringing the rest up to docs/policy.md")
        )
    rules = document.get("compartments", {})
    if isinstance(rules, dict):
        document["compartments"] = {
            name: _convert(table, CompartmentRule, f'compartment "{name}": ', place_of, "compartments", name)
            for name, table in rules.items()
        }
    policy = _convert(document, Policy, "", place_of)
    check_policy(policy, place_of)
    return PolicyFile(policy=policy, source=source, lines=lines)


def read_policy(path: str | os.PathLike[str]) -> PolicyFile:
    """A checked policy from a TOML file. Raises :class:`Ia2exitError` when it cannot be read or used."""
    source = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise Ia2exitError(f"{source}: cannot be read ({error.strerror}); expected a policy in TOML") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Ia2exitError(f"{source}:{line}: expected UTF-8 text; save the policy as UTF-8") from None
    return parse_policy(text.replace("\r\n", "\n"), source)


def load_policy(policy: PolicyFile | Policy | str | os.PathLike[str] | None) -> PolicyFile:
    """Whatever names a policy, as a checked one; None is the default policy."""
    if isinstance(policy, PolicyFile):
        return policy
    if policy is None or isinstance(policy, Policy):
        loaded = PolicyFile(policy=policy or Policy())
        check_policy(loaded.policy, loaded.place)
        return loaded
    return read_policy(policy)

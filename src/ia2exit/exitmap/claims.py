"""What a policy says about each scanned object, and the errors of a policy that does not fit what was scanned."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.patterns import matches, object_name
from ia2exit.model import ScannedObject
from ia2exit.policy import MAIN, PolicyFile

#: How many object names a message shows at most.
_SHOWN = 3


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One pattern of the policy, and who it speaks for."""

    pattern: str
    #: Name of the compartment, or None for the policy's ``shared`` list.
    compartment: str | None
    place: str

    @property
    def subject(self) -> str:
        """How messages name the line: ``compartment "ssl"`` or ``shared``."""
        return "shared" if self.compartment is None else f'compartment "{self.compartment}"'


def _all_claims(loaded: PolicyFile) -> Iterator[Claim]:
    for name, rule in loaded.policy.compartments.items():
        place = loaded.place("compartments", name, "objects")
        for pattern in rule.objects:
            yield Claim(pattern=pattern, compartment=name, place=place)
    for pattern in loaded.policy.shared:
        yield Claim(pattern=pattern, compartment=None, place=loaded.place("shared"))


def _no_match(claim: Claim, objects: Sequence[ScannedObject]) -> Ia2exitError:
    """The error for a pattern that matches nothing: it names what comes close, and what to write instead."""
    head = f"{claim.place}: {claim.subject}: "
    if claim.pattern == MAIN:
        return Ia2exitError(
            f'{head}"{MAIN}" names no object: there is no program among the {len(objects)} scanned;'
            " add the program to the paths or remove the line"
        )
    stem = claim.pattern.split(".so")[0].rstrip("*")
    if "/" in claim.pattern:
        names = {item.path for item in objects}
    else:
        names = {name for item in objects for name in (object_name(item), Path(item.path).name)}
    same = sorted(name for name in names if name.split(".so")[0] == stem)
    close = same or difflib.get_close_matches(claim.pattern, sorted(names), n=_SHOWN, cutoff=0.6)
    found = f"loaded: {', '.join(close[:_SHOWN])}" if close else f"none of the {len(objects)} comes close"
    if not close:
        remedy = "add the object to the paths"
    elif "/" not in claim.pattern and ".so." in close[0]:
        remedy = f"write {close[0].split('.so')[0]}.so.*"
    else:
        remedy = f"write {close[0]}"
    return Ia2exitError(f'{head}no loaded object matches "{claim.pattern}" ({found}); {remedy} or remove the line')


def policy_claims(loaded: PolicyFile, objects: Sequence[ScannedObject]) -> dict[int, Claim]:
    """Position in ``objects`` -> the claim of the policy, for those that it speaks of.

    Raises :class:`Ia2exitError` for a pattern that matches nothing and for an object that two compartments claim.
    """
    claimed: dict[int, Claim] = {}
    for claim in _all_claims(loaded):
        found = False
        for index, scanned in enumerate(objects):
            if not matches(claim.pattern, scanned):
                continue
            found = True
            other = claimed.setdefault(index, claim)
            if other.compartment != claim.compartment:
                raise Ia2exitError(
                    f'{claim.place}: {claim.subject}: "{claim.pattern}" claims {object_name(scanned)}, which'
                    f' {other.subject} claims with "{other.pattern}";'
                    " expected one claim: narrow one of the patterns"
                )
        if not found:
            raise _no_match(claim, objects)
    return claimed

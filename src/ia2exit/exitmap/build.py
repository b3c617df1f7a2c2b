"""From a policy and a scan to the exit map.

Who decides an object's compartment, the first that speaks: the policy (a compartment's pattern, or its ``shared``
list), a note inside the object, the default list of shared objects, the policy's ``unlisted``. A note that a pattern
overrules, or that joins a compartment of the policy uninvited, is reported once per object.

Which destructors an object's entry holds. The map answers ``ia2_destructor_lookup(fn)``: what is known of a function by
its address alone, before anyone registers it. That has one answer only where the address settles the owner
(docs/exit-handling.md, "Ownership"):

- ``.fini_array`` and ``DT_FINI`` entries (rule 1), and functions that their own object registers (rule 2: the owner
  is the registrar, and that is the object itself): the object's compartment;
- ``on_exit`` and ``pthread_key`` functions, whoever registers them (rule 4: the owner is the object that holds the
  function), unless that object is shared: then it is the registrar again;
- functions that a note lists: the compartment that the note says, or the object's where the policy decided.

A function that *another* object registers with ``__cxa_atexit`` and its relatives runs with that object's rights, a
different answer for each registrar: such pairs are in no entry, and the look-up answers NULL for a function that only
others register. The runtime does not miss them: the owner of a registration comes from its ``dso``, not from the map.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import msgspec

from ia2exit.errors import Ia2exitError
from ia2exit.exitmap.claims import policy_claims
from ia2exit.exitmap.copies import Candidate, Entry, merge_copies
from ia2exit.exitmap.patterns import is_default_shared, is_program, object_name
from ia2exit.model import (
    MAX_COMPARTMENT,
    SHARED,
    Address,
    Compartment,
    Destructor,
    ExitMap,
    MapDestructor,
    MapObject,
    ScannedObject,
    ScanResult,
)
from ia2exit.policy import PolicyFile

#: Kinds whose owner is the object that holds the function (docs/exit-handling.md, "Ownership", 4).
OWNED_BY_HOLDER = frozenset({"on_exit", "pthread_key"})


def listed(scanned: ScannedObject) -> Iterator[tuple[Address, Destructor]]:
    """RVA and destructor for each that the object itself gives its entry."""
    for entry in scanned.destructors:
        if entry.rva is not None and entry.object is None:
            yield entry.rva, entry


def lent(scanned: ScannedObject) -> Iterator[tuple[str, Address, Destructor]]:
    """Name of the holder, RVA and destructor for each that the object gives the entry of another (rule 4).

    That entry has it unless the holder is shared, or several objects bear its name.
    """
    for entry in scanned.destructors:
        if entry.kind in OWNED_BY_HOLDER and entry.rva is not None and entry.object is not None:
            yield entry.object, entry.rva, entry


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """The map, and one line for each difference that somebody should know of."""

    map: ExitMap
    notices: list[str]


def _number(loaded: PolicyFile, claimed_by_notes: set[int]) -> dict[str, int]:
    """Compartment name -> id: those of the policy, the rest from 1 up past every number that is taken."""
    rules = loaded.policy.compartments
    ids = {name: rule.id for name, rule in rules.items() if rule.id is not None}
    taken = set(ids.values()) | claimed_by_notes
    following = 1
    for name in rules:
        if name in ids:
            continue
        while following in taken:
            following += 1
        if following > MAX_COMPARTMENT:
            raise Ia2exitError(
                f'{loaded.place("compartments", name)}: compartment "{name}": no id is left up to {MAX_COMPARTMENT};'
                " join compartments"
            )
        ids[name] = following
        taken.add(following)
    return ids


def _check_claim(path: str, claim: int | None) -> None:
    if claim is not None and not SHARED <= claim <= MAX_COMPARTMENT:
        raise Ia2exitError(
            f"{path}: its note claims compartment {claim}, expected 0 to {MAX_COMPARTMENT};"
            " correct IA2_EXIT_COMPARTMENT"
        )


class _Builder:
    """One map in the making; every step reads what the steps before it wrote."""

    def __init__(self, loaded: PolicyFile, scan: ScanResult) -> None:
        self.loaded = loaded
        self.scanned = sorted(scan.objects, key=lambda item: (item.build_id or "", object_name(item), item.path))
        self.claims = policy_claims(loaded, self.scanned)
        self.notices: list[str] = []
        noted = {
            claim
            for index, item in enumerate(self.scanned)
            if index not in self.claims
            for claim in (item.claimed, *(entry.claimed for entry in item.destructors))
            if claim is not None
        }
        for item in self.scanned:
            for claim in (item.claimed, *(entry.claimed for entry in item.destructors)):
                _check_claim(item.path, claim)
        self.ids = _number(loaded, noted)
        self.names = {SHARED: "shared"} | {number: name for name, number in self.ids.items()}

    def build(self) -> Built:
        objects = [self._candidate(index, item) for index, item in enumerate(self.scanned)]
        kept, notices = merge_copies(objects)
        self.notices += notices
        self._own_compartments(kept)
        by_name: dict[str, list[Candidate]] = {}
        for item in kept:
            by_name.setdefault(item.name, []).append(item)
        self._held_elsewhere(kept, by_name)
        objects_of_map = [self._finished(item) for item in kept]
        unlisted = self.loaded.policy.unlisted
        exit_map = ExitMap(
            unlisted="each" if unlisted == "each" else SHARED if unlisted == "shared" else self.ids[unlisted],
            compartments=[Compartment(id=number, name=name) for number, name in sorted(self.names.items())],
            objects=sorted(objects_of_map, key=lambda item: (item.build_id or "", item.name)),
        )
        return Built(map=exit_map, notices=self.notices)

    def _candidate(self, index: int, scanned: ScannedObject) -> Candidate:
        """The object with the compartment that somebody named; None where it gets one of its own."""
        claim = self.claims.get(index)
        compartment: int | None
        if claim is not None:
            compartment = SHARED if claim.compartment is None else self.ids[claim.compartment]
            self._report_overruled(scanned, compartment, claim.place)
            candidate = Candidate(scanned=scanned, compartment=compartment, decided_by="policy")
        elif scanned.claimed is not None:
            self._report_joined(scanned)
            candidate = Candidate(scanned=scanned, compartment=scanned.claimed, decided_by="note")
            self._name(scanned.claimed, object_name(scanned))
        elif is_default_shared(scanned) or scanned.defines_malloc:
            self._report_allocator(scanned)
            candidate = Candidate(scanned=scanned, compartment=SHARED, decided_by="default")
        else:
            unlisted = self.loaded.policy.unlisted
            compartment = None if unlisted == "each" else self.ids.get(unlisted, SHARED)
            candidate = Candidate(scanned=scanned, compartment=compartment, decided_by="unlisted")
        candidate.destructors = [
            self._entry(scanned, rva, entry, overruled=claim is not None) for rva, entry in listed(scanned)
        ]
        return candidate

    def _report_allocator(self, scanned: ScannedObject) -> None:
        """A program with a malloc of its own serves everyone, so its data cannot be closed: that must be known."""
        if is_program(scanned):
            self.notices.append(
                f"{scanned.path}: it defines malloc, which every object calls: expected an allocator in a library; "
                "its data is shared unless a compartment of the policy names it"
            )

    def _report_overruled(self, scanned: ScannedObject, compartment: int, place: str) -> None:
        """Say where a note and the policy disagree; the policy wins."""
        said = []
        if scanned.claimed not in (None, compartment):
            said.append(f"claims compartment {scanned.claimed} for it")
        claims = {entry.claimed for entry in scanned.destructors if entry.claimed is not None}
        differing = sorted(claims - {scanned.claimed, compartment})
        if differing:
            said.append(f"gives destructors to compartment {', '.join(map(str, differing))}")
        if said:
            self.notices.append(
                f'{scanned.path}: its note {" and ".join(said)}, {place} says "{self.names[compartment]}"'
                f" ({compartment}); the policy wins: correct the one that is wrong"
            )

    def _report_joined(self, scanned: ScannedObject) -> None:
        name = self.names.get(scanned.claimed or SHARED)
        if scanned.claimed and name in self.loaded.policy.compartments:
            self.notices.append(
                f'{scanned.path}: joins compartment "{name}" ({scanned.claimed}) by its own note,'
                f" {self.loaded.source} does not list it; add it there, or give another number to one of them"
            )

    def _name(self, number: int, name: str) -> None:
        """Give a compartment that the policy does not know the name of its first object."""
        if number in self.names:
            return
        taken = set(self.names.values())
        unique, count = name, 2
        while unique in taken:
            unique, count = f"{name}~{count}", count + 1
        self.names[number] = unique

    def _entry(self, scanned: ScannedObject, rva: Address, entry: Destructor, *, overruled: bool) -> Entry:
        claimed = None if overruled else entry.claimed
        if claimed is not None:
            self._name(claimed, object_name(scanned))
        return Entry(rva=rva, kind=entry.kind, symbol=entry.symbol, claimed=claimed)

    def _own_compartments(self, objects: Iterable[Candidate]) -> None:
        """Number the objects that nobody listed, after all that somebody did, by name."""
        number = max(self.names)
        for item in sorted(objects, key=lambda item: (item.name, item.build_id)):
            if item.compartment is not None:
                continue
            number += 1
            if number > MAX_COMPARTMENT:
                raise Ia2exitError(
                    f"{self.loaded.source}: more than {MAX_COMPARTMENT} compartments with one for each unlisted object;"
                    ' write unlisted = "shared", use lower ids, or name fewer paths'
                )
            item.compartment = number
            self._name(number, item.name)

    @staticmethod
    def _held_elsewhere(objects: Iterable[Candidate], by_name: dict[str, list[Candidate]]) -> None:
        """Add functions that another object registers in a way that makes the holder the owner (rule 4)."""
        for item in objects:
            for name, rva, entry in lent(item.scanned):
                holders = by_name.get(name, [])
                # a scan of a folder may hold several objects of that name: then nobody knows which is meant
                if len(holders) == 1 and holders[0].compartment != SHARED:
                    holders[0].destructors.append(Entry(rva=rva, kind=entry.kind, symbol=entry.symbol))

    @staticmethod
    def _finished(item: Candidate) -> MapObject:
        assert item.compartment is not None
        entries: dict[tuple[int, int], Entry] = {}
        for entry in item.destructors:
            first = entries.get(entry.key)
            entries[entry.key] = entry if first is None else _merged(item.scanned.path, first, entry)
        return MapObject(
            name=_text(item.name),
            path=_text(item.scanned.path),
            build_id=item.build_id or None,
            compartment=item.compartment,
            decided_by=item.decided_by,
            main=is_program(item.scanned),
            destructors=[
                MapDestructor(
                    rva=entry.rva,
                    kind=entry.kind,
                    symbol=entry.symbol,
                    compartment=item.compartment if entry.claimed is None else entry.claimed,
                )
                for _, entry in sorted(entries.items())
            ],
        )


def _text(name: str) -> str:
    """A name that JSON can carry: bytes of a file name that are no UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def _merged(path: str, first: Entry, second: Entry) -> Entry:
    """One entry of two for one (RVA, kind): a scan finds in code what a note lists too."""
    claims = {entry.claimed for entry in (first, second) if entry.claimed is not None}
    if len(claims) > 1:
        raise Ia2exitError(
            f"{path}: its note gives the {second.kind} destructor {second.symbol or second.rva} to compartments"
            f" {first.claimed} and {second.claimed}, expected one; remove an IA2_EXIT_DESTRUCTOR"
        )
    # aliases: the smaller of two symbols, whatever the order of the scan
    symbols = [entry.symbol for entry in (first, second) if entry.symbol is not None]
    return Entry(
        rva=first.rva,
        kind=first.kind,
        symbol=min(symbols, default=None),
        claimed=claims.pop() if claims else None,
    )


def build(loaded: PolicyFile, scan: ScanResult) -> Built:
    """The exit map of the scanned objects under a checked policy. Raises :class:`Ia2exitError`."""
    return _Builder(loaded, scan).build()

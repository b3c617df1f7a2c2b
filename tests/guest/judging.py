"""What the results of a lane say: how many tests ran, what is wrong, and which assertions were shown to fail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Properties, Skipped, TestCase, TestSuite

#: WRPKRU that a destructor may cost: the runtime's key, the owner's, the runtime's, the resting state.
MOST_WRPKRU = 4


@dataclass(frozen=True)
class Outcomes:
    """The tests of one JUnit file, by name, in three groups."""

    passed: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()

    @property
    def ran(self) -> int:
        """Those that did not skip themselves."""
        return len(self.passed) + len(self.failed)

    def among(self, names: frozenset[str]) -> Outcomes:
        """Those with one of these names."""
        return Outcomes(self.passed & names, self.failed & names, self.skipped & names)

    @property
    def names(self) -> frozenset[str]:
        """Of all of them."""
        return self.passed | self.failed | self.skipped

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many ran, failed, were skipped."""
        return self.ran, len(self.failed), len(self.skipped)

    def with_those_of(self, other: Outcomes) -> Outcomes:
        """Both together."""
        return Outcomes(self.passed | other.passed, self.failed | other.failed, self.skipped | other.skipped)


def read(path: Path, *, marked: str | None = None) -> Outcomes:
    """The tests of a JUnit file of pytest's or ctest's; none where there is no such file.

    ``marked``: only those with this marker, which tests/conftest.py tells as a property.
    """
    groups: dict[str, set[str]] = {"passed": set(), "failed": set(), "skipped": set()}
    for case in _cases(path):
        if marked is not None and marked not in _properties(case):
            continue
        kinds = {type(result) for result in case.result}
        group = "failed" if kinds & {Failure, Error} else "skipped" if Skipped in kinds else "passed"
        groups[group].add("::".join(part for part in (case.classname, case.name) if part))
    return Outcomes(**{name: frozenset(tests) for name, tests in groups.items()})


def _properties(case: TestCase) -> set[str]:
    group = case.child(Properties)  # type: ignore[no-untyped-call]  # junitparser says nothing of it
    return {one.name for one in group} if group is not None else set()


def _cases(path: Path) -> Iterator[TestCase]:
    if not path.is_file():
        return
    document = JUnitXml.fromfile(str(path))
    suites = [document] if isinstance(document, TestSuite) else list(document)
    for suite in suites:
        yield from suite


@dataclass(frozen=True)
class Lane:
    """A lane that ran, or why it did not."""

    name: str
    #: CPU model and kernel.
    place: str = ""
    #: What libc.so.6 says it is: 2.36.
    glibc: str = ""
    #: How long it took.
    seconds: int | None = None
    skipped_because: str | None = None
    #: Tests by kind ("C", "Python"): ran, failed, skipped.
    counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    #: Assertions that fail with a runtime that closes nothing.
    proven: list[str] = field(default_factory=list)
    #: Instructions and WRPKRU from one destructor to the next of another owner; None: not counted.
    switch: tuple[int, int] | None = None


def judge_host(results: Path) -> Lane:
    """The lane of ``ninja check``."""
    return _judged("host", results, {"C": read(results / "c.xml"), "Python": read(results / "python.xml")}, [])


def judge_glibc(name: str, results: Path) -> Lane:
    """A lane of another glibc (tests/glibcs). ``expected``: the version that it was to run with."""
    loader = read(results / "loader.xml")
    kinds = {"C": read(results / "c.xml"), "Python": read(results / "python.xml").with_those_of(loader)}
    problems = ["no test of ld.so itself ran"] if loader.ran == 0 else []
    lane = _judged(name, results, kinds, problems)
    expected = (results / "expected").read_text()
    if lane.glibc != expected:
        lane.problems.append(f"it ran with glibc {lane.glibc or 'unknown'}: expected {expected}")
    return lane


def by_backend(tests: Outcomes) -> dict[str, Outcomes]:
    """Python tests by the backend that each asks for; ``""``: those that ask for none, or for several."""
    names: dict[str, set[str]] = {"none": set(), "mprotect": set(), "pku": set(), "": set()}
    for test in tests.names:
        parameters = re.findall(r"\b(?:none|mprotect|pku)\b", test.partition("[")[2])
        backend = parameters[0] if len(set(parameters)) == 1 else ""
        names["pku" if test.startswith("tests.pku.") else backend].add(test)
    return {backend: tests.among(frozenset(found)) for backend, found in names.items()}


def judge(name: str, results: Path) -> Lane:
    """A lane of :mod:`.inside`."""
    debugger = read(results / "python.xml", marked="debugger")
    python = read(results / "python.xml")
    kinds = {"C": read(results / "c.xml"), "Python": python}
    without = [read(results / "c-unswitched.xml"), read(results / "python-unswitched.xml", marked="enforces")]
    control = read(results / "python-unswitched.xml", marked="control")
    passed = kinds["C"].passed | kinds["Python"].passed
    proven = {test for outcomes in without for test in outcomes.failed}
    problems = [f"{test}: passes with a runtime that closes nothing" for o in without for test in sorted(o.passed)]
    problems += [f"{test}: skipped with a runtime that closes nothing" for o in without for test in sorted(o.skipped)]
    problems += [f"{test}: was not tried with the switch" for test in sorted(proven - passed - _failed(kinds))]
    problems += [
        f"{test}: fails in the control group, so the others' failing proves nothing" for test in control.failed
    ]
    problems += ["no test of the control group ran"] if not control.passed else []
    problems += ["no test of the debugger ran"] if debugger.ran == 0 else []
    problems += ["no Python test but the debugger's ran"] if python.ran == debugger.ran != 0 else []
    problems += [f"no {kind} test was shown to fail" for kind, o in zip(kinds, without, strict=True) if not o.failed]
    switch = _switch(results / "steps.json")
    problems += ["the cost of a switch was not counted"] if switch is None else []
    problems += (
        [f"a switch takes {switch[1]} WRPKRU: at most {MOST_WRPKRU}"] if switch and switch[1] > MOST_WRPKRU else []
    )
    lane = _judged(name, results, kinds, problems)
    return replace(lane, proven=sorted(proven), switch=switch)


def _failed(kinds: dict[str, Outcomes]) -> frozenset[str]:
    return kinds["C"].failed | kinds["Python"].failed


def _judged(name: str, results: Path, kinds: dict[str, Outcomes], problems: list[str]) -> Lane:
    found = [f"{test}: failed" for outcomes in kinds.values() for test in sorted(outcomes.failed)]
    found += [f"no {kind} test ran" for kind, outcomes in kinds.items() if outcomes.ran == 0]
    counts = {kind: outcomes.counts for kind, outcomes in kinds.items()}
    place, took = results / "place.json", results / "seconds"
    told = json.loads(place.read_text()) if place.is_file() else {}
    where = f"{told['cpu']}, Linux {told['kernel']}" if told else "unknown"
    seconds = int(took.read_text()) if took.is_file() else None
    return Lane(name, where, told.get("glibc", ""), seconds, None, counts, found + problems)


def _switch(path: Path) -> tuple[int, int] | None:
    """The dearest way from one destructor to the next."""
    try:
        ways = json.loads(path.read_text())["ways"]
    except (OSError, ValueError, KeyError):
        return None
    return max(((way["instructions"], way["wrpkru"]) for way in ways), default=None)

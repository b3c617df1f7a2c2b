"""How much of what really happens at exit ``ia2exit scan`` had predicted.

    python benchmarks/bench_recall.py [--json FILE] [--programs FILE] [--objects PATH …] [NAME …]

Each program of tests/real/programs.toml is run under the runtime. Every (object, RVA) pair that the run registered or
finalised is looked for among the predictions for the objects that were loaded: *recall*, with what was missed and why.
Objects with full symbols (``.symtab``) among them, and objects compiled here, give *imprecision*: the share of
predictions whose call site is no registration, or whose function is no function entry (precision.py).

Exit status 1 if the recall over all programs is below 95 %, or the imprecision above 1 %.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ia2exit
import precision
from harness import ROOT, Result, finish
from ia2exit import events
from ia2exit.errors import Ia2exitError
from ia2exit.model import Destructor, ScannedObject, from_json

PROGRAMS = ROOT / "tests" / "real" / "programs.toml"
MIN_RECALL, MAX_IMPRECISION = 95.0, 1.0
#: Seconds that one program may run.
TIME_LIMIT = 120
#: Kinds that are read from tables; all others are found in code.
TABLES = ("fini_array", "fini")

Pair = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A destructor that was registered and not predicted."""

    object: str
    rva: str
    kind: str
    registrar: str | None
    reason: str


@dataclass(kw_only=True)
class Outcome:
    """What became of one program."""

    name: str
    objects: int
    #: Distinct (object, RVA) pairs that were registered or finalised, and how many of them were predicted.
    happened: int
    predicted: int
    #: The same without ``.fini_array`` and ``DT_FINI``.
    in_code: int
    in_code_predicted: int
    #: Functions outside every object (JIT code): nothing to predict.
    outside: int
    misses: list[Miss] = field(default_factory=list)


class Scans:
    """Scan results by real path, each file once however many programs load it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], dict[str, ScannedObject]] = {}

    def of(self, program: str, loaded: Sequence[str]) -> dict[str, ScannedObject]:
        """All objects of a run by real path: the program's closure first, then what came by dlopen."""
        key = (program, *sorted(loaded))
        if key not in self._known:
            paths = [program, *(path for path in loaded if path != program)]
            found: dict[str, ScannedObject] = {}
            for path in paths:
                if os.path.realpath(path) not in found:
                    for scanned in ia2exit.scan(path, dependencies=True).objects:
                        found.setdefault(os.path.realpath(scanned.path), scanned)
            self._known[key] = found
        return self._known[key]

    def paths(self) -> list[str]:
        """All objects that were scanned."""
        return sorted({path for found in self._known.values() for path in found})


def trace(program: dict[str, Any], folder: Path) -> list[Any]:
    """Run a program under the runtime; the events of its first process."""
    file = folder / "events"
    command = [sys.executable, "-m", "ia2exit", "run", "--quiet", "--trace", str(file), "--", *program["command"]]
    environment = {
        **os.environ,
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(ROOT / "src"),
    }
    done = subprocess.run(
        command,
        input=program.get("stdin", "").encode(),
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    wanted = -int(signal.Signals[program["signal"]]) if "signal" in program else program.get("status", 0)
    if done.returncode != wanted:
        text = done.stderr.decode(errors="replace").strip().splitlines()
        raise Ia2exitError(f"{command[-1]}: exit status {done.returncode}, expected {wanted}: {' '.join(text[-1:])}")
    lines = file.read_bytes().splitlines()
    found: list[Any] = [from_json(line, events.AnyEvent) for line in lines]  # type: ignore[arg-type]
    return [event for event in found if event.pid == found[0].pid]


def predicted_pairs(scanned: dict[str, ScannedObject]) -> dict[Pair, Destructor]:
    """All predicted (real path, RVA) pairs; a function of another object is looked up by the object's name there."""
    by_name = {name: path for path, one in scanned.items() for name in (one.soname, Path(path).name) if name}
    pairs: dict[Pair, Destructor] = {}
    for path, one in scanned.items():
        for destructor in one.destructors:
            holder = path if destructor.object is None else by_name.get(destructor.object)
            if holder is not None and destructor.rva is not None:
                pairs[holder, int(destructor.rva)] = destructor
    return pairs


def compare(name: str, found: list[Any], scans: Scans) -> Outcome:
    """Match what happened with what was predicted."""
    program = os.path.realpath(found[0].program)
    loaded = [
        os.path.realpath(e.path)
        for e in found
        if isinstance(e, events.Object) and Path(e.path).exists() and "libia2" not in Path(e.path).name
    ]
    scanned = scans.of(program, loaded)
    pairs = predicted_pairs(scanned)
    happened: dict[Pair, events.Register | events.Enter] = {}
    outside = 0
    for event in found:
        if isinstance(event, events.Register | events.Enter):
            place = event.function
            if place.object is None or place.rva is None:
                outside += 1
            elif Path(place.object).exists():
                happened.setdefault((os.path.realpath(place.object), int(place.rva)), event)
    misses = [
        Miss(
            object=pair[0],
            rva=hex(pair[1]),
            kind=event.kind,
            registrar=event.dso or (event.registrar.object if event.registrar else None),
            reason=reason(pair, event, scanned),
        )
        for pair, event in happened.items()
        if pair not in pairs
    ]
    code = [pair for pair, event in happened.items() if event.kind not in TABLES]
    return Outcome(
        name=name,
        objects=len(set(loaded)),
        happened=len(happened),
        predicted=len(happened) - len(misses),
        in_code=len(code),
        in_code_predicted=sum(pair in pairs for pair in code),
        outside=outside,
        misses=misses,
    )


def reason(pair: Pair, event: events.Register | events.Enter, scanned: dict[str, ScannedObject]) -> str:
    """Why a destructor was not predicted, as far as the scan tells."""
    if pair[0] not in scanned:
        return "the object was not scanned"
    if event.kind in TABLES:
        return "not in the object's tables"
    registrars = [path for path in (event.dso, event.registrar.object if event.registrar else None) if path]
    objects = [scanned[path] for path in map(os.path.realpath, registrars) if path in scanned]
    sites = [d for one in objects for d in one.destructors if d.found == "code"]
    if not sites:
        return "the registrar's code has no registration that scan found"
    if any(d.rva is not None and d.symbol_source == "import" and d.kind == event.kind for d in sites):
        bound = {d.symbol for d in sites if d.symbol_source == "import"}
        own = next((d for d in scanned[pair[0]].destructors if d.rva == pair[1]), None)
        if own is not None and own.symbol in bound:
            return "the loader bound the name to another object"
    if any(d.rva is None and d.kind == event.kind for d in sites):
        return "the registrar has a site whose argument is no constant"
    return "the registrar's sites give other functions"


def share(part: int, whole: int) -> float:
    """``part`` of ``whole`` in per cent; all of nothing is 100 %."""
    return 100.0 * part / whole if whole else 100.0


def report(outcomes: Iterable[Outcome]) -> None:
    """One line a program, and its misses by reason."""
    print(f"{'program':18} {'objects':>7} {'happened':>8} {'recall':>8} {'in code':>8} {'recall':>8}  not predicted")
    for one in outcomes:
        reasons = Counter(miss.reason for miss in one.misses)
        print(
            f"{one.name:18} {one.objects:7} {one.happened:8} {share(one.predicted, one.happened):7.2f}%"
            f" {one.in_code:8} {share(one.in_code_predicted, one.in_code):7.2f}% "
            f" {'; '.join(f'{count} x {text}' for text, count in reasons.most_common())}"
        )
        for miss in one.misses:
            print(f"    {miss.kind} {miss.object}+{miss.rva}, registered by {miss.registrar}")


def write_json(path: Path, outcomes: Sequence[Outcome], verdicts: Sequence[precision.Verdict]) -> None:
    """Write everything that was found, beside first and then renamed."""
    document = {"programs": [asdict(one) for one in outcomes], "checked": [asdict(one) for one in verdicts]}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(document, indent=2) + "\n")
    beside.replace(path)


def results(outcomes: Sequence[Outcome], verdicts: Sequence[precision.Verdict], names: Sequence[str]) -> list[Result]:
    """The figures that are judged: over all programs, and over all objects that can be checked."""
    command = " ".join(["python", "benchmarks/bench_recall.py", *names])
    happened = sum(one.happened for one in outcomes)
    code = sum(one.in_code for one in outcomes)
    recall = share(sum(one.predicted for one in outcomes), happened)
    in_code = share(sum(one.in_code_predicted for one in outcomes), code)
    predictions, wrong = sum(one.predictions for one in verdicts), sum(len(one.wrong) for one in verdicts)
    return [
        Result(
            name=f"recall, {happened} destructors of {len(outcomes)} programs",
            value=recall if happened else float("nan"),
            unit="%",
            limit=MIN_RECALL,
            bound="at least",
            command=command,
        ),
        Result(
            name=f"of these, {code} registered in code",
            value=in_code if code else float("nan"),
            unit="%",
            limit=MIN_RECALL,
            bound="at least",
            command=command,
        ),
        Result(
            name=f"imprecision, {predictions} predictions in {len(verdicts)} objects with symbols",
            value=share(wrong, predictions) if predictions else float("nan"),
            unit="%",
            limit=MAX_IMPRECISION,
            command=command,
        ),
    ]


def main() -> int:
    """Run the benchmark; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="programs of the list; all unless given")
    parser.add_argument("--programs", type=Path, default=PROGRAMS, metavar="FILE", help="the list of programs (TOML)")
    parser.add_argument("--objects", type=Path, nargs="+", default=[], metavar="PATH", help="check these objects, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything here")
    options = parser.parse_args()
    programs = tomllib.loads(options.programs.read_text())
    scans = Scans()
    outcomes: list[Outcome] = []
    try:
        for name in options.names or programs:
            if name not in programs:
                raise Ia2exitError(f"{options.programs}: no program {name}; there are {', '.join(programs)}")
            with tempfile.TemporaryDirectory() as folder:
                outcomes.append(compare(name, trace(programs[name], Path(folder)), scans))
        verdicts = precision.check_all([*options.objects, *map(Path, scans.paths())])
    except Ia2exitError as error:
        print(f"recall: {error}", file=sys.stderr)
        return error.status
    report(outcomes)
    for verdict in verdicts:
        for line in verdict.wrong:
            print(f"wrong: {verdict.path}: {line}")
    if options.json:
        write_json(options.json, outcomes, verdicts)
    return finish("recall", results(outcomes, verdicts, options.names))


if __name__ == "__main__":
    sys.exit(main())

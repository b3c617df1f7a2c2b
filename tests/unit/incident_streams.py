"""Traces of violations and faults, written by hand from the records of ia2exit.events about real objects."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from elf_building import build, command
from jsonschema import Draft202012Validator

from ia2exit import events
from ia2exit.model import Address, to_json
from ia2exit.running import RunResult, outcome, trace
from ia2exit.running.launch import Ended
from ia2exit.running.naming import named
from ia2exit.running.table import render

VALIDATOR = Draft202012Validator(json.loads((Path(events.__file__).parent / "schemas/events.schema.json").read_bytes()))
PID, THREAD = 4000, 4001

APP = """
int secret[16] = {1};
static char buffer[256];
char *borrow(void) { return buffer; }
int main(void) { return *borrow(); }
"""
PLUG = """
struct Plug { ~Plug(); int *target; };
Plug::~Plug() { target[2] = 7; }
extern "C" void tidy(int *target) { target[3] = 8; }
"""


class Stage:
    """A program and a library of two compartments, and events that name their functions and variables."""

    def __init__(self, folder: Path) -> None:
        self.paths = {
            "app": build(folder / "app", APP, "-Wl,--build-id=sha1"),
            "libplug.so": build(folder / "libplug.so", PLUG, "-Wl,--build-id=sha1", language="cc"),
            "liblost.so": folder / "liblost.so",
        }
        self.bases = {"app": 0x10000000, "libplug.so": 0x20000000, "liblost.so": 0x30000000}
        self.slots = {"app": 1, "libplug.so": 2, "liblost.so": 3}
        self._symbols = {name: _symbols(path) for name, path in self.paths.items() if path.exists()}

    def rva(self, of: str, symbol: str, offset: int = 0) -> int:
        """Where a symbol of an object is, in the object."""
        return self._symbols[of][symbol] + offset

    def place(self, of: str, symbol: str, offset: int = 0) -> events.Place:
        """The same as the runtime says it."""
        rva = self.rva(of, symbol, offset)
        return events.Place(address=Address(self.bases[of] + rva), object=str(self.paths[of]), rva=Address(rva))

    def frame(self, of: str, symbol: str, offset: int = 0) -> events.Frame:
        """The same in a stack."""
        return events.Frame(slot=self.slots[of], address=Address(self.rva(of, symbol, offset)))

    def start(self, **changes: Any) -> events.Start:
        """The first event."""
        members = {
            **{"version": 1, "runtime": "0.1.0", "program": str(self.paths["app"]), "ppid": 1, "forked": False},
            **{"glibc": "2.36", "backend": "mprotect", "backend_why": "the CPU has no protection keys"},
            **{"mode": "enforce", "allow_all": False, "virtual": True, "map": None, **changes},
        }
        return events.Start(pid=PID, tid=PID, t=1, **members)

    def object(self, name: str, compartment: int, when: str = "start", **changes: Any) -> events.Object:
        """An object that came, or went."""
        base = self.bases[name]
        members = {
            **{"slot": self.slots[name], "path": str(self.paths[name]), "build_id": None, "base": Address(base)},
            **{"start": Address(base), "end": Address(base + 0x10000), "compartment": compartment},
            **{"compartment_name": {1: "program", 2: "plug"}[compartment], "decided_by": "map", "covered": True},
            **{"why_not": None, "entries": 0, "when": when, **changes},
        }
        return events.Object(pid=PID, tid=PID, t=2, **members)

    def objects(self) -> list[events.AnyEvent]:
        """The first events of a process with all of them, one of which is gone again."""
        lost = [self.object("liblost.so", 2, when) for when in ("load", "unload")]
        return [self.start(), self.object("app", 1), self.object("libplug.so", 2), *lost]

    def running(self, seq: int = 1, **changes: Any) -> events.Running:
        """Plug's destructor, registered by main."""
        members = {
            **{"seq": seq, "record": 5, "generation": 0, "kind": "cxa_atexit", "owner": 2, "owner_name": "plug"},
            **{"function": self.place("libplug.so", "_ZN4PlugD1Ev"), "registrar": self.place("app", "main", 4)},
        }
        return events.Running(**{**members, **changes})

    def enter(self, seq: int = 1, **changes: Any) -> events.Enter:
        """It begins to run."""
        doer = self.running(seq)
        members = {
            **{name: getattr(doer, name) for name in doer.__struct_fields__},
            **{"dso": str(self.paths["libplug.so"]), "foreign": False, "vague": False, "depth": 0, "moment": "exit"},
            **{"pkru_before": Address(0xFFFFFFFC), "pkru_wanted": Address(0xFFFFFFCC), "unenforced": None, **changes},
        }
        return events.Enter(pid=PID, tid=PID, t=10 * seq, **members)

    def leave(self, seq: int = 1, outcome: str = "success") -> events.Leave:
        """It returned."""
        members: dict[str, Any] = {"outcome": outcome, "pkru_after": Address(0xFFFFFFFC)}
        return events.Leave(pid=PID, tid=PID, t=10 * seq + 5, seq=seq, record=5, generation=0, ns=500, **members)

    def violation(self, seq: int = 1, **changes: Any) -> events.Violation:
        """It wrote to a variable of the program."""
        members = {
            **{"destructor": self.running(seq), "handler": False, "via": "instruction", "syscall": None},
            **{"instruction": self.place("libplug.so", "_ZN4PlugD1Ev", 3), "address": self.place("app", "secret", 8)},
            **{"victim": 1, "victim_name": "program", "access": "write", "action": "ended"},
            "stack": [self.frame("libplug.so", "_ZN4PlugD1Ev", 3), self.frame("app", "main", 5)],
        }
        return events.Violation(pid=PID, tid=PID, t=10 * seq + 1, **{**members, **changes})

    def fault(self, **changes: Any) -> events.Fault:
        """It read through a NULL pointer."""
        members = {
            **{
                "what": "segmentation fault",
                "detail": "a read through a NULL pointer",
                "signal": 11,
                "code": 1,
                "address": Address(8),
            },
            **{"instruction": self.place("libplug.so", "_ZN4PlugD1Ev", 3), "destructor": self.running()},
            "stack": [self.frame("libplug.so", "_ZN4PlugD1Ev", 3)],
        }
        return events.Fault(pid=PID, tid=PID, t=20, **{**members, **changes})

    def counters(self, **changes: int) -> events.Counters:
        """What the runtime counted."""
        return events.Counters(**{**dict.fromkeys(events.Counters.__struct_fields__, 0), "pid": PID, **changes})

    def counts(self, id: int | None, name: str | None, **changes: int) -> events.CompartmentCounts:
        """What it counted for a compartment."""
        known = dict.fromkeys(events.Counts.__struct_fields__, 0)
        return events.CompartmentCounts(id=id, name=name, **{**known, "pid": PID, **changes})

    def exit(self) -> events.Exit:
        """The program calls exit."""
        return events.Exit(pid=PID, tid=PID, t=9, how="exit", status=0)

    def end(self, how: str = "signal", status: int | None = None) -> events.End:
        """The last event."""
        members: dict[str, Any] = {"how": how, "status": status}
        return events.End(pid=PID, tid=PID, t=99, **members)


def lines(stream: list[events.AnyEvent]) -> list[bytes]:
    """The events as a trace has them, each of them valid by the published schema and no longer than a line may be."""
    encoded = [to_json(event, indent=None) for event in stream]
    for line in encoded:
        VALIDATOR.validate(json.loads(line))
        assert len(line) <= 4096
    return encoded


def result(stream: list[events.AnyEvent], *, signal: int | None = 11, data: bytes | None = None) -> RunResult:
    """What a run would return whose trace is ``stream`` (or these bytes) and that ended by a signal, or with 0."""
    found = trace.read(io.BytesIO(b"".join(lines(stream)) if data is None else data))
    ended = Ended(0 if signal is None else None, signal, False, 1000)
    return RunResult(
        command=["app"],
        program="app",
        status=ended.status,
        signal=signal,
        core=False,
        ns=1000,
        processes=[named(process) for process in found.processes],
        notes=outcome.notes(found, ended, "app", follow=False),
        malformed=found.malformed,
        truncated=found.truncated,
        trace=None,
    )


def told(stream: list[events.AnyEvent], *, signal: int | None = 11, counters: bool = False) -> str:
    """The report of such a run."""
    return render(result(stream, signal=signal), counters=counters)


def _symbols(path: Path) -> dict[str, int]:
    printed = command("nm", path)
    return {name: int(rva, 16) for rva, name in re.findall(r"^([0-9a-f]+) \w ([^@\s]+)", printed, re.MULTILINE)}

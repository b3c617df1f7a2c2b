"""What is said, unasked, where the program has stopped."""

from __future__ import annotations

import gdb

from ia2exit.debugger.gdb_commands.breaking import Landing
from ia2exit.debugger.gdb_commands.panel import lines, panel
from ia2exit.debugger.gdb_commands.quiet import quietly
from ia2exit.debugger.gdb_commands.records import Record, record_at
from ia2exit.debugger.gdb_commands.scene import Scene

_SIGSEGV = 11
_ACTIONS = ("opened", "ended", "abandoned")
_DID = ("read", "write", "touch")


class ViolationBreakpoint(gdb.Breakpoint):
    """In the runtime, where a touch of closed memory is about to end the process, or a destructor (probe.h)."""

    def __init__(self) -> None:
        super().__init__("-probe-stap libia2:violation", internal=True)
        self.silent = True
        self.violation = 0

    def stop(self) -> bool:
        """Those that are let through (observe) do not stop the program."""
        try:
            self.violation = int(gdb.parse_and_eval("$_probe_arg0"))
            return _ACTIONS[int(_violation(self.violation)["action"])] != "opened"
        except gdb.error:
            return False


class FaultBreakpoint(gdb.Breakpoint):
    """In the runtime's handler, where it has found out that a SIGSEGV is none of closed memory: a crash.

    gdb has let it through to there; at other deadly signals it has stopped before.
    """

    def __init__(self) -> None:
        super().__init__("-probe-stap libia2:fault", internal=True)
        self.silent = True

    def stop(self) -> bool:
        """At SIGSEGV alone."""
        try:
            info = int(gdb.parse_and_eval("$_probe_arg0"))
            return int.from_bytes(bytes(gdb.selected_inferior().read_memory(info, 4)), "little") == _SIGSEGV
        except gdb.error:
            return False


def _violation(address: int) -> gdb.Value:
    kind = gdb.lookup_type("struct ia2_violation").pointer()
    return gdb.Value(address).cast(kind).dereference()


def _say_violation(address: int) -> None:
    violation = _violation(address)
    scene = Scene()
    victim = int(violation["victim"])
    whose = f" of {scene.compartments.label(victim)}" if victim >= 0 else ""
    touched = scene.places.near(int(violation["address"]))
    doer = scene.chain[0] if scene.chain else None
    who = f"destructor {doer.name}" if doer is not None else "code between destructors"
    how = "the kernel was to" if int(violation["via"]) else "tried to"
    end = "the process ends here" if _ACTIONS[int(violation["action"])] == "ended" else "it is abandoned here"
    print(f"\nViolation: {who}: {how} {_DID[int(violation['access'])]} {touched}{whose}; {end}")
    if doer is not None:
        print("\n".join(lines(scene, doer)))
    _select_interrupted()


def _say_fault() -> None:
    scene = Scene()
    doer = scene.chain[0] if scene.chain else None
    print(f"\nProgram received signal SIGSEGV, Segmentation fault, in {'a destructor' if doer else 'no destructor'}.")
    if doer is not None:
        print("\n".join(lines(scene, doer)))
    _select_interrupted()


def _select_interrupted() -> None:
    """The frame that the runtime's handler has interrupted is what everybody wants to see."""
    frame: gdb.Frame | None = gdb.newest_frame()
    while frame is not None and frame.type() != gdb.SIGTRAMP_FRAME:
        frame = frame.older()
    interrupted = frame.older() if frame is not None else None
    if interrupted is not None:
        interrupted.select()
    gdb.execute("frame")


_shown: tuple[int, int, str] | None = None


def _show(scene: Scene, record: Record) -> None:
    print(panel(scene, record))


def _say_destructor(landing: Landing) -> None:
    scene = Scene()
    record = record_at(scene.runtime, landing.record)
    print(f"\nBreakpoint {landing.of}, at the first instruction of a destructor:")
    if record is not None:
        _show(scene, record)
    gdb.execute("frame")


def _say_about_to_run() -> None:
    """At a stop in ia2_run_destructor(), once for each state of its record: one may step through it."""
    global _shown  # noqa: PLW0603
    try:
        scene = Scene()
        record = scene.asked_for()
    except (gdb.error, gdb.GdbError):  # not ours to disturb: the runtime is not there yet, or has no symbols
        return
    thread = gdb.selected_thread()
    if record is None or thread is None:
        return
    now = (thread.global_num, record.address, record.state)
    if now != _shown:
        _shown = now
        _show(scene, record)


def on_stop(event: gdb.StopEvent) -> None:
    """For gdb's event ``stop``."""
    hit = event.breakpoints if isinstance(event, gdb.BreakpointEvent) else []
    for breakpoint in hit:
        if isinstance(breakpoint, Landing):
            _say_destructor(breakpoint)
            return
        if isinstance(breakpoint, ViolationBreakpoint):
            _say_violation(breakpoint.violation)
            return
        if isinstance(breakpoint, FaultBreakpoint):
            _say_fault()
            return
    _say_about_to_run()


def set_up() -> None:
    """Once for each gdb."""
    quietly(ViolationBreakpoint)
    quietly(FaultBreakpoint)
    gdb.events.stop.connect(on_stop)

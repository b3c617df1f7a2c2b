"""What a run leaves behind, as records: the result of :func:`ia2exit.run`.

Times are nanoseconds. Addresses are :class:`~ia2exit.model.Address`. A *process* here is one program image: a pid that
replaced its program by ``exec`` and is followed counts as two.
"""

from __future__ import annotations

from typing import Literal

from ia2exit.events import CompartmentCounts, Counters, End, Exec, Exit, Object, Outcome, Start
from ia2exit.model import Address, Kind, Record


class Ran(Record, frozen=True, kw_only=True):
    """One destructor that ran (or had begun to when the process ended)."""

    #: 1, 2, …: the order in which the destructors of the process started.
    order: int
    kind: Kind
    #: Absolute address of the function.
    address: Address
    #: Path of the object that holds the function and the RVA in it; None where no object covers it.
    object: str | None
    rva: Address | None
    #: Linker symbol of the function, and the same demangled; None where the object's symbols do not tell.
    symbol: str | None
    name: str | None
    #: Path of the object that registered it (``dso_handle``) or is being finalised.
    dso: str | None
    #: Compartment whose rights it had, and its name; None where the owner cannot be told.
    owner: int | None
    owner_name: str | None
    #: Thread, and whether that is the process's first.
    thread: int
    main_thread: bool
    moment: Literal["exit", "unload", "thread-end"]
    #: How many destructors of this thread were already running.
    depth: int
    #: From just before the call to just after it, nested destructors included; None when it never returned.
    ns: int | None
    #: The same without the destructors that ran inside it.
    self_ns: int | None
    #: How it went; None when it never returned.
    outcome: Outcome | None = None
    #: Why nothing was closed while it ran, or None.
    unenforced: str | None = None
    #: Why the fallback's rights were used, or None.
    fallback: str | None = None
    foreign: bool = False
    vague: bool = False


class Location(Record, frozen=True, kw_only=True):
    """An address of a process and what lies there: code, or a variable."""

    #: Absolute.
    address: Address
    #: Path of the object that covers it and the RVA in it; None where none does.
    object: str | None
    rva: Address | None
    #: Path of the object that lay there until it was unloaded; None where there was none, or one still does.
    unloaded: str | None = None
    #: Linker symbol of the function or variable around it, the same demangled, and the bytes from its start; None
    #: where neither the object's symbols nor its debug file tell.
    symbol: str | None = None
    name: str | None = None
    offset: int | None = None
    #: Section of the object (``.bss``), where it has section headers.
    section: str | None = None


class Frame(Location, frozen=True, kw_only=True):
    """One frame of a stack."""

    #: Frames that are left out between this one and the next, and whether all are of the same function as this one.
    left_out: int = 0
    alike: bool = True


class Doer(Record, frozen=True, kw_only=True):
    """The destructor that was running when something went wrong."""

    #: Its number among the destructors of the process, as :attr:`Ran.order`.
    order: int
    kind: Kind
    function: Location
    #: Where it was registered: the return address of the call; None for what a dynamic section lists.
    registrar: Location | None
    #: Compartment whose rights it had, and its name.
    owner: int | None
    owner_name: str | None


class Violation(Record, frozen=True, kw_only=True):
    """Code of one compartment touched memory of another."""

    thread: int
    #: The destructor on whose account it is; None for code that ran between destructors.
    destructor: Doer | None
    #: Whether a signal handler of the program's did it.
    handler: bool
    via: Literal["instruction", "syscall"]
    instruction: Location
    #: Number of the system call and its name (x86-64 table); None where it was an instruction, or has no name.
    syscall: int | None
    syscall_name: str | None
    #: What was touched; None where the kernel does not tell.
    address: Location | None
    #: Compartment that the memory belongs to, and its name.
    victim: int | None
    victim_name: str | None
    access: Literal["read", "write", "unknown"]
    #: What came of it: the page was opened, the process ended, or the destructor abandoned.
    action: Literal["opened", "ended", "abandoned"]
    #: Innermost first: the instruction itself, then return addresses.
    stack: list[Frame]


class ThreadStack(Record, frozen=True, kw_only=True):
    """Where a thread was when a hang was looked at."""

    thread: int
    destructor: Doer | None
    instruction: Location
    stack: list[Frame]


class Fault(Record, frozen=True, kw_only=True):
    """Something that must not happen: a deadly signal, a hang (``what`` is ``timeout``), or what ``detail`` says."""

    thread: int
    what: str
    detail: str
    #: Number of the signal, its ``si_code`` and ``si_addr``; None where none is behind it.
    signal: int | None
    code: int | None
    address: Location | None
    #: Where the thread was, and the destructor that it was running.
    instruction: Location | None
    destructor: Doer | None
    #: Innermost first: the instruction itself, then return addresses.
    stack: list[Frame]
    #: The other threads, for a hang.
    threads: list[ThreadStack]

    @property
    def is_message(self) -> bool:
        """Whether ``what`` and ``detail`` are all there is: nothing that a thread ran into."""
        return self.signal is None and self.instruction is None


class Process(Record, frozen=True, kw_only=True):
    """One program image and its exit."""

    pid: int
    #: Its first event; None when the trace does not hold it.
    start: Start | None
    #: Objects as the runtime got to know them (unloaded ones included).
    objects: list[Object]
    #: Destructors in the order in which they started.
    destructors: list[Ran]
    #: Registrations, table entries that were taken over included.
    registered: int
    #: Registrations that were live when the trace ended, and how many of them are of a kind that an exit does not
    #: run: ``pthread_key`` (at thread end only) and ``quick_exit``.
    left: int
    dormant: int
    exit: Exit | None
    #: Programs that this process started, or was about to become, without being followed there.
    execs: list[Exec]
    #: Path of the program that this one replaced itself by, or None.
    replaced_by: str | None
    faults: list[Fault]
    violations: list[Violation]
    #: What the runtime counted for each compartment, and for none.
    compartments: list[CompartmentCounts]
    #: The runtime's own counters and its last line; None where the process did not get that far.
    counters: Counters | None
    end: End | None

    @property
    def missed(self) -> int:
        """Live registrations that an exit would have run."""
        return self.left - self.dormant

    @property
    def program(self) -> str:
        """Path of the program, or ``pid N`` where the trace does not say."""
        return self.start.program if self.start else f"pid {self.pid}"


class RunResult(Record, frozen=True, kw_only=True):
    """What :func:`ia2exit.run` returns."""

    #: The command as it was given, and the path of the program that was started for it.
    command: list[str]
    program: str
    #: Exit status, or None when a signal ended the program.
    status: int | None
    #: Number of the signal that ended the program, or None.
    signal: int | None
    #: Whether the kernel wrote a core file for it.
    core: bool
    #: Start to end of the program.
    ns: int
    #: Whether it ran for longer than it was given, and was ended for that.
    timed_out: bool = False
    #: In the order in which they started; the first is the program itself.
    processes: list[Process]
    #: What the reader should know: one sentence each.
    notes: list[str]
    #: Lines of the trace that are no event, and whether the last one was cut off.
    malformed: int
    truncated: bool
    #: Where the events were kept, or None.
    trace: str | None

    @property
    def destructors(self) -> list[Ran]:
        """The destructors of all processes, process by process."""
        return [row for process in self.processes for row in process.destructors]

    @property
    def violations(self) -> list[Violation]:
        """The violations of all processes, process by process."""
        return [violation for process in self.processes for violation in process.violations]

    @property
    def faults(self) -> list[Fault]:
        """The faults of all processes, process by process."""
        return [fault for process in self.processes for fault in process.faults]

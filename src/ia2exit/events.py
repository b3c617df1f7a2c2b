"""Events: what the runtime says about an exit, one JSON object a line (schemas/events.schema.json).

The runtime writes each line with one ``write()`` of at most PIPE_BUF bytes; this module is the only reader.
Absolute addresses, RVAs and PKRU values are hexadecimal strings in JSON, :class:`~ia2exit.model.Address` here.
``t`` is CLOCK_MONOTONIC in nanoseconds. ``pid`` and ``tid`` are those of the writer: a forked child that is
followed writes into the same file.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ia2exit.model import Address, Kind

#: How a destructor that returned, or was abandoned, went: the counters of the same names count them.
Outcome = Literal["success", "fallback", "violation", "contained", "unenforced", "bypassed"]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """What all events have."""

    pid: int
    tid: int
    t: int


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An address in the process: absolute, and as (object path, RVA) when an object covers it."""

    address: Address
    object: str | None
    rva: Address | None


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a stack, ``[slot, "0x…"]`` in JSON; before a gap ``[slot, "0x…", left_out, alike]``."""

    #: Slot of the ``object`` event that covers the address, or 0: no object does.
    slot: int
    #: RVA in that object; the absolute address where there is none.
    address: Address
    #: Frames that are left out between this one and the next: of a long stack only both ends are told.
    left_out: Annotated[int, msgspec.Meta(ge=0)] = 0
    #: Whether all of those are of the same function as this one.
    alike: bool = True


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The destructor that was running when something went wrong; members as in ``enter``."""

    seq: int
    record: int
    generation: int
    kind: Kind
    function: Place
    registrar: Place | None
    owner: int | None
    owner_name: str | None


class Start(Event, frozen=True, kw_only=True, tag="start"):
    """First line of a process (``forked``: of a child that was forked and is followed)."""

    version: int
    runtime: str
    program: str
    ppid: int
    forked: bool
    glibc: str
    #: ``legacy``: IA2_EXIT_FORCE_LEGACY, one drop of all protection at the begin of the exit phase, nothing recorded.
    backend: Literal["none", "mprotect", "pku", "legacy"]
    #: Why ``auto`` did not take ``pku`` ("the CPU has no protection keys"); None where it did, or was not asked.
    backend_why: str | None
    mode: Literal["observe", "enforce", "contain"]
    #: Whether IA2_EXIT_ALLOW_ALL opens everything.
    allow_all: bool
    #: True where PKRU values in the events are computed, not read from a register.
    virtual: bool
    #: Path of the binary exit map, or None.
    map: str | None
    #: How ld.so is made to run destructors by way of us: by the pointers of its link_maps, by edited dynamic sections
    #: (where any object needed that), or because it is patched to; None in the mode ``legacy``.
    fini_by: Literal["pointers", "dynamic", "patched"] | None = None
    #: Whether libia2_audit.so tells of objects: else those of dlopen are known late, those of dlmopen never.
    audit: bool = False


class Object(Event, frozen=True, kw_only=True, tag="object"):
    """A loaded object that the runtime got to know, or lost (``when`` = ``unload``)."""

    slot: int
    path: str
    build_id: str | None
    base: Address
    start: Address
    end: Address
    compartment: int
    compartment_name: str
    #: Who decided the compartment: the map, a note in the object, the default shared list, or nobody (``unlisted``).
    decided_by: Literal["map", "note", "default", "unlisted"]
    covered: bool
    why_not: str | None
    #: How many ``.fini_array`` entries and ``DT_FINI`` the runtime took over.
    entries: int
    #: 0: the base namespace; else the number of one that dlmopen made.
    namespace: int = 0
    when: Literal["start", "load", "unload"]


class Register(Event, frozen=True, kw_only=True, tag="register"):
    """A destructor was registered in code, or (kind ``fini_array``, ``fini``) taken over from a dynamic section."""

    #: Slot number and how often the slot has been used: together they name one record.
    record: int
    generation: int
    kind: Kind
    function: Place
    #: Path of the object that ``dso`` points into (for ``fini``: that is finalised), or None.
    dso: str | None
    #: Return address of the registration call; a hint only (docs/exit-handling.md, "Ownership").
    registrar: Place | None
    owner: int | None
    owner_name: str | None
    foreign: bool
    vague: bool


class Enter(Event, frozen=True, kw_only=True, tag="enter"):
    """A destructor is about to run."""

    #: 1, 2, …: the order in which destructors started in this process.
    seq: int
    record: int
    generation: int
    kind: Kind
    function: Place
    dso: str | None
    registrar: Place | None
    owner: int | None
    owner_name: str | None
    foreign: bool
    vague: bool
    #: How many destructors of this thread were already running (0: none).
    depth: int
    #: During ``exit``, an unload (``dlclose``), or a thread's end.
    moment: Literal["exit", "unload", "thread-end"]
    #: Why nothing is closed while this one runs ("threads", "no memory"); None where the backend does its work.
    unenforced: str | None
    #: Values of the register under ``pku``, computed elsewhere.
    pkru_before: Address
    #: None where the compartment's number is beyond the keys that a CPU has.
    pkru_wanted: Address | None


class Leave(Event, frozen=True, kw_only=True, tag="leave"):
    """A destructor returned, or (``contained``) was abandoned."""

    seq: int
    record: int
    generation: int
    #: Nanoseconds from just before the call to just after it, less the time the runtime spent writing events.
    ns: int
    outcome: Outcome
    pkru_after: Address


class Exit(Event, frozen=True, kw_only=True, tag="exit"):
    """The exit phase begins."""

    how: Literal["main", "exit", "quick_exit", "destructor"]
    #: Exit status where it is known (``destructor``: a stub fired before any hook saw the exit).
    status: int | None


class Exec(Event, frozen=True, kw_only=True, tag="exec"):
    """The process is about to replace itself, or (``child``) start another program."""

    path: str
    how: str
    followed: bool
    child: bool


class Fallback(Event, frozen=True, kw_only=True, tag="fallback"):
    """A destructor whose owner cannot be told is about to run with the fallback's rights."""

    seq: int
    record: int
    generation: int
    kind: Kind
    function: Place
    why: str
    remedy: str


class Violation(Event, frozen=True, kw_only=True, tag="violation"):
    """Code of one compartment touched memory of another (backends ``mprotect`` and ``pku``)."""

    #: None: code that ran between destructors.
    destructor: Running | None
    #: Whether it was a signal handler of the program's that did it.
    handler: bool
    #: By an instruction, or by the kernel in a system call made for the destructor.
    via: Literal["instruction", "syscall"]
    #: The instruction that touched the memory, or the one behind the system call.
    instruction: Place
    #: Number of the system call (x86-64 table), or None.
    syscall: int | None
    #: What was touched, or None where the kernel does not tell.
    address: Place | None
    #: Compartment that the memory belongs to, and its name.
    victim: int | None
    victim_name: str | None
    access: Literal["read", "write", "unknown"]
    #: ``observe`` opens the page for the rest of the destructor, ``enforce`` ends the process, ``contain`` abandons
    #: the destructor.
    action: Literal["opened", "ended", "abandoned"]
    #: Innermost first: the instruction itself, then return addresses.
    stack: list[Frame]


class Fault(Event, frozen=True, kw_only=True, tag="fault"):
    """Something that must not happen did: a bad map, a changed ``.fini_array``, a deadly signal, a hang (``timeout``).

    The members from ``signal`` on are None or empty where only ``what`` and ``detail`` say something.
    """

    what: str
    detail: str
    #: Number of the signal, with its ``si_code`` and ``si_addr`` (sigaction(2)).
    signal: int | None
    code: int | None
    address: Address | None
    instruction: Place | None
    destructor: Running | None
    #: Innermost first: the instruction itself, then return addresses.
    stack: list[Frame]


class Stack(Event, frozen=True, kw_only=True, tag="stack"):
    """Where another thread was when a hang was looked at; follows a ``fault`` with ``what`` = ``timeout``."""

    #: Number of that thread.
    of: int
    destructor: Running | None
    instruction: Place
    #: Innermost first: the instruction itself, then return addresses.
    stack: list[Frame]


class Counts(Event, frozen=True, kw_only=True):
    """What is counted for each compartment, and in total (docs/exit-handling.md, "Events").

    The first is the sum of those up to ``unfinished``, but for those that were ``bypassed`` unseen.
    """

    ran: int
    success: int
    fallback: int
    violation: int
    contained: int
    unenforced: int
    bypassed: int
    #: Began and never returned, and would have been a ``success``.
    unfinished: int
    #: Registrations of which that is true, by owner.
    unknown: int
    foreign: int
    vague: int
    #: Touches of closed memory by threads and handlers that run no destructor, let through (``pku``); by the owner of
    #: the memory.
    bystander: int
    #: Changes of what is open, by whose memory was opened.
    switches: int
    #: WRPKRU executed, by whose destructor was called; ``mprotect`` calls made, by whose memory it was.
    wrpkru: int
    mprotect: int


class CompartmentCounts(Counts, frozen=True, kw_only=True, tag="compartment"):
    """The counters of one compartment that has any; such lines come just before ``counters``, which is their sum."""

    #: None: nobody's, what belongs to no compartment.
    id: int | None
    name: str | None


class Counters(Counts, frozen=True, kw_only=True, tag="counters"):
    """The counts of all compartments and nobody's together, and those of the process."""

    registered: int
    #: Records that ran in another order than glibc's lists promise.
    out_of_order: int
    #: Records that were still live when the process ended.
    left: int
    #: Event lines that could not be written.
    lost: int


class End(Event, frozen=True, kw_only=True, tag="end"):
    """Last line of a process that ended in an orderly way, or (``signal``) by a violation or a fault."""

    how: Literal["exit", "quick_exit", "_exit", "signal"]
    #: None for ``signal``.
    status: int | None


AnyEvent = (
    Start
    | Object
    | Register
    | Enter
    | Leave
    | Exit
    | Exec
    | Fallback
    | Fault
    | Violation
    | Stack
    | CompartmentCounts
    | Counters
    | End
)

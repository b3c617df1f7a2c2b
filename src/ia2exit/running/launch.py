"""Starting a program under the runtime and waiting for it, in the same process group and on the same terminal.

Nothing stands between the program and its standard streams. Signals that the terminal sends reach the program by
themselves; those that a process sends to us are passed on (without the value of ``sigqueue``); when the program stops,
so do we.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, NamedTuple

from ia2exit.errors import Ia2exitError
from ia2exit.running.program import Program

if TYPE_CHECKING:
    from ia2exit.running.hang import Patience

#: Signals that a terminal sends to its whole foreground process group: the program has them already.
_FROM_TERMINAL = {
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
    signal.SIGWINCH,
    signal.SIGHUP,
}
#: Signals that the kernel sends for something that we did, not the program.
_OURS = {signal.SIGPIPE, signal.SIGURG, signal.SIGXCPU, signal.SIGXFSZ}
#: Python ignores these from its start (Python/pylifecycle.c); the program gets the default back.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
#: Seconds until a signal or a stop is noticed where SIGCHLD cannot be relied on; the end of the program is at once.
_INTERVAL = 0.05


class Ended(NamedTuple):
    """How a program ended: an exit status, or the number of a signal (the other is None)."""

    status: int | None
    signal: int | None
    core: bool
    ns: int


def start_and_wait(program: Program, environment: Mapping[str, str], patience: Patience | None = None) -> Ended:
    """Start a program and wait for its end, for as long as it takes or ``patience`` lasts.

    All signals stay blocked in the calling thread until then: one that ends us would lose the program and its report.

    Raises:
        Ia2exitError: the kernel would not execute the program.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ignored = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    try:
        if ignored:  # the kernel would reap the program before we had its status
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        began = time.monotonic_ns()
        child = _spawn(program, environment, mask)
        if patience is not None:
            patience.begin(child)
        ended = _wait(child, mask, patience)
        took = time.monotonic_ns() - began
        while signal.sigtimedwait(_catchable(), 0):  # sent to the program's group, and it has ended: not for us
            pass
        return Ended(*ended, ns=took)
    finally:
        if ignored:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _catchable() -> Set[int]:
    return signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def _spawn(program: Program, environment: Mapping[str, str], mask: Set[int]) -> int:
    try:
        return os.posix_spawn(
            program.path, program.arguments, environment, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON
        )
    except OSError as error:
        raise Ia2exitError(
            f"{program.path}: cannot be executed: {error.strerror}: expected a program; check it with ldd"
        ) from None


def _wait(child: int, mask: Set[int], patience: Patience | None) -> tuple[int | None, int | None, bool]:
    """Pass signals on until the program has ended. Returns exit status, signal, and whether there is a core."""
    waited = _catchable()
    alone = len(os.listdir("/proc/self/task")) == 1
    watch = None if alone else os.pidfd_open(child)
    try:
        while True:
            left = None if patience is None else patience.left
            info = _next(waited, left) if watch is None else _poll(watch, waited, left)
            if patience is not None:
                patience.act()
            if info is None or info.si_signo == signal.SIGCHLD:
                ended = _look_at(child, mask)
                if ended:
                    return ended
            if info is not None and _is_for(child, info):
                os.kill(child, info.si_signo)  # it is not reaped yet, so the number is still its own
    finally:
        if watch is not None:
            os.close(watch)


def _next(waited: Set[int], left: float | None) -> signal.struct_siginfo | None:
    """The next signal, or None when that took longer than ``left`` seconds."""
    return signal.sigwaitinfo(waited) if left is None else signal.sigtimedwait(waited, left)


def _poll(watch: int, waited: Set[int], left: float | None) -> signal.struct_siginfo | None:
    """The next signal, or None when it is time to look at the program.

    With other threads in the process, the kernel may give SIGCHLD to one that does not block it, and it is gone.
    """
    import select

    select.select([watch], [], [], _INTERVAL if left is None else min(left, _INTERVAL))
    return signal.sigtimedwait(waited, 0)


def _look_at(child: int, mask: Set[int]) -> tuple[int | None, int | None, bool] | None:
    """What became of the program: None while it lives. When it has stopped, so do we, until we are continued."""
    while True:
        state = os.waitid(os.P_PID, child, os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
        if state is None:
            return None
        if state.si_code == os.CLD_EXITED:
            return state.si_status & 0xFF, None, False
        if state.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            return None, state.si_status, state.si_code == os.CLD_DUMPED
        if state.si_code == os.CLD_STOPPED:
            _stop_like(signal.Signals(state.si_status))


def _stop_like(stop: signal.Signals) -> None:
    """Stop by the same signal, so that the shell sees its job stopped and says so in the same words."""
    if stop == signal.SIGSTOP:
        if _has_terminal():  # without one, whoever stopped the program will continue it alone, and not us
            os.kill(os.getpid(), stop)
        return
    before = signal.getsignal(stop)
    try:
        signal.signal(stop, signal.SIG_DFL)
    except ValueError:  # only the main thread may set handlers: stop in the way that no handler can be in the way of
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    os.kill(os.getpid(), stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {stop})  # we stop here
    signal.pthread_sigmask(signal.SIG_BLOCK, {stop})
    signal.signal(stop, before)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _is_for(child: int, info: signal.struct_siginfo) -> bool:
    """Whether a signal that we got is meant for the program and has not reached it."""
    if info.si_signo == signal.SIGCHLD:
        return info.si_code <= 0 and info.si_pid != child  # sent by a process, not by the kernel
    if info.si_code > 0:  # made by the kernel (asm-generic/siginfo.h)
        if info.si_signo == signal.SIGHUP:
            return os.getsid(0) == os.getpid()  # a hang-up goes to the session's leader alone
        return info.si_signo not in _FROM_TERMINAL and info.si_signo not in _OURS
    return not descends(info.si_pid, child)


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is ``ancestor`` or comes from it: what it sends to its group reached the program already.

    One that is gone before we look counts as a stranger: better a signal twice than not at all.
    """
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b") ")[2].split()[1])
        except (OSError, IndexError, ValueError):
            return False
    return False


def end_by(number: int) -> None:
    """End the calling process by a signal, without a core file of our own: the program has left its own.

    Returns only where the kernel does not let the signal through (the first process of a container).
    """
    import resource

    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    _no_dump()
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def _no_dump() -> None:
    """Keep a core handler (``core_pattern`` with a pipe ignores the limit) from running for us: prctl(2)."""
    import ctypes

    pr_set_dumpable = 4
    ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)

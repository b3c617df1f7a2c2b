"""Trying what the runtime wants of the kernel, each thing in a child of its own. A program: prints one JSON object.

Run as a script by :mod:`.asking`, with the standard library only: a process that forks must have no other thread, and
what a trial leaves behind (keys, seals, a death by SIGSYS) must not meet the one that asks. System calls go by number:
on anything but Linux on x86-64 nothing is tried.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

#: Seconds that a trial may take before it is ended.
_LIMIT = 3
_PAGE = mmap.PAGESIZE
_PROT_NONE = 0

# <asm/unistd_64.h>, <linux/prctl.h>, <linux/ptrace.h>, <asm/prctl.h>
_PTRACE, _ARCH_PRCTL, _PROCESS_VM_READV, _MSEAL = 101, 158, 310, 462
_PKEY_MPROTECT, _PKEY_ALLOC = 329, 330
_PR_SET_SYSCALL_USER_DISPATCH = 59
_PTRACE_TRACEME, _PTRACE_ATTACH, _PTRACE_DETACH = 0, 16, 17
_ARCH_SHSTK_STATUS, _SHSTK_ENABLED = 0x5005, 1
_PKEY_DISABLE_ACCESS = 1
#: ``_IOWR('f', 17, struct procmap_query)`` and that structure (<linux/fs.h> of Linux 6.11).
_PROCMAP = struct.Struct("<9Q4I2Q")
PROCMAP_QUERY = 3 << 30 | _PROCMAP.size << 16 | ord("f") << 8 | 17
#: F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE (<linux/fcntl.h>).
_ADD_SEALS, _SEALS = 1033, 0xF

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.syscall.restype = ctypes.c_long


class _UselessError(Exception):
    """The kernel let a call through, and it did not do what it is for."""


def _call(number: int, *arguments: int) -> int:
    """A system call. Raises ``OSError``."""
    result: int = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    return _checked(result)


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _page(protection: int = mmap.PROT_READ | mmap.PROT_WRITE) -> int:
    """The address of a new page."""
    address = _libc.mmap(None, _PAGE, protection, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    return _checked(-1 if address == ctypes.c_void_p(-1).value else address)


def _mprotect(page: int, protection: int) -> None:
    _checked(_libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), protection))


def _must_fail(wanted: int, action: Callable[[], object], without: str) -> None:
    try:
        action()
    except OSError as error:
        if error.errno == wanted:
            return
        raise
    raise _UselessError(without)


def _is_closed(page: int, without: str) -> None:
    """The kernel honours protections and keys when it copies from a page: no fault needs to be caught to see that."""
    reader, writer = os.pipe()

    def copy() -> None:
        _checked(_libc.write(writer, ctypes.c_void_p(page), ctypes.c_size_t(1)))

    _must_fail(errno.EFAULT, copy, without)
    os.close(reader)
    os.close(writer)


# ---- closing memory ----


def close_by_protection() -> None:
    """Close a page by its protection."""
    page = _page()
    _mprotect(page, _PROT_NONE)
    _is_closed(page, "a page without any right can still be read")


def count_keys() -> int:
    """How many keys a fresh process can have."""
    count = 0
    try:
        while count < 64:
            _call(_PKEY_ALLOC, 0, 0)
            count += 1
    except OSError as error:
        if count == 0 or error.errno != errno.ENOSPC:
            raise
    return count


def close_by_key() -> None:
    """Close a page by a key of its own: ``pkey_alloc`` sets the register, as a switch would."""
    page = _page()
    key = _call(_PKEY_ALLOC, 0, _PKEY_DISABLE_ACCESS)
    _call(_PKEY_MPROTECT, page, _PAGE, mmap.PROT_READ | mmap.PROT_WRITE, key)
    _is_closed(page, "a page whose key is closed can still be read")


# ---- the kernel ----


def tag_a_page() -> None:
    """The call alone, with the key that all memory has: wherever the kernel knows keys at all."""
    _call(_PKEY_MPROTECT, _page(), _PAGE, mmap.PROT_READ, 0)


def dispatch() -> None:
    """Have the next system call intercepted: this process dies by it."""
    selector = ctypes.c_char(b"\0")
    address = ctypes.addressof(selector)
    _checked(_libc.prctl(_PR_SET_SYSCALL_USER_DISPATCH, *map(ctypes.c_ulong, (1, 0, 0, address))))
    _report({"works": True})  # what is said last before the death by SIGSYS
    signal.signal(signal.SIGSYS, signal.SIG_DFL)
    selector.value = b"\1"
    _libc.getppid()
    selector.value = b"\0"
    raise _UselessError("calls are not intercepted")


def seal_mapping() -> None:
    """Seal a page against changes of its protection."""
    page = _page()
    _call(_MSEAL, page, _PAGE, 0)
    _must_fail(errno.EPERM, lambda: _mprotect(page, mmap.PROT_READ), "a sealed page can still be changed")


def seal_file() -> None:
    """A memory file that nobody can write any more."""
    file = os.memfd_create("ia2exit-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(file, b"a map")
    fcntl.fcntl(file, _ADD_SEALS, _SEALS)
    _must_fail(errno.EPERM, lambda: os.pwrite(file, b"x", 0), "a sealed file can still be written")


def query_mapping() -> None:
    """Ask for one mapping without reading all as text."""
    page = _page()
    query = bytearray(_PROCMAP.pack(_PROCMAP.size, 0, page, *[0] * (6 + 4 + 2)))
    with open("/proc/self/maps", "rb") as maps:  # noqa: PTH123  # quick to start: no pathlib
        fcntl.ioctl(maps, PROCMAP_QUERY, query)
    start, end = _PROCMAP.unpack(query)[3:5]
    if not start <= page < end:
        raise _UselessError("the answer is another mapping")


def read_mappings() -> int:
    """How many mappings the list in /proc has."""
    with open("/proc/thread-self/maps", "rb") as maps:  # noqa: PTH123
        return len(maps.readlines())


def write_past_protection() -> None:
    """Write to a page that is read-only, as a debugger would."""
    page = _page(mmap.PROT_READ)
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    os.pwrite(memory, b"x", page)
    if ctypes.string_at(page, 1) != b"x":
        raise _UselessError("what was written is not there")


def read_own_memory() -> None:
    """``process_vm_readv`` on the process itself."""
    source, target = ctypes.create_string_buffer(b"x"), ctypes.create_string_buffer(1)
    local = (ctypes.c_ulong * 2)(ctypes.addressof(target), 1)
    remote = (ctypes.c_ulong * 2)(ctypes.addressof(source), 1)
    _call(_PROCESS_VM_READV, os.getpid(), ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)


def shadow_stack() -> int:
    """1 where this thread has a shadow stack, 0 where the kernel could give it one."""
    status = ctypes.c_ulong(0)
    _call(_ARCH_PRCTL, _ARCH_SHSTK_STATUS, ctypes.addressof(status))
    return status.value & _SHSTK_ENABLED


# ---- the loader ----


def find_object() -> None:
    """``_dl_find_object`` of the glibc that this process has."""
    try:
        find = _libc._dl_find_object
    except AttributeError:
        raise _UselessError("its libc has no _dl_find_object") from None
    result = ctypes.create_string_buffer(256)
    address = ctypes.cast(_libc.getppid, ctypes.c_void_p)
    if find(address, result) != 0:
        raise _UselessError("_dl_find_object does not find libc itself")


# ---- debuggers ----


def trace_child() -> None:
    """Let a child be traced by its parent, as gdb does with a program that it starts."""
    child = os.fork()
    if child == 0:
        _ended_by_alarm()
        try:
            _call(_PTRACE, _PTRACE_TRACEME, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
        except OSError as error:
            os._exit(error.errno or errno.EIO)
        os._exit(0)
    try:
        _stopped(child)
        _call(_PTRACE, _PTRACE_DETACH, child, 0, 0)  # fails for one that has merely stopped
    finally:
        with suppress(OSError):  # it has ended
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def attach() -> None:
    """Attach to a process that is no descendant, as ``gdb -p`` does."""
    reader, writer = os.pipe()
    stranger = os.fork()
    if stranger == 0:
        _ended_by_alarm()
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    debugger = os.fork()
    if debugger == 0:
        _ended_by_alarm()
        try:
            _call(_PTRACE, _PTRACE_ATTACH, stranger, 0, 0)
            _stopped(stranger)
            _call(_PTRACE, _PTRACE_DETACH, stranger, 0, 0)
        except OSError as error:
            os._exit(error.errno or errno.EIO)
        os._exit(0)
    _, status = os.waitpid(debugger, 0)
    os.close(writer)
    os.waitpid(stranger, 0)
    _by_status(status)


def _ended_by_alarm() -> None:
    """``fork`` clears the parent's: nobody waits for ever."""
    signal.alarm(_LIMIT)


def _stopped(child: int) -> None:
    """Wait until a traced process has stopped. Raises what it ended with instead."""
    _, status = os.waitpid(child, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        _by_status(status)
        raise _UselessError("the traced process did not stop")


def _by_status(status: int) -> None:
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))  # what ended it is what ends this trial
    code = os.WEXITSTATUS(status)
    if code:
        raise OSError(code, os.strerror(code))


# ---- all of them ----

#: name -> what is tried; an ``int`` that it returns is the value of the trial.
TRIALS: dict[str, Callable[[], int | None]] = {
    "protection": close_by_protection,
    "keys": count_keys,
    "key": close_by_key,
    "pkey_mprotect": tag_a_page,
    "dispatch": dispatch,
    "mseal": seal_mapping,
    "memfd": seal_file,
    "procmap": query_mapping,
    "maps": read_mappings,
    "mem": write_past_protection,
    "readv": read_own_memory,
    "shadow": shadow_stack,
    "find": find_object,
    "trace": trace_child,
    "attach": attach,
}

_answers = -1


def _report(answer: dict[str, Any]) -> None:
    os.write(_answers, json.dumps(answer).encode() + b"\n")


def _perform(trial: Callable[[], int | None]) -> NoReturn:
    """In the child: one line for how it went. The last one counts."""
    _ended_by_alarm()
    try:
        value = trial()
        _report({"works": True, "value": value or 0})
    except OSError as error:
        _report({"works": False, "errno": errno.errorcode.get(error.errno or 0, str(error.errno))})
    except _UselessError as error:
        _report({"works": False, "detail": str(error)})
    except BaseException as error:  # noqa: BLE001, RUF100  # whatever it is, the others go on
        _report({"works": False, "detail": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def attempt(name: str, trial: Callable[[], int | None]) -> dict[str, Any]:
    """Perform a trial in a child. The answer has ``works``, and ``value``, ``errno``, ``detail`` or ``signal``."""
    global _answers
    reader, _answers = os.pipe()
    try:
        child = os.fork()
    except OSError as error:
        return {"works": False, "detail": f"cannot be tried: no process can be made: {error.strerror}"}
    if child == 0:
        _perform(trial)
    os.close(_answers)
    with os.fdopen(reader, "rb") as lines:
        said = lines.read().splitlines()
    _, status = os.waitpid(child, 0)
    answer: dict[str, Any] = json.loads(said[-1]) if said else {"works": False}
    if os.WIFSIGNALED(status):
        killer = os.WTERMSIG(status)
        if name == "dispatch" and killer == signal.SIGSYS and answer["works"]:
            return answer
        names = {number.value: number.name for number in signal.Signals}
        return {"works": False, "signal": names.get(killer, str(killer))}
    return answer


def main() -> None:
    """Perform all, and print the answers by name."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # both are inherited: alarms must be heard, and children waited for
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    answers = {}
    if os.uname()[0] == "Linux" and os.uname()[4] == "x86_64" and sys.maxsize > 1 << 32:
        answers = {name: attempt(name, trial) for name, trial in TRIALS.items()}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()

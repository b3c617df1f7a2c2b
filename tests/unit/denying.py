"""A program: takes one system call away from itself by a seccomp filter, then becomes another program.

``python denying.py NUMBER[/ARGUMENT] (ERRNO|kill) CMD…``: always, or where its second argument is ARGUMENT.
Exit status 77: this process may not install a filter.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

NOT_HERE = 77
# <linux/prctl.h>, <linux/seccomp.h>
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ERRNO, _KILL_PROCESS, _ALLOW = 0x00050000, 0x80000000, 0x7FFF0000
# <linux/bpf_common.h>: load a word of seccomp_data; jump if equal; return
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _SECOND_ARGUMENT = 0, 24


def deny(number: int, argument: int | None, answer: int) -> bool:
    """From now on and for good. False where that is not allowed."""
    tests = [(_NUMBER, number)] if argument is None else [(_NUMBER, number), (_SECOND_ARGUMENT, argument)]
    code = b""
    for left, (word, value) in zip(range(len(tests), 0, -1), tests, strict=True):
        code += struct.pack("HBBI", _LOAD, 0, 0, word) + struct.pack("HBBI", _IF_EQUAL, 0, 2 * left - 1, value)
    code += struct.pack("HBBI", _RETURN, 0, 0, answer) + struct.pack("HBBI", _RETURN, 0, 0, _ALLOW)
    instructions = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(instructions))
    program = ctypes.create_string_buffer(header, len(header))
    libc = ctypes.CDLL(None)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return not libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0)


if __name__ == "__main__":
    call, _, second = sys.argv[1].partition("/")
    failure = sys.argv[2]
    if not deny(
        int(call), int(second) if second else None, _KILL_PROCESS if failure == "kill" else _ERRNO | int(failure)
    ):
        sys.exit(NOT_HERE)
    os.execv(sys.argv[3], sys.argv[3:])

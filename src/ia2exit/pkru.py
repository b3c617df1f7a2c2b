"""What a value of the register PKRU lets a thread do, key by key (Intel SDM volume 3, section 4.6.2).

The standard library only: gdb's own Python imports this module, too.
"""

from __future__ import annotations

from typing import Literal

#: There are so many keys; 0 is that of all memory that nobody tagged.
KEYS = 16

Right = Literal["none", "read", "read-write"]

#: By the two bits of a key: access-disable (1) wins over write-disable (2).
_RIGHTS: tuple[Right, ...] = ("read-write", "none", "read", "none")


def right(pkru: int, key: int) -> Right:
    """What ``pkru`` lets a thread do with the memory of ``key`` (0 to 15)."""
    return _RIGHTS[pkru >> (2 * key) & 3]


def decode(pkru: int) -> dict[int, Right]:
    """The right of each key."""
    return {key: right(pkru, key) for key in range(KEYS)}


def opened(pkru: int) -> set[int]:
    """The keys whose memory can be read and written."""
    return {key for key, what in decode(pkru).items() if what == "read-write"}


def opens_everything(pkru: int, *, virtual: bool) -> bool:
    """Whether everything is open; under the backend ``pku`` (not ``virtual``) the runtime's own memory stays closed."""
    return len(opened(pkru)) == (KEYS if virtual else KEYS - 1)

"""The line between host and guest: frames over one virtio serial port, in both directions.

A frame is one byte that says what it is, four bytes of length (big endian), and the payload. This module runs on both
sides; in the guest without the rest of the package, so it imports the standard library alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: Name of the port (``/sys/class/virtio-ports/*/name`` in the guest).
PORT = "ia2exit"

# From the host.
RUN = b"r"  #: JSON: an :class:`ia2exit.vm.request.Request`
INPUT = b"i"  #: bytes for standard input
END_OF_INPUT = b"z"
SIGNAL = b"s"  #: decimal number of a signal for the command's process group
SIZE = b"w"  #: "ROWS COLUMNS" of the terminal

# From the guest.
UP = b"u"  #: JSON: what the guest is (kernel, CPU, flags, seconds since its start)
OUTPUT = b"o"  #: bytes of standard output
ERROR = b"e"  #: bytes of standard error
ENDED = b"x"  #: decimal wait status of the command
FAILED = b"f"  #: text: why the command could not be started

_HEADER = struct.Struct(">cI")
#: Bytes of a payload at most.
LARGEST = 1 << 20


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """The bytes of one frame."""
    return _HEADER.pack(kind, len(payload)) + payload


class Reader:
    """Puts frames together from what arrives."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The frames that are complete now, as (kind, payload).

        Raises:
            ValueError: what arrives are no frames.
        """
        self._bytes += data
        while len(self._bytes) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._bytes)
            if length > LARGEST:
                raise ValueError(f"a frame of {length} bytes")
            end = _HEADER.size + length
            if len(self._bytes) < end:
                return
            payload = bytes(self._bytes[_HEADER.size : end])
            del self._bytes[:end]
            yield kind, payload

"""The line between host and guest: frames over one virtio serial port, in both directions.

A frame is one byte that says what it is, four bytes of length (big endian), and the payload. This module runs on both
sides; in the guest without the rest of the package, and an import costs a tenth of a second there, so it has none.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Name of the port (``/sys/class/virtio-ports/*/name`` in the guest).
PORT = "ia2exit"

# From the host.
RUN = b"r"  #: an :class:`ia2exit.vm.request.Request`, by ``marshal``: both sides run the same Python
INPUT = b"i"  #: bytes for standard input
END_OF_INPUT = b"z"
SIGNAL = b"s"  #: decimal number of a signal for the command's process group
SIZE = b"w"  #: "ROWS COLUMNS" of the terminal
UNREAD = b"c"  #: decimal number of a stream of the command that nobody reads any more

# From the guest.
UP = b"u"  #: what the guest is, a line NAME=VALUE each (:class:`ia2exit.vm.relay.About`)
OUTPUT = b"o"  #: bytes of standard output
ERROR = b"e"  #: bytes of standard error
HEARD = b"h"  #: an interrupt has reached the command
ENDED = b"x"  #: decimal wait status of the command
FAILED = b"f"  #: text: why the command could not be started

KINDS = frozenset((RUN, INPUT, END_OF_INPUT, SIGNAL, SIZE, UNREAD, UP, OUTPUT, ERROR, HEARD, ENDED, FAILED))
_HEADER = 5
#: Bytes of a payload at most; arguments and environment of a command may take 6 MiB (execve(2)).
LARGEST = 16 << 20


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """The bytes of one frame."""
    return kind + len(payload).to_bytes(4, "big") + payload


class Reader:
    """Puts frames together from what arrives."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> "Iterator[tuple[bytes, bytes]]":
        """The frames that are complete now, as (kind, payload).

        Raises:
            ValueError: what arrives are no frames.
        """
        self._bytes += data
        while len(self._bytes) >= _HEADER:
            kind, length = bytes(self._bytes[:1]), int.from_bytes(self._bytes[1:_HEADER], "big")
            if kind not in KINDS:
                raise ValueError(f"no frame begins with {kind!r}")
            if length > LARGEST:
                raise ValueError(f"a frame of {length} bytes")
            end = _HEADER + length
            if len(self._bytes) < end:
                return
            payload = bytes(self._bytes[_HEADER:end])
            del self._bytes[:end]
            yield kind, payload

"""The one error type that the command line turns into one line and an exit status."""

from __future__ import annotations

#: Exit status of every verb for input that cannot be used.
BAD_INPUT = 2


class Ia2exitError(Exception):
    """Something the user gave cannot be used.

    The message is one line that names the file, the thing in it, what was expected and what to do, in
    that order, without a trailing full stop and without the leading ``ia2exit:`` (the command line adds it).

    Args:
        message: the line; line breaks in it are replaced by spaces.
        status: the exit status of the command line, 2 unless a verb documents another.
    """

    def __init__(self, message: str, status: int = BAD_INPUT) -> None:
        super().__init__(" ".join(message.split()))
        self.status = status


def printable(text: str) -> str:
    """Text with escapes for what would steer a terminal: file names may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)

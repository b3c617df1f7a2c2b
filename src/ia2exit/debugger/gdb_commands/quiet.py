"""Doing things without gdb's own messages about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gdb

T = TypeVar("T")

_waiting: list[Callable[[], None]] = []


def quietly(make: Callable[[], T]) -> T:
    """What ``make`` returns; what gdb prints meanwhile (a probe that is not there yet, for one) is thrown away."""
    made: list[T] = []
    _waiting.append(lambda: made.append(make()))
    gdb.execute(f"python import {__name__} as _quiet; _quiet.run_waiting()", to_string=True)
    return made[0]


def run_waiting() -> None:
    """For :func:`quietly` alone: gdb collects the output of commands only, so this must come from one."""
    _waiting.pop()()

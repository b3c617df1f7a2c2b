"""The JSON Schema of a check, made from its records: it accepts what they accept.

``python -m ia2exit.checking.schema`` prints it; schemas/check.schema.json is that output, and a test compares them.
"""

from __future__ import annotations

import sys
from typing import Any

from ia2exit.checking.records import CHECK_VERSION, CheckResult
from ia2exit.publishing import as_file, schema_of


def check_schema() -> dict[str, Any]:
    """The schema of what ``ia2exit check --json`` prints (JSON Schema 2020-12)."""
    return schema_of(
        CheckResult,
        "check",
        CHECK_VERSION,
        title="What ia2exit check found",
        description="Whether what a program loads, binds and runs agrees with its exit map. `agrees` is false where "
        "any finding is an `error` or a `crossing`.",
    )


def text() -> bytes:
    """The schema as the file has it."""
    return as_file(check_schema())


if __name__ == "__main__":
    sys.stdout.buffer.write(text())

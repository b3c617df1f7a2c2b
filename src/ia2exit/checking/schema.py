"""The JSON Schema of a check, made from its records: it accepts what they accept.

``python -m ia2exit.checking.schema`` prints it; schemas/check.schema.json is that output, and a test compares them.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from ia2exit.checking.records import CHECK_VERSION, CheckResult


def check_schema() -> dict[str, Any]:
    """The schema of what ``ia2exit check --json`` prints (JSON Schema 2020-12)."""
    schema = msgspec.json.schema(CheckResult)
    result = schema["$defs"]["CheckResult"]
    result["properties"]["version"] = {"const": CHECK_VERSION}
    result["required"] = ["version", *result["required"]]  # has a default for those who make one
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ia2exit:check:{CHECK_VERSION}",
        "title": "What ia2exit check found",
        "description": "Whether what a program loads, binds and runs agrees with its exit map. `agrees` is false where "
        "any finding is an `error` or a `crossing`.",
        **schema,
    }


def text() -> bytes:
    """The schema as the file has it."""
    return msgspec.json.format(msgspec.json.encode(check_schema()), indent=2) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(text())

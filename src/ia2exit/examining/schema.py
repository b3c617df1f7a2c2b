"""The JSON Schema of a diagnosis, made from its records: it accepts what they accept.

``python -m ia2exit.examining.schema`` prints it; schemas/doctor.schema.json is that output, and a test compares them.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from ia2exit.examining.records import DOCTOR_VERSION, Diagnosis


def doctor_schema() -> dict[str, Any]:
    """The schema of what ``ia2exit doctor --json`` prints (JSON Schema 2020-12)."""
    schema = msgspec.json.schema(Diagnosis)
    schema["$defs"]["Diagnosis"]["properties"]["version"] = {"const": DOCTOR_VERSION}
    required = schema["$defs"]["Diagnosis"]["required"]
    schema["$defs"]["Diagnosis"]["required"] = ["version", *required]  # has a default for those who make one
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ia2exit:doctor:{DOCTOR_VERSION}",
        "title": "What ia2exit doctor found",
        "description": "What this machine can do for ia2exit and what is missing, one check at a time. "
        "`remedy` is null where a check is `ok`.",
        **schema,
    }


def text() -> bytes:
    """The schema as the file has it."""
    return msgspec.json.format(msgspec.json.encode(doctor_schema()), indent=2) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(text())

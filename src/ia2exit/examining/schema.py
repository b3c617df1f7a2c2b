"""The JSON Schema of a diagnosis, made from its records: it accepts what they accept.

``python -m ia2exit.examining.schema`` prints it; schemas/doctor.schema.json is that output, and a test compares them.
"""

from __future__ import annotations

import sys
from typing import Any

from ia2exit.examining.records import DOCTOR_VERSION, Diagnosis
from ia2exit.publishing import as_file, schema_of


def doctor_schema() -> dict[str, Any]:
    """The schema of what ``ia2exit doctor --json`` prints (JSON Schema 2020-12)."""
    return schema_of(
        Diagnosis,
        "doctor",
        DOCTOR_VERSION,
        title="What ia2exit doctor found",
        description="What this machine can do for ia2exit and what is missing, one check at a time. "
        "`remedy` is null where a check is `ok`.",
    )


def text() -> bytes:
    """The schema as the file has it."""
    return as_file(doctor_schema())


if __name__ == "__main__":
    sys.stdout.buffer.write(text())

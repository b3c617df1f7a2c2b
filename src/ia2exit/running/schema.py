"""The JSON Schema of an event, made from the records of :mod:`ia2exit.events`: it accepts what they accept.

``python -m ia2exit.running.schema`` prints it; schemas/events.schema.json is that output, and a test compares the two.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from ia2exit import events
from ia2exit.model import EVENTS_VERSION, Address
from ia2exit.publishing import DIALECT, as_file

#: ``$`` alone would let a line break follow in some engines.
_ADDRESS = {
    "type": "string",
    "pattern": r"^0x[0-9a-fA-F]+(?![\s\S])",
    "description": 'An address, RVA or PKRU, such as "0x1a40".',
}


def events_schema() -> dict[str, Any]:
    """The schema of one line of a trace (JSON Schema 2020-12)."""
    schema = msgspec.json.schema(events.AnyEvent, schema_hook=_address)
    kinds = schema.pop("anyOf")
    schema.pop("discriminator")  # OpenAPI's; each kind pins `event` by itself
    return {
        "$schema": DIALECT,
        "$id": f"urn:ia2exit:events:{EVENTS_VERSION}",
        "title": "One line of an ia2exit trace",
        "description": "What the runtime says about an exit: one JSON object a line. `t` is CLOCK_MONOTONIC in ns; "
        "members that are not listed may be added in later versions and are to be ignored.",
        "oneOf": kinds,
        **schema,
    }


def _address(kind: type) -> dict[str, Any]:
    if kind is Address:
        return dict(_ADDRESS)
    raise NotImplementedError(kind.__name__)


def text() -> bytes:
    """The schema as the file has it."""
    return as_file(events_schema())


if __name__ == "__main__":
    sys.stdout.buffer.write(text())

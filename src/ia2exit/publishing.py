"""JSON Schemas of what is printed as JSON, made from the records themselves: they accept what those accept."""

from __future__ import annotations

from typing import Any

import msgspec

from ia2exit.model import Record

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(record: type[Record], name: str, version: int, title: str, description: str) -> dict[str, Any]:
    """The schema of a record with a member ``version``, which has a default only for those who make one.

    Args:
        record: what is printed.
        name: the last part of ``$id`` but for the version.
        version: the one value that ``version`` may have.
        title: of the schema.
        description: of the schema.
    """
    schema = msgspec.json.schema(record)
    definition = schema["$defs"][record.__name__]
    definition["properties"]["version"] = {"const": version}
    definition["required"] = ["version", *definition["required"]]
    return {
        "$schema": DIALECT,
        "$id": f"urn:ia2exit:{name}:{version}",
        "title": title,
        "description": description,
        **schema,
    }


def as_file(schema: dict[str, Any]) -> bytes:
    """The schema as its file has it."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"

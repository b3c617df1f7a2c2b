"""schemas/doctor.schema.json accepts what the records of a diagnosis accept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from examined_machines import MACHINE, machine, without_keys
from jsonschema import Draft202012Validator

import ia2exit
from ia2exit.examining import Diagnosis, Facts, judge, schema
from ia2exit.model import from_json, to_json

FILE = Path(ia2exit.__file__).parent / "schemas" / "doctor.schema.json"
VALIDATOR = Draft202012Validator(json.loads(FILE.read_bytes()))
DOCUMENT: dict[str, Any] = json.loads(to_json(judge(without_keys())))


def test_the_file_is_what_the_records_say() -> None:
    assert FILE.read_bytes() == schema.text(), f"run: python -m ia2exit.examining.schema > {FILE.name}"
    Draft202012Validator.check_schema(json.loads(FILE.read_bytes()))


@pytest.mark.parametrize("facts", [MACHINE, without_keys(), machine(trials={}, traces={}, flags=None)])
def test_every_diagnosis_is_accepted_and_read_back_as_it_was(facts: Facts) -> None:
    diagnosis = judge(facts)
    VALIDATOR.validate(json.loads(to_json(diagnosis)))
    assert from_json(to_json(diagnosis), Diagnosis) == diagnosis


def test_every_member_is_needed() -> None:
    for member in DOCUMENT:
        assert not VALIDATOR.is_valid({key: value for key, value in DOCUMENT.items() if key != member}), member
    first = DOCUMENT["checks"][0]
    for member in first:
        less = {key: value for key, value in first.items() if key != member}
        assert not VALIDATOR.is_valid({**DOCUMENT, "checks": [less]}), member


@pytest.mark.parametrize("other", [-1, 1.5, True, "none of them", [], {}, [1], ["sideways"], 99])
def test_a_member_of_another_type_is_judged_alike(other: object) -> None:
    changed = [{**DOCUMENT, member: other} for member in DOCUMENT if member != "version"]
    changed += [{**DOCUMENT, "checks": [{**DOCUMENT["checks"][0], member: other}]} for member in DOCUMENT["checks"][0]]
    for document in changed:
        try:
            from_json(json.dumps(document), Diagnosis)
            reads = True
        except msgspec.ValidationError:
            reads = False
        assert VALIDATOR.is_valid(document) == reads, document


def test_another_version_and_members_that_nobody_knows_are_refused() -> None:
    assert not VALIDATOR.is_valid({**DOCUMENT, "version": 2})
    assert not VALIDATOR.is_valid({**DOCUMENT, "later": 1})

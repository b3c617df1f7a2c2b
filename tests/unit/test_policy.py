"""Policies: what is read, and the line that each mistake gets."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ia2exit.errors import Ia2exitError
from ia2exit.policy import MAIN, CompartmentRule, Policy, load_policy, parse_policy, read_policy
from ia2exit.toml_lines import key_lines

SCHEMA = json.loads((Path(__file__).parents[2] / "src/ia2exit/schemas/policy.schema.json").read_text())
V = "version = 1\n"

WHOLE = """\
# a comment with key = 1
version = 1
unlisted = "rest"
shared = [
    "libfoo.so.*",  # one
    "lib=bar.so",
]

[compartments.ssl]
id = 2
objects = ["libssl.so.*", "libcrypto.so.*"]

[compartments."rest"]
"""


def test_a_whole_policy_is_read() -> None:
    loaded = parse_policy(WHOLE, "curl.toml")
    assert loaded.policy == Policy(
        unlisted="rest",
        shared=["libfoo.so.*", "lib=bar.so"],
        compartments={
            "ssl": CompartmentRule(id=2, objects=["libssl.so.*", "libcrypto.so.*"]),
            "rest": CompartmentRule(),
        },
    )
    jsonschema.validate(tomllib.loads(WHOLE), SCHEMA)


def test_the_smallest_policy_is_a_version() -> None:
    assert parse_policy(V).policy == Policy(unlisted="each", shared=[], compartments={})


def test_keys_are_found_on_their_lines() -> None:
    lines = key_lines(WHOLE)
    assert lines[("version",)] == 2
    assert lines[("shared",)] == 4
    assert lines[("compartments", "ssl")] == 9
    assert lines[("compartments", "ssl", "id")] == 10
    assert lines[("compartments", "ssl", "objects")] == 11
    assert lines[("compartments", "rest")] == 13


def test_a_key_inside_an_inline_table_has_the_line_of_the_table() -> None:
    loaded = parse_policy(V + "compartments = { ssl = { id = 3 } }\n", "p.toml")
    assert loaded.place("compartments", "ssl", "id") == "p.toml:2"


def test_line_breaks_of_windows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(WHOLE.replace("\n", "\r\n").encode())
    assert read_policy(path).policy == parse_policy(WHOLE).policy


#: (TOML, the message it gets), all of them for a file named p.toml
MISTAKES = [
    ('unlisted = "each"', "p.toml: no version, expected version = 1; write that line first"),
    (
        "version = 2\nneeds = 1",
        "p.toml:1: version 2, expected version = 1; write that line first, after bringing the rest up to",
    ),
    ("version = true", "p.toml:1: version True, expected version = 1;"),
    (
        "version = 1\nversion = 1",
        "p.toml:2: expected TOML: Cannot overwrite a value, end of document; see docs/policy.md",
    ),
    ("version = 1\n\n[x", "p.toml:3: expected TOML: "),
    (V + "shared = [", "p.toml:2: expected TOML: Invalid value, end of document; see docs/policy.md"),
    (V + 'unlistd = "each"', 'p.toml:2: unknown key "unlistd"; did you mean "unlisted"?'),
    (V + "xyzzy = 1", 'p.toml:2: unknown key "xyzzy"; write one of: version, unlisted, shared, compartments'),
    (
        V + '[compartments.a]\nobject = ["x"]',
        'p.toml:3: compartment "a": unknown key "object"; did you mean "objects"?',
    ),
    (
        V + "unlisted = 3",
        'p.toml:2: "unlisted": expected "each", "shared" or the name of a compartment, got an integer;',
    ),
    (
        V + "[compartments]\na = 3",
        'p.toml:3: compartment "a": expected a table, got an integer; correct the value',
    ),
    (
        V + "[[compartments]]\nid = 3",
        'p.toml:2: "compartments": expected tables such as [compartments.ssl] with objects = ["libssl.so.*"],'
        " got a list; correct the value",
    ),
    (
        V + '[compartments.a]\nobjects = "x"',
        'p.toml:3: compartment "a": "objects": expected a list of patterns, for example ["libssl.so.*"], got a string;'
        " correct the value",
    ),
    (
        V + '[compartments.a]\nobjects = ["x", 3]',
        'p.toml:3: compartment "a": "objects": expected a list of patterns, for example ["libssl.so.*"],'
        " got an integer in it; correct the value",
    ),
    (
        V + "[compartments.a]\nid = 2.5",
        'p.toml:3: compartment "a": "id": expected an integer from 1 to 4095, got a fraction; correct the value',
    ),
    (
        V + "[compartments.a]\nid = true",
        'p.toml:3: compartment "a": "id": expected an integer from 1 to 4095, got true or false; correct the value',
    ),
    (
        V + "[compartments.a]\nid = 0",
        'p.toml:3: compartment "a": id 0 is out of range, expected an integer from 1 to 4095;'
        " choose another or remove the line",
    ),
    (
        V + "[compartments.a]\nid = 4096",
        'p.toml:3: compartment "a": id 4096 is out of range, expected an integer from 1 to 4095;'
        " choose another or remove the line",
    ),
    (
        V + "[compartments.a]\nid = 7\n[compartments.b]\nid = 7",
        'p.toml:5: compartment "b": id 7 is already that of compartment "a"; choose another or remove the line',
    ),
    (
        V + '[compartments."a b"]',
        'p.toml:2: compartment "a b": expected a name of at most 64 letters, digits or any of _ . + -,'
        " not beginning with a sign; rename it",
    ),
    (V + '[compartments.a]\nobjects = [""]', 'p.toml:3: compartment "a": empty pattern; write a soname'),
    (
        V + '[compartments.a]\nobjects = ["@mian"]',
        'p.toml:3: compartment "a": unknown pattern "@mian"; write "@main" for the program',
    ),
    (
        V + '[compartments.a]\nobjects = ["x", "x"]',
        'p.toml:3: compartment "a": pattern "x" stands there twice; remove one',
    ),
    (V + 'shared = ["x", "x"]', 'p.toml:2: shared: pattern "x" stands there twice; remove one'),
    (
        V + 'unlisted = "sll"\n[compartments.ssl]',
        'p.toml:2: unlisted = "sll" names no compartment; did you mean "ssl"?',
    ),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[text[-24:] for text, _ in MISTAKES])
def test_a_mistake_gets_one_line_that_says_where_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(Ia2exitError) as caught:
        parse_policy(text, "p.toml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["each", "shared", "main", "unlisted", "jit", "none", "unknown"])
def test_reserved_names_are_no_compartments(name: str) -> None:
    with pytest.raises(
        Ia2exitError, match=f'^p.toml:2: compartment "{name}": the name is reserved .*; choose another$'
    ):
        parse_policy(f"{V}[compartments.{name}]", "p.toml")


@pytest.mark.parametrize("text", [text for text, _ in MISTAKES if "twice" not in text])
def test_the_schema_refuses_what_has_the_wrong_shape(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    if any(words in text for words in ("id = 7", '"sll"', "= true")):
        return  # needs more than a shape, or 1 == True in JSON Schema for Python
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(
        Ia2exitError, match=r"none.toml: cannot be read \(No such file or directory\); expected a policy"
    ):
        read_policy(missing)
    binary = tmp_path / "p.toml"
    binary.write_bytes(b"version = 1\nunlisted = '\xff'\n")
    with pytest.raises(Ia2exitError, match=r"p\.toml:2: expected UTF-8 text; save the policy as UTF-8"):
        read_policy(binary)


def test_a_policy_made_in_python_is_checked_too() -> None:
    assert load_policy(None).policy == Policy()
    with pytest.raises(Ia2exitError, match='policy: compartment "a": id 9999 is out of range'):
        load_policy(Policy(compartments={"a": CompartmentRule(id=9999)}))
    with pytest.raises(Ia2exitError, match="policy: policy of version 2, expected version = 1"):
        load_policy(Policy(version=2))


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,8}", fullmatch=True).filter(
    lambda name: name not in SCHEMA["properties"]["compartments"]["propertyNames"]["not"]["enum"]
)
patterns = st.just(MAIN) | st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), min_size=1).filter(
    lambda text: not text.startswith("@") and text.isprintable()
)
rules = st.builds(
    CompartmentRule, objects=st.lists(patterns, unique=True, max_size=3), id=st.none() | st.integers(1, 4095)
)


def toml(texts: list[str]) -> str:
    """A list of printable strings: JSON without its escapes for what is not ASCII."""
    return json.dumps(texts, ensure_ascii=False)


@given(st.dictionaries(names, rules, max_size=5), st.lists(patterns, unique=True, max_size=3))
def test_every_policy_survives_toml(compartments: dict[str, CompartmentRule], shared: list[str]) -> None:
    ids = [rule.id for rule in compartments.values() if rule.id is not None]
    if len(ids) != len(set(ids)):
        return
    lines = ["version = 1", f"shared = {toml(shared)}"]
    for name, rule in compartments.items():
        lines.append(f'[compartments."{name}"]')
        lines.append(f"objects = {toml(rule.objects)}")
        lines += [f"id = {rule.id}"] * (rule.id is not None)
    text = "\n".join(lines)
    loaded = parse_policy(text)
    assert loaded.policy == Policy(shared=shared, compartments=compartments)
    jsonschema.validate(tomllib.loads(text), SCHEMA)
    for name in compartments:
        assert loaded.lines["compartments", name] == lines.index(f'[compartments."{name}"]') + 1

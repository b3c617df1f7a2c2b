"""Patterns of policies and of the default list of shared objects."""

from __future__ import annotations

from ia2exit.exitmap.patterns import default_shared, matches
from ia2exit.model import ScannedObject


def library(name: str, path: str | None = None) -> ScannedObject:
    return ScannedObject(
        path=path or f"/usr/lib/{name}",
        build_id=None,
        soname=name,
        type="shared-object",
        needed=[],
        interpreter=None,
        coverable=True,
        destructors=[],
    )


def test_patterns_match_soname_base_name_or_path() -> None:
    item = library("libz.so.1", path="/usr/lib/libz.so.1.2.13")
    assert matches("libz.so.1", item)
    assert matches("libz.so.1.2.*", item)
    assert matches("/usr/*/libz*", item)
    assert matches("libz.so.[0-9]", item)
    assert not matches("LIBZ.so.1", item)
    assert not matches("usr/lib/libz.so.1.2.13", item)
    assert not matches("@main", item)


def test_only_the_asterisk_is_a_wildcard_of_the_default_list() -> None:
    assert "libc.so.*" in default_shared()
    assert matches("[?]x", library("?x"))
    plus = [pattern for pattern in default_shared() if "+" in pattern]
    assert any(matches(pattern, library("libstdc++.so.6")) for pattern in plus)

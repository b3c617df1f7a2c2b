"""Where the runtime is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ia2exit import native
from ia2exit.errors import Ia2exitError


def _library(folder: Path) -> Path:
    folder.mkdir(parents=True)
    library = folder / "libia2.so"
    library.touch()
    return library


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder in a checkout of its own, with no runtime anywhere."""
    folder = tmp_path / "src" / "ia2exit"
    folder.mkdir(parents=True)
    monkeypatch.setattr(native, "__file__", str(folder / "native.py"))
    monkeypatch.delenv(native.LIBDIR_VARIABLE, raising=False)
    return folder


def test_the_variable_comes_first(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _library(package / "lib")
    named = _library(tmp_path / "named")
    monkeypatch.setenv(native.LIBDIR_VARIABLE, str(named.parent))
    assert native.runtime_library() == named


def test_then_the_package_then_the_checkout(package: Path, tmp_path: Path) -> None:
    built = _library(tmp_path / "build")
    assert native.runtime_library() == built
    assert native.runtime_library() == built
    carried = _library(package / "lib")
    assert native.runtime_library() == carried


def test_a_variable_that_points_nowhere_is_an_error_even_if_the_package_has_one(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _library(package / "lib")
    monkeypatch.setenv(native.LIBDIR_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(Ia2exitError, match=r"nowhere/libia2\.so: no such file: .*IA2EXIT_LIBDIR.*unset it"):
        native.runtime_library()


def test_no_runtime_at_all_says_how_to_get_one(package: Path) -> None:
    with pytest.raises(Ia2exitError, match=r"lib/libia2\.so: no such file: expected .*pip.*cmake"):
        native.runtime_library()


@pytest.mark.parametrize("name", ["with space", "with:colon", "with$dollar"])
def test_a_path_that_ld_so_cannot_preload_is_refused(
    name: str, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native.LIBDIR_VARIABLE, str(_library(tmp_path / name).parent))
    with pytest.raises(Ia2exitError, match="cannot preload"):
        native.runtime_library()

"""The frame of the benchmarks: who wins, what is printed, what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import harness
from harness import Result, alternate, difference, finish, milliseconds, output, ratio


def test_both_sides_run_in_turn_and_the_warm_up_is_not_counted() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[], float]:
        def measure() -> float:
            order.append(name)
            return float(len(order))

        return measure

    first, second = alternate(side("a"), side("b"), rounds=3, warm_up=1)
    assert "".join(order) == "ba" + "ab" + "ba" + "ab"
    assert (first, second) == ([3.0, 6.0, 7.0], [4.0, 5.0, 8.0])


def test_a_ratio_is_the_median_over_the_pairs() -> None:
    result = ratio("r", [10.0, 100.0, 10.0], [20.0, 150.0, 90.0], limit=2.0, side_unit="ns")
    assert (result.value, result.baseline, result.subject, result.spread) == (2.0, 10.0, 90.0, (1.5, 9.0))
    assert result.verdict == "ok"


def test_a_difference_is_the_median_over_the_pairs() -> None:
    result = difference("d", [10.0, 20.0, 30.0], [15.0, 40.0, 31.0], limit=4.0, unit="ms")
    assert (result.value, result.verdict) == (5.0, "FAIL")


@pytest.mark.parametrize(
    ("value", "bound", "verdict"),
    [(95.0, "at least", "ok"), (94.9, "at least", "FAIL"), (95.0, "at most", "ok"), (float("nan"), "at most", "FAIL")],
)
def test_the_limit_itself_is_good_and_no_number_is_bad(value: float, bound: str, verdict: str) -> None:
    assert Result(name="x", value=value, limit=95.0, bound=bound).verdict == verdict  # type: ignore[arg-type]


def test_a_broken_limit_is_the_exit_status_and_is_on_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "BUILD", tmp_path)
    good = Result(name="good", value=1.0, limit=1.5, command="true")
    assert finish("pair", [good, Result(name="bad", value=2.0, limit=1.5)]) == 1
    assert "FAIL" in capsys.readouterr().out
    written = json.loads((tmp_path / "benchmarks" / "pair.json").read_text())
    assert [(r["name"], r["verdict"], r["value"], r["limit"]) for r in written["results"]] == [
        ("good", "ok", 1.0, 1.5),
        ("bad", "FAIL", 2.0, 1.5),
    ]
    assert finish("pair", [good]) == 0


def test_nothing_measured_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish("empty", []) == 1
    assert "nothing was measured" in capsys.readouterr().err


def test_a_command_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="exit status 1"):
        milliseconds(["false"])
    with pytest.raises(SystemExit, match="exit status 1"):
        output(["false"])
    assert output(["echo", "measured"]) == "measured\n"

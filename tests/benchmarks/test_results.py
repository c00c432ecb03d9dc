"""Medians, ratios and verdicts; and that a server that fails is shown and ended."""

import sys
from pathlib import Path

import pytest

from benchmarks import results, servers
from benchmarks.cases import CASES, Case, Side, Target
from benchmarks.generator import BenchmarkError
from benchmarks.measures import FULL, Figures, Sizes


def unmeasured(sizes: Sizes, scratch: Path) -> Figures:
    raise AssertionError("only the samples are looked at here")


def judge(target: Target, ours: list[float], theirs: list[float]) -> results.Row:
    case = Case("c", "t", [Side("ours", unmeasured), Side("theirs", unmeasured)], [target])
    samples = {"ours": [{"x": v} for v in ours], "theirs": [{"x": v} for v in theirs]}
    (row,) = results.rows(case, samples)
    return row


@pytest.mark.parametrize(
    ("target", "ours", "met"),
    [
        (Target("x", 5, ratio=True), [50.0, 49.0, 90.0], True),
        (Target("x", 5, ratio=True), [49.9, 49.9, 90.0], False),
        (Target("x", 24, at_most=True), [24.0, 1.0, 90.0], True),
        (Target("x", 24, at_most=True), [24.1, 24.1, 1.0], False),
        (Target("x", 100), [100.0, 100.0, 0.0], True),
        (Target("x", 100), [99.0, 99.0, 900.0], False),
        (Target("y", 100), [99.0, 99.0, 900.0], None),
    ],
)
def test_the_median_is_held_to_the_target(
    target: Target, ours: list[float], met: bool | None
) -> None:
    row = judge(target, ours, [10.0, 3.0, 11.0])
    assert row.met is met
    assert row.values["theirs"] == results.Spread(10.0, 3.0, 11.0)
    assert row.ratio == pytest.approx(sorted(ours)[1] / 10)


def test_a_side_that_gave_zero_has_no_ratio() -> None:
    row = judge(Target("x", 5, ratio=True), [1.0], [0.0])
    assert (row.ratio, row.met) == (None, None)


def test_every_title_can_be_filled_in_and_every_target_is_found() -> None:
    for case in CASES:
        assert "{" not in results.title(case, FULL)
        assert case.targets


def test_a_server_that_fails_is_shown_with_what_it_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('the port is taken')"]
    with (
        pytest.raises(BenchmarkError, match="the port is taken"),
        servers.process(command, tmp_path) as started,
    ):
        servers.await_line(started)


def test_a_server_is_ended_whatever_happens(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]
    running = servers.process(command, tmp_path)
    started = running.__enter__()
    servers.await_line(started)
    assert started.poll() is None
    assert not running.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert started.returncode is not None

"""Who vanished is found, and nobody else, in whatever way it is looked for."""

from pathlib import Path

import pytest

from benchmarks import watching
from benchmarks.generator import BenchmarkError
from benchmarks.measures import Sizes

SIZES = Sizes(watched=1000, vanishing=50)


@pytest.mark.parametrize("kind", [watching.Wheel, watching.Scan])
def test_both_ways_find_the_same(kind: type[watching.Watch], tmp_path: Path) -> None:
    figures = watching.records(kind)(SIZES, tmp_path)
    assert all(value > 0 for value in figures.values())


class Hasty(watching.Scan):
    def look(self, now: float) -> int:
        return super().look(now + watching.SILENCE_S)


class Blind(watching.Scan):
    def look(self, now: float) -> int:
        return 0


@pytest.mark.parametrize(
    ("kind", "said"), [(Hasty, "was reaped that beats"), (Blind, "not all who vanished")]
)
def test_a_way_that_is_wrong_has_no_figures(
    kind: type[watching.Watch], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BenchmarkError, match=said):
        watching.records(kind)(SIZES, tmp_path)

"""The benchmark of very many users, with a few: that it finds what it looks for, and all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import people
from benchmarks.cases import CASES
from benchmarks.measures import Sizes


@pytest.mark.parametrize("sockets", [60, 40])
def test_with_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sockets: int) -> None:
    """Where there are too few files for all to have a WebSocket, the rest polls."""
    monkeypatch.setattr(people, "_most_sockets", lambda: sockets)
    figures = people.people(Sizes(people=30, publishes=1), tmp_path)
    assert (figures["sessions"], figures["of which WebSockets"]) == (60, sockets)
    [case] = [case for case in CASES if case.name == "people"]
    assert {target.figure for target in case.targets} <= set(figures)
    assert all(value >= 0 for value in figures.values())

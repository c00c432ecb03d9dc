"""Helpers of these tests are imported from the checkout (``tests.log.support``)."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """Errors are provoked by the dozen; drawing their tracebacks takes longer than the tests."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """All clocks of the log, set by the test: see tests.log.clocks."""
    from tests.log.clocks import Clock

    return Clock(monkeypatch)

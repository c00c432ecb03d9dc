"""Fixtures that all tests share."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.support, which is not installed

from tests.support.app import Server, running_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """One node with settings as they come, on a free port."""
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Logging that nobody has set up yet; the next test finds it as it was."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    structlog.reset_defaults()  # structlog.testing.capture_logs leaves it set up
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = before

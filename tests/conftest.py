"""Fixtures that all tests share."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.support, which is not installed

from tests.support.app import Server, running_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """One node with settings as they come, on a free port."""
    async with running_server(tmp_path) as running:
        yield running

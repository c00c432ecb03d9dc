"""Every case of the contract runs twice: on fresh connections, and on one with a past."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.api import Api, serving


@pytest.fixture(params=["fresh", "kept alive"])
def kept(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "kept alive")


@pytest.fixture
async def api(tmp_path: Path, kept: bool) -> AsyncIterator[Api]:
    async with serving(tmp_path, kept) as api:
        yield api

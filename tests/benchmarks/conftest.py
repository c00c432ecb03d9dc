"""``benchmarks`` is not installed: it is imported from the checkout."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import servers
from tests.support.server import START_S, free_port


@pytest.fixture(autouse=True)
def _busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured is nothing here: servers have time, and ports that no other test is given."""
    monkeypatch.setattr(servers, "READY_S", START_S)
    monkeypatch.setattr(servers, "free_port", free_port)
    monkeypatch.setitem(servers.NO_LIMITS, "PUSHD_SHED_LAG", "1h")

"""Fixtures that all tests share."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.support, which is not installed

from pushd.handlers import registered
from tests.support.app import Server, running_server
from tests.support.jitter import jitter_everything
from tests.support.nodes import LONGER, PATIENCE_OF_NODES
from tests.support.quiet import SLOW_S

if "PUSHD_JITTER" in os.environ:
    jitter_everything(os.environ["PUSHD_JITTER"])

# No timed assertion in a test: machines are shared, and nothing is too slow. The same examples each
# time, so that what passes here passes elsewhere; HYPOTHESIS_PROFILE=explore looks for new ones.
_STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _STEADY)
settings.register_profile("steady", _STEADY, derandomize=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """One node with settings as they come, on a free port."""
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """What a test's module registers is that test's: names are given once in a process."""
    known, modules = dict(registered), set(sys.modules)
    yield
    if registered == known:
        return
    mine = {each.function.__module__ for each in registered.values()} - modules
    registered.clear()
    registered.update(known)
    for module in mine:
        sys.modules.pop(module, None)


@pytest.fixture
def looks_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the slowest device is told of now, also on a machine that is busy."""
    monkeypatch.setattr("pushd.log.scans._LONG_S", 3600.0)


@pytest.fixture
def patient_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edges and owners of this process wait for each other, however busy the machine is: all times
    after which one gives the other up, or says that it may be behind, are ``LONGER``."""
    for name in PATIENCE_OF_NODES:
        module, _, constant = name.rpartition(".")
        monkeypatch.setattr(name, getattr(import_module(module), constant) * LONGER)


@pytest.fixture
def never_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that keep quiet are slow when the test says so: see ``tests.support.quiet``."""
    monkeypatch.setattr("pushd.front.patience.SLOW_S", SLOW_S)


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Logging that nobody has set up yet; the next test finds it as it was."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    structlog.reset_defaults()  # structlog.testing.capture_logs leaves it set up
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = before

"""Connections that keep quiet: they are slow when the test says so, however busy the machine is."""

from __future__ import annotations

from pushd.front.patience import Patience
from tests.support.app import Server

# ``head_timeout`` of a server whose connections keep quiet: neither until they count as slow, nor
# from then on until they are refused, does it end within a test.
HEAD_S = 300.0
SLOW_S = HEAD_S / 2


def now_slow(server: Server) -> None:
    """All that have not brought a whole request yet have had the time for it."""
    wheel = server.hub.wheel
    armed = [each for slot in wheel._slots.values() for each in slot.values()]
    for each in armed:
        if isinstance(each, Patience) and each._new and not each._slow:
            wheel.disarm(each)
            each.expire()

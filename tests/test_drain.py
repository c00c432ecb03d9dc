"""Stopping while clients come and go: everybody who stays has an answer or a goodbye."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from pushd import shutdown
from tests.support.app import running_server, until
from tests.support.sessions import session
from tests.support.websocket import Closed


async def test_sessions_that_leave_during_the_goodbyes(tmp_path: Path) -> None:
    count = shutdown.CHUNK * 2
    settings = {"max_connections_per_user": count, "drain_spread": 0.5}
    async with running_server(tmp_path, **settings) as server, AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(session(server)) for _ in range(count)]
        stays, leaves = sockets[::2], sockets[1::2]
        server.stopper.asked.set()
        assert (await stays[0].message())["type"] == "bye"  # the first chunk has been told
        for socket in leaves:
            socket.close()
        for socket in stays[1:]:
            told = await socket.message()
            assert (told["type"], told["code"]) == ("bye", 1012)
        for socket in stays:
            with pytest.raises(Closed, match="1012"):
                await socket.message()
        await until(lambda: not server.hub.sessions.by_id)

"""Stopping while clients come and go: everybody who stays has an answer or a goodbye."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd import shutdown
from pushd.front.acceptor import Acceptor, listen
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
        for leaving in leaves:
            leaving.close()
        for staying in stays[1:]:
            told = await staying.message()
            assert (told["type"], told["code"]) == ("bye", 1012)
        for staying in stays:
            with pytest.raises(Closed, match="1012"):
                await staying.message()
        await until(lambda: not server.hub.sessions.by_id)


async def test_the_acceptor_is_closed_with_somebody_at_the_door(tmp_path: Path) -> None:
    """Both are woken by the same connection, and who is first is chance: hence so often."""
    nobody: Any = None
    async with running_server(tmp_path) as server:
        for _ in range(20):
            with listen("127.0.0.1", 0) as listener, listener.dup() as twin, socket.socket() as new:
                async with trio.open_nursery() as nursery:
                    acceptor = Acceptor(listener, server.hub, nobody, nursery, most=0)
                    nursery.start_soon(acceptor.run)
                    await trio.lowlevel.checkpoint()
                    new.setblocking(False)
                    new.connect_ex(listener.getsockname())
                    await trio.lowlevel.wait_readable(twin)
                    acceptor.close()

"""Rights are asked when something is done, not when it was asked for."""

from __future__ import annotations

import pytest

from tests.support.app import Server, Socket, until
from tests.support.sessions import session


async def send_together(socket: Socket, *messages: object) -> None:
    """All in one segment, so that the server has them at the same moment."""
    pieces: list[bytes] = []
    write = socket.write

    async def keep(data: bytes) -> None:
        pieces.append(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "write", keep)
        for message in messages:
            await socket.send(message)
    await write(b"".join(pieces))


async def test_a_subscription_does_not_outlive_its_right(server: Server) -> None:
    """``subscribe`` waits for the marks; ``refresh`` overtakes it with a smaller token."""
    async with session(server, subscribe=["secret"]) as socket:
        await send_together(
            socket,
            {"type": "subscribe", "channels": {"secret": "0"}},
            {"type": "refresh", "token": server.token(subscribe=["open"])},
        )
        told = [await socket.message() for _ in range(2)]
        [live] = server.hub.sessions.of_user("alice")
        await until(lambda: "secret" not in live.subscriptions)
        await server.publish("secret", 1)
        await socket.send({"type": "ping"})
        while told[-1]["type"] != "pong":
            told.append(await socket.message())
        assert "hint" not in [message["type"] for message in told]


async def test_overlapping_subscribes_stay_within_the_most(server: Server) -> None:
    most = server.hub.settings.max_channels_per_session
    async with session(server) as socket:
        for part in range(3):
            channels = {f"c{part}-{at}": "0" for at in range(most - 10)}
            await socket.send({"type": "subscribe", "channels": channels})
        denied = 0
        for _ in range(3):
            answer = await socket.expect("subscribed")
            denied += len(answer["denied"])
            assert all(each["code"] == "too_large" for each in answer["denied"])
        [live] = server.hub.sessions.of_user("alice")
        assert len(live.subscriptions) == most
        assert denied == 3 * (most - 10) - (most - 2)

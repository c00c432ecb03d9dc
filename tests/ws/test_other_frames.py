"""Refresh, call, and frames that are none: each is answered, and closes nothing."""

from __future__ import annotations

import pytest

from tests.support.app import KEY, Server, until
from tests.support.sessions import ask, epoch, refusal, session


async def test_refreshing_takes_what_the_new_token_gives(server: Server) -> None:
    async with session(server, target="/v1/ws?channels=a,b", subscribe=["a", "b"]) as socket:
        token = server.token("alice", subscribe=["b", "c"], ttl_s=7200)
        refreshed = await ask(socket, "refresh", token=token)
        assert refreshed["type"] == "refreshed"
        assert (await socket.expect("unsubscribed"))["channels"] == ["a"]
        for channel in "ab":
            await server.publish(channel, 1)
        assert (await socket.expect("hint"))["channel"] == "b"
        assert list((await ask(socket, "subscribe", channels={"c": "0"}))["heads"]) == ["c"]


async def test_refreshing_right_behind_a_subscription(server: Server) -> None:
    """The marks are read in a thread; what was allowed before is looked at again after."""
    async with session(server, subscribe=["secret"]) as socket:
        await socket.send({"type": "subscribe", "channels": {"secret": "0"}})
        await socket.send({"type": "refresh", "token": server.token("alice", subscribe=[])})
        answers = [await socket.message() for _ in range(2)]
        if answers[0]["type"] == "subscribed":  # then it was taken back
            answers.append(await socket.expect("unsubscribed"))
        else:
            assert answers[1]["denied"] == [{"channel": "secret", "code": "forbidden"}]
        await server.publish("secret", 1)
        assert (await ask(socket, "ping"))["type"] == "pong"


async def test_refreshing_with_somebody_elses_token(server: Server) -> None:
    async with session(server, device="d1") as socket:
        for token, code in [
            (server.token("bob", device="d1"), "forbidden"),
            (server.token("alice", device="d2"), "forbidden"),
            (server.token("alice", ttl_s=-1), "token_expired"),
            ("no.real.token", "unauthorized"),
        ]:
            assert await refusal(socket, "refresh", token=token) == code
        assert (await ask(socket, "refresh", token=server.token("alice")))["type"] == "refreshed"


async def test_a_call_without_a_handler(server: Server) -> None:
    async with session(server) as socket:
        answer = await ask(socket, "call", id="c1", name="add", data={"a": [1, 2]})
        assert (answer["type"], answer["code"], answer["id"]) == ("error", "no_handler", "c1")
        await socket.send({"type": "call", "name": "add", "data": 1})
        assert (await ask(socket, "ping"))["type"] == "pong", "without an id there is no answer"


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"type":"hint"}', '{"type":"subscribe"}', '{"type":"auth","token":"x"}'),
        *('{"type":"ack","cursors":{"a":1}}', "[" * 30_000, '{"type":"ping","x":"\\ud800"}'),
    ],
)
async def test_a_frame_that_is_none_is_answered_and_closes_nothing(
    server: Server, text: str
) -> None:
    async with session(server) as socket:
        await socket.send_frame(1, text.encode())
        assert (await socket.expect("error"))["code"] == "bad_request"
        assert (await ask(socket, "ping"))["type"] == "pong"


async def test_a_binary_frame_is_answered(server: Server) -> None:
    async with session(server) as socket:
        await socket.send_frame(2, b'{"type":"ping"}')
        assert (await socket.expect("error"))["code"] == "bad_request"
        assert (await ask(socket, "ping"))["type"] == "pong"


async def test_services_have_sessions_without_marks(server: Server) -> None:
    await server.publish("news", 1)
    header = f"Authorization: Bearer {KEY}\r\n"
    async with server.socket("/v1/ws?channels=news", header=header) as socket:
        assert list((await socket.expect("hello"))["heads"]) == ["news"]
        cursor = f"{epoch(server)}.1"
        assert await refusal(socket, "read", channel="news", cursor=cursor) == "bad_request"
        await server.publish("news", 2)
        assert (await socket.expect("hint"))["seq"] == 2
    await until(lambda: not server.hub.sessions.by_id)

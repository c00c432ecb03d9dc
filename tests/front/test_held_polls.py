"""Polls that wait: a record each, answered once, by news, by time, by the end, or by nobody."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.app import KEY, Server, running_server, until
from tests.support.http import Answer, Peer, patience, request

NEWS = "/v1/channels/news/messages"


def poll(after: str = "head", token: str = KEY, **query: Any) -> bytes:
    text = "".join(f"&{name}={value}" for name, value in query.items())
    return request("GET", f"{NEWS}?after={after}&wait=60{text}", token=token)


def data(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.json
    return [message["data"] for message in answer.json["messages"]]


async def held(server: Server, count: int = 1) -> None:
    await until(lambda: len(server.hub.pulls.held) == count)


async def free(server: Server) -> None:
    """Nothing is left behind of any poll."""
    await until(lambda: not server.hub.pulls.held)
    await until(lambda: not server.hub.fanout.topics)


async def test_answered_by_a_publish(server: Server) -> None:
    async with server.peer() as peer:
        for number in range(1, 6):
            await peer.write(poll())
            await held(server)
            await server.publish("news", number)
            answer = await peer.answer()
            assert data(answer) == [number]
            assert answer.json["head"] == number
    await free(server)
    assert server.hub.counters.polls_held == server.hub.counters.polls_answered == 5


async def test_with_something_newer_it_is_answered_at_once(server: Server) -> None:
    await server.publish("news", 1)
    async with server.peer() as peer:
        await peer.write(poll("0"))
        assert data(await peer.answer()) == [1]
    assert server.hub.counters.polls_held == 0


async def test_a_channel_that_is_not_there_yet(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(poll("0"))
        await held(server)
        await server.publish("news", 1)
        assert data(await peer.answer()) == [1]
    await free(server)


async def test_all_who_wait_get_the_same(server: Server) -> None:
    await server.publish("news", 0)
    answers: list[bytes] = []

    async def wait() -> None:
        async with server.peer() as peer:
            await peer.write(poll())
            answers.append((await peer.answer()).body)

    with patience():
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(wait)
            await held(server, 40)
            await server.publish("news", 1)
    assert len(set(answers)) == 1
    assert len(answers) == 40
    await free(server)


async def test_only_the_channel_that_moved(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(poll())
        await held(server)
        await server.publish("other", 1)
        await server.publish("news2", 1)
        await server.publish("news", 2)
        assert data(await peer.answer()) == [2]


async def test_when_the_time_is_up(server: Server) -> None:
    await server.publish("news", 1)
    epoch = server.hub.log.heads["news"].epoch
    async with server.peer() as peer:
        for _ in range(2):
            answer = await peer.ask("GET", f"{NEWS}?after={epoch}.1&wait=0.05", token=KEY)
            assert data(answer) == []
            assert answer.json["next"] == f"{epoch}.1"
            assert answer.json["more"] is False
    await free(server)
    assert server.hub.counters.polls_answered == 0


async def test_longer_waits_are_shortened_to_the_longest(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_wait=0.05) as server:
        answer = await server.pull("news", after=0, wait=3600)
        assert data(answer) == []
        await free(server)


@pytest.mark.parametrize("wait", ["0", "0.0"])
async def test_no_wait_is_no_poll(server: Server, wait: str) -> None:
    assert data(await server.pull("news", after="head", wait=wait)) == []
    assert server.hub.counters.polls_held == 0


async def leave(peer: Peer, how: str) -> None:
    if how == "half-closes":
        await peer.stream.send_eof()
    else:
        await peer.stream.aclose()


@pytest.mark.parametrize("how", ["closes", "half-closes"])
async def test_a_client_that_leaves_is_forgotten(server: Server, how: str) -> None:
    async with server.peer() as peer:
        await peer.write(poll())
        await held(server)
        await leave(peer, how)
        await free(server)
    await until(lambda: not server.hub.connections)
    await server.publish("news", 1)
    assert server.hub.counters.polls_answered == 0


async def test_a_token_that_expires_meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = server.token("alice", ttl_s=3600)
    async with server.peer() as peer:
        await peer.write(poll(token=token))
        await held(server)
        hours_pass(monkeypatch)
        await server.publish("news", "secret")
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "token_expired")
        assert b"secret" not in answer.body
    await free(server)


async def test_a_token_that_has_expired_when_the_time_is_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = server.token("alice")
    async with server.peer() as peer:
        await peer.write(request("GET", f"{NEWS}?after=head&wait=0.1", token=token))
        await held(server)
        hours_pass(monkeypatch)
        assert (await peer.answer()).status == 401


def hours_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)


async def test_a_channel_reset_while_a_poll_waits(server: Server) -> None:
    """Deleted and made again meanwhile: the poll ends with the reset, not with a hole."""
    await server.publish("news", 1)
    epoch = server.hub.log.heads["news"].epoch
    async with server.peer() as peer:
        await peer.write(poll(f"{epoch}.1"))
        await held(server)
        head = server.hub.log.heads["news"]
        head.epoch, head.seq = "zzzzzzzzz", 1
        server.hub.fanout.advance("news", ("zzzzzzzzz", 1))
        answer = await peer.answer()
        assert (answer.status, answer.code) == (410, "epoch_changed")
    await free(server)


async def test_at_the_end_of_the_server_all_get_an_empty_answer(server: Server) -> None:
    async with server.peer() as peer, server.peer() as other:
        await peer.write(poll())
        await other.write(
            request("POST", "/v1/pull", token=KEY, body={"cursors": {"a": "0"}, "wait": 60})
        )
        await held(server, 2)
        server.stopper.asked.set()
        answer = await peer.answer()
        assert data(answer) == []
        assert answer.headers["connection"] == "close"
        assert await peer.is_closed()
        body = (await other.answer()).json
        assert body["notices"][0]["type"] == "bye"
        assert body["notices"][0]["code"] == 1012

"""``POST /v1/ack``: what a device has processed, without pulling."""

from __future__ import annotations

from typing import Any

from tests.support.app import Server
from tests.support.http import Answer


def data(answer: Answer) -> list[Any]:
    return [message["data"] for message in answer.json["messages"]]


async def ack(server: Server, token: str, **body: Any) -> Answer:
    return await server.ask("POST", "/v1/ack", token=token, body=body)


async def test_an_ack_is_where_the_device_goes_on(server: Server) -> None:
    token = server.token("alice")
    for number in range(1, 6):
        await server.publish("news", number)
        await server.publish("user:alice", number)
    epochs = {name: head.epoch for name, head in server.hub.log.heads.items()}
    cursors = {"news": f"{epochs['news']}.2", "user:alice": f"{epochs['user:alice']}.4"}
    answer = await ack(server, token, cursors=cursors, device="d1")
    assert (answer.status, answer.body) == (204, b"")
    assert data(await server.pull("news", token, device="d1")) == [3, 4, 5]
    assert data(await server.pull("user:alice", token, device="d1")) == [5]
    assert data(await server.pull("news", token, device="d2")) == []


async def test_what_is_wrong_with_one_cursor_leaves_the_others(server: Server) -> None:
    token = server.token("alice", subscribe=["a", "b"])
    for channel in "ab":
        await server.publish(channel, 1)
    good = f"{server.hub.log.heads['a'].epoch}.1"
    for bad, status, code in [
        ({"secret": good}, 403, "forbidden"),
        ({"b": "000000001.1"}, 410, "epoch_changed"),
        ({"b": "head"}, 400, "bad_request"),
        ({"b": "1"}, 400, "bad_request"),
    ]:
        answer = await ack(server, token, cursors={**bad, "a": good}, device="d1")
        assert (answer.status, answer.code) == (status, code)
        assert answer.json["channel"] == next(iter(bad))
    assert data(await server.pull("a", token, device="d1")) == []


async def test_as_many_cursors_as_allowed(server: Server) -> None:
    for count, status in ((128, 204), (129, 413)):
        cursors = {f"c{at}": "0" for at in range(count)}
        assert (await ack(server, server.token(), cursors=cursors)).status == status

"""``"wait": {"delivered_to": …}``: a publish is answered when a device of the user has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.app import KEY, Server, running_server, until
from tests.support.groups import change
from tests.support.http import Answer, request

LONG = 60_000  # ms: ended by what the test does
SHORT = 1


class Asked:
    """A publish that waits; ``answer`` once it came."""

    answer: Answer

    @property
    def delivered(self) -> bool:
        assert self.answer.status == 200, self.answer
        delivered = self.answer.json["delivered"]
        assert isinstance(delivered, bool)
        return delivered

    @property
    def channels(self) -> list[str]:
        return [result["channel"] for result in self.answer.json["results"]]


def body(to: Any, user: str = "alice", ms: int = LONG, **message: Any) -> dict[str, Any]:
    wait = {"delivered_to": user, "ms": ms}
    return {"to": to, "message": {"data": 1, **message}, "wait": wait}


async def publish(server: Server, to: Any, token: str = KEY, **members: Any) -> Answer:
    return await server.ask("POST", "/v1/publish", token=token, body=body(to, **members))


@asynccontextmanager
async def waiting(server: Server, to: Any, **members: Any) -> AsyncIterator[Asked]:
    """The body runs while the publish waits; at its end it must have been answered."""
    asked = Asked()
    before = len(server.hub.deliveries)

    async def ask() -> None:
        asked.answer = await publish(server, to, **members)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await until(lambda: len(server.hub.deliveries) > before or hasattr(asked, "answer"))
        yield asked
    assert len(server.hub.deliveries) <= before


def cursor(server: Server, channel: str, seq: int | None = None) -> str:
    head = server.hub.log.heads[channel]
    return f"{head.epoch}.{head.seq if seq is None else seq}"


def phone(server: Server, user: str = "alice") -> str:
    return server.token(user, device="phone")


async def by_pull(server: Server, channel: str, at: str) -> None:
    assert (await server.pull(channel, phone(server), after=at)).status == 200


async def by_many(server: Server, channel: str, at: str) -> None:
    asked = {"cursors": {channel: at}}
    answer = await server.ask("POST", "/v1/pull", token=phone(server), body=asked)
    assert "error" not in answer.json["channels"][channel]


async def by_ack(server: Server, channel: str, at: str) -> None:
    acked = {"cursors": {channel: at}}
    answer = await server.ask("POST", "/v1/ack", token=phone(server), body=acked)
    assert answer.status == 204


async def by_frame(server: Server, channel: str, at: str) -> None:
    async with server.socket(token=phone(server)) as socket:
        await socket.expect("hello")
        await socket.send({"type": "ack", "cursors": {channel: at}})
        await socket.send({"type": "ping"})
        while (await socket.message())["type"] != "pong":
            pass


Way = Callable[[Server, str, str], Awaitable[None]]
WAYS: list[Way] = [by_pull, by_many, by_ack, by_frame]


@pytest.mark.parametrize("tell", WAYS, ids=lambda way: way.__name__)
async def test_whatever_says_that_a_device_has_it(server: Server, tell: Way) -> None:
    """The pull that brings it does not: only the next one says that it has arrived."""
    await server.publish("user:alice", 0)
    async with waiting(server, {"users": ["bob", "alice"]}) as asked:
        pulled = await server.pull("user:alice", phone(server), after=0)
        assert len(pulled.json["messages"]) == 2, "nothing waits for the answer but the answer"
        await tell(server, "user:alice", cursor(server, "user:alice", 1))
        assert len(server.hub.deliveries) == 1
        await tell(server, "user:alice", pulled.json["next"])
    assert asked.delivered
    assert asked.channels == ["user:bob", "user:alice"]
    assert server.hub.counters.waits == server.hub.counters.waits_delivered == 1


async def no_device(server: Server) -> None:
    token = server.token("alice")
    at = cursor(server, "user:alice")
    await server.pull("user:alice", token, after=at)
    await server.ask("POST", "/v1/ack", token=token, body={"cursors": {"user:alice": at}})


async def from_start(server: Server) -> None:
    for after in ("0", "head"):
        await server.pull("user:alice", phone(server), after=after)


async def too_little(server: Server) -> None:
    await by_pull(server, "user:alice", cursor(server, "user:alice", 1))


async def elsewhere(server: Server) -> None:
    for _ in range(3):
        await server.publish("user:alice:other")
    await by_ack(server, "user:alice:other", cursor(server, "user:alice:other"))


async def another_user(server: Server) -> None:
    at = cursor(server, "all")
    await server.ask("POST", "/v1/ack", token=phone(server, "bob"), body={"cursors": {"all": at}})


async def only_read(server: Server) -> None:
    """A read mark is the user's, of no device."""
    path = "/v1/channels/user:alice/read"
    await server.ask(
        "POST", path, token=phone(server), body={"cursor": cursor(server, "user:alice")}
    )


async def another_life(server: Server) -> None:
    for channel in ("user:alice", "all"):
        await server.ask("DELETE", f"/v1/channels/{channel}", token=KEY)
        for _ in range(5):
            await server.publish(channel)
        await by_ack(server, channel, cursor(server, channel))


OTHERS = [no_device, from_start, too_little, elsewhere, another_user, only_read, another_life]


@pytest.mark.parametrize("do", OTHERS, ids=lambda other: other.__name__)
async def test_what_says_nothing_of_it(server: Server, do: Callable[[Server], Any]) -> None:
    for channel in ("user:alice", "all"):
        await server.publish(channel)
    async with waiting(server, {"users": ["alice"], "all": True}) as asked:
        await do(server)
        [delivery] = server.hub.deliveries._waiting["alice"]
        delivery.expire()
    assert not asked.delivered


async def test_any_of_the_targets_that_the_user_reads(server: Server) -> None:
    to = {"users": ["bob"], "channels": ["user:alice:orders", "news"], "all": True}
    for channel in ("user:alice:orders", "news", "all"):
        async with waiting(server, to) as asked:
            await by_ack(server, channel, cursor(server, channel))
        assert asked.delivered


async def test_a_group_that_the_user_is_in(server: Server) -> None:
    await change(server, "staff", add=["alice", "bob"])
    to = {"groups": ["staff"]}
    async with waiting(server, to) as asked:
        await by_ack(server, "group:staff", cursor(server, "group:staff"))
    assert asked.delivered
    await change(server, "staff", remove=["alice"])
    assert (await publish(server, to)).code == "bad_request"
    assert (await publish(server, to, user="bob", ms=SHORT)).status == 200


async def test_a_session_of_the_user(server: Server) -> None:
    async with server.socket(token=phone(server)) as socket:
        session = (await socket.expect("hello"))["session"]
        async with waiting(server, {"sessions": [session]}) as asked:
            told = await socket.expect("subscribed")
            [channel] = told["heads"]
            await socket.send({"type": "ack", "cursors": {channel: cursor(server, channel)}})
        assert asked.delivered
        answer = await publish(server, {"sessions": [session]}, user="bob")
        assert (answer.status, answer.code) == (400, "bad_request")


@pytest.mark.parametrize("ms", [0, SHORT])
async def test_time_is_up(server: Server, ms: int) -> None:
    answer = await publish(server, {"users": ["alice"]}, ms=ms)
    assert answer.status == 200
    assert answer.json["delivered"] is False
    assert len(answer.json["results"]) == 1
    assert (server.hub.counters.waits, server.hub.counters.waits_delivered) == (1, 0)


async def test_no_wait_is_longer_than_that_of_a_poll(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_wait=0.05) as server:
        answer = await publish(server, {"users": ["alice"]}, ms=10**12)
        assert answer.json["delivered"] is False


async def test_a_retry_of_what_was_stored_long_ago(server: Server) -> None:
    to = {"users": ["alice"]}
    first = await publish(server, to, ms=SHORT, id="m1")
    assert first.json["delivered"] is False
    again = await publish(server, to, ms=SHORT, id="m1")
    assert (again.json["results"][0]["duplicate"], again.json["delivered"]) == (True, False)
    await by_ack(server, "user:alice", cursor(server, "user:alice"))
    assert (await publish(server, to, id="m1")).json["delivered"] is True
    other = await publish(server, {"users": ["alice"], "all": True}, id="m1")
    assert other.json["delivered"] is True, "it has one of the two"


BAD: list[dict[str, Any]] = [
    {"wait": {"delivered_to": "bob"}},
    {"wait": {"delivered_to": "bob:x"}},
    {"wait": {"delivered_to": ""}},
    {"wait": {"ms": 1}},
    {"wait": {"delivered_to": "alice", "ms": -1}},
    {"wait": {"delivered_to": "alice", "ms": 1.5}},
    {"wait": {"delivered_to": "alice", "ms": "1"}},
    {"wait": {"delivered_to": "alice", "seconds": 1}},
    {"wait": "alice"},
    {"wait": {"delivered_to": "bob"}, "to": {"channels": ["user:alice:x"]}},
    {"wait": {"delivered_to": "alice"}, "to": {"groups": ["nobodys"]}},
]


@pytest.mark.parametrize("change", BAD, ids=str)
async def test_nobody_to_wait_for(server: Server, change: dict[str, Any]) -> None:
    asked = {"to": {"users": ["alice"]}, "message": {"data": 1}, **change}
    answer = await server.ask("POST", "/v1/publish", token=KEY, body=asked)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert server.hub.log.heads == {}
    assert len(server.hub.deliveries) == 0


async def test_a_publisher_that_leaves_is_waited_for_no_more(server: Server) -> None:
    async with server.peer() as peer:
        await peer.write(request("POST", "/v1/publish", token=KEY, body=body({"users": ["alice"]})))
        await until(lambda: len(server.hub.deliveries))
    await until(lambda: not len(server.hub.deliveries))
    await by_ack(server, "user:alice", cursor(server, "user:alice"))
    assert server.hub.counters.waits_delivered == 0


async def test_a_user_has_a_share(tmp_path: Path) -> None:
    """Of what is held for a user: a refused one stores nothing, an ended one makes room."""
    async with running_server(tmp_path, max_connections_per_user=2) as server:
        token = server.token("bob", publish=["user:*"])
        to = {"users": ["alice"]}
        for _ in range(2):
            async with waiting(server, to, token=token), waiting(server, to, token=token):
                seq = server.hub.log.heads["user:alice"].seq
                refused = await publish(server, to, token)
                assert (refused.status, refused.code) == (503, "overloaded")
                assert int(refused.headers["retry-after"]) > 0
                assert server.hub.log.heads["user:alice"].seq == seq
                await by_ack(server, "user:alice", cursor(server, "user:alice"))
        # Whatever ends one gives its share back.
        for _ in range(3):
            answer = await publish(server, {"channels": ["user:alice", "all"]}, token)
            assert answer.code == "forbidden"
            await publish(server, to, token, ms=SHORT, id="m1")
            assert (await publish(server, to, token, ms=SHORT, id="m1", data=2)).code == "conflict"


async def test_a_key_has_a_share(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.hub.deliveries._of_keys, "_most", 1)
    async with waiting(server, {"users": ["alice"]}):
        assert (await publish(server, {"users": ["alice"]})).code == "overloaded"
        await by_ack(server, "user:alice", cursor(server, "user:alice"))
    assert (await publish(server, {"users": ["alice"]}, ms=SHORT)).status == 200


async def test_how_many_wait_can_be_seen(server: Server) -> None:
    async def shown() -> bytes:
        return (await server.ask("GET", "/metrics")).body

    async with waiting(server, {"users": ["alice"]}):
        assert b"\npushd_waiting_publishes 1.0\n" in await shown()
        await by_ack(server, "user:alice", cursor(server, "user:alice"))
    text = await shown()
    for line in ("pushd_waiting_publishes 0.0", "pushd_waits_total 1.0"):
        assert f"\n{line}\n".encode() in text
    assert b"\npushd_waits_delivered_total 1.0\n" in text


async def test_a_stop_answers_all_that_wait(server: Server) -> None:
    async with (
        waiting(server, {"users": ["alice"]}) as asked,
        server.socket(token=KEY) as socket,
    ):
        await socket.expect("hello")
        await socket.send({"type": "publish", "id": "p", **body({"users": ["alice"]})})
        await until(lambda: len(server.hub.deliveries) == 2)
        server.stopper.asked.set()
        assert (await socket.expect("published"))["delivered"] is False
        await socket.expect("bye")
    assert not asked.delivered
    assert asked.answer.headers["connection"] == "close"


async def test_as_a_frame(server: Server) -> None:
    async with server.socket(token=KEY) as socket:
        await socket.expect("hello")
        await socket.send({"type": "publish", "id": "p1", **body({"users": ["alice"]})})
        await until(lambda: len(server.hub.deliveries))
        await by_ack(server, "user:alice", cursor(server, "user:alice"))
        told = await socket.expect("published")
        assert (told["id"], told["delivered"], len(told["results"])) == ("p1", True, 1)
        await socket.send({"type": "publish", "id": "p2", **body({"users": ["bob"]})})
        told = await socket.expect("error")
        assert (told["id"], told["code"]) == ("p2", "bad_request")
        await socket.send({"type": "publish", "id": "p3", **body({"users": ["alice"]}, ms=SHORT)})
        assert (await socket.expect("published"))["delivered"] is False
        await socket.send({"type": "publish", "id": "p4", **body({"users": ["alice"]})})
        await until(lambda: len(server.hub.deliveries))
    await until(lambda: not len(server.hub.deliveries))
    assert server.hub.deliveries._of_sessions == {}


async def test_frames_that_wait_do_not_keep_a_session_from_being_read(tmp_path: Path) -> None:
    """More of them than may wait for the log at once, and the ack that they wait for behind."""
    async with running_server(
        tmp_path, max_connections_per_user=200, user_message_burst=1000
    ) as server:
        token = server.token("alice", device="phone", publish=["user:alice"])
        async with server.socket(token=token) as socket:
            await socket.expect("hello")
            for number in range(100):
                frame = {"type": "publish", "id": f"p{number}", **body({"users": ["alice"]})}
                await socket.send(frame)
            await until(lambda: len(server.hub.deliveries) == 100)
            at = cursor(server, "user:alice")
            await socket.send({"type": "ack", "cursors": {"user:alice": at}})
            answered = 0
            while answered < 100:
                told = await socket.message()
                if told["type"] == "published":
                    assert told["delivered"] is True
                    answered += 1


async def test_what_is_stored_during_a_stop_does_not_wait(server: Server) -> None:
    assert server.hub.deliveries.drain() == []
    assert (await publish(server, {"users": ["alice"]})).json["delivered"] is False
    assert len(server.hub.deliveries) == 0

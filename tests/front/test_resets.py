"""A typed reset with ``resume``, wherever a cursor is given: trimmed, deleted, and made again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.core.positions import parse_cursor
from pushd.log.reader import ReadMessages
from pushd.settings import Namespace
from tests.support.app import Server, running_server, until
from tests.support.changes import delete, redact, trim
from tests.support.http import PATIENCE_S

CHANNELS = ("news", "typing")
Ways = Callable[[Server, str, str], Awaitable[dict[str, Any] | None]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    spaces = {"typing": Namespace(ephemeral=True)}
    async with running_server(tmp_path, namespaces=spaces) as running:
        for channel in CHANNELS:
            for number in range(1, 6):
                await running.publish(channel, number)
        yield running


async def by_pull(server: Server, channel: str, cursor: str) -> dict[str, Any] | None:
    answer = await server.pull(channel, after=cursor, token=server.token())
    assert answer.status in (200, 410)
    return answer.json if answer.status == 410 else None


async def by_held_pull(server: Server, channel: str, cursor: str) -> dict[str, Any] | None:
    """What is reset is not held."""
    answer = await server.pull(channel, after=cursor, token=server.token(), wait=0.05)
    assert answer.status in (200, 410)
    return answer.json if answer.status == 410 else None


async def by_delivered_mark(server: Server, channel: str, cursor: str) -> dict[str, Any] | None:
    """Without a cursor: from the one that this device was given last."""
    head = server.hub.log.heads[channel]
    if cursor.startswith(head.epoch):  # else it was recorded in the life before
        server.hub.log.record_delivered("alice", "phone", channel, parse_cursor(cursor))
    answer = await server.pull(channel, token=server.token(), device="phone")
    assert answer.status in (200, 410)
    return answer.json if answer.status == 410 else None


async def by_multi_pull(server: Server, channel: str, cursor: str) -> dict[str, Any] | None:
    body = {"cursors": {channel: cursor}, "wait": 0.05}
    answer = await server.ask("POST", "/v1/pull", token=server.token(), body=body)
    return answer.json["channels"][channel].get("reset")  # type: ignore[no-any-return]


async def by_ack(server: Server, channel: str, cursor: str) -> dict[str, Any] | None:
    body = {"cursors": {channel: cursor}}
    answer = await server.ask("POST", "/v1/ack", token=server.token(), body=body)
    assert answer.status in (204, 410)
    if answer.status == 204:
        return None
    assert answer.json["channel"] == channel
    return answer.json  # type: ignore[no-any-return]


async def by_read_mark(server: Server, channel: str, cursor: str) -> dict[str, Any] | None:
    path = f"/v1/channels/{channel}/read"
    answer = await server.ask("POST", path, token=server.token(), body={"cursor": cursor})
    assert answer.status in (204, 410)
    if answer.status == 204:
        return None
    assert answer.json["channel"] == channel
    return answer.json  # type: ignore[no-any-return]


async def by_subscribe(server: Server, channel: str, cursor: str) -> dict[str, Any] | None:
    async with server.socket(token=server.token()) as socket:
        await socket.expect("hello")
        await socket.send({"type": "subscribe", "channels": {channel: cursor}})
        told = await socket.expect("subscribed")
    return told["heads"][channel].get("reset")  # type: ignore[no-any-return]


async def by_ack_frame(server: Server, channel: str, cursor: str) -> dict[str, Any] | None:
    return await _frame(server, {"type": "ack", "cursors": {channel: cursor}})


async def by_read_frame(server: Server, channel: str, cursor: str) -> dict[str, Any] | None:
    return await _frame(server, {"type": "read", "channel": channel, "cursor": cursor})


async def _frame(server: Server, frame: dict[str, Any]) -> dict[str, Any] | None:
    async with server.socket(token=server.token()) as socket:
        await socket.expect("hello")
        await socket.send(frame)
        await socket.send({"type": "ping"})
        told = await socket.message()
    if told["type"] == "pong":
        return None
    assert told["channel"] in CHANNELS, "errors have no id to know them by"
    return told


WAYS = [
    by_pull,
    by_held_pull,
    by_delivered_mark,
    by_multi_pull,
    by_ack,
    by_read_mark,
    by_subscribe,
    by_ack_frame,
    by_read_frame,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_expired(server: Server, way: Ways) -> None:
    epoch = server.hub.log.heads["news"].epoch
    await trim(server.hub.log, "news", 4)
    reset = await way(server, "news", f"{epoch}.2")
    assert reset is not None
    assert {name: reset[name] for name in ("code", "epoch", "first", "head", "resume")} == {
        "code": "expired",
        "epoch": epoch,
        "first": 4,
        "head": 5,
        "resume": f"{epoch}.3",
    }
    assert reset["skipped"] == 1
    assert await way(server, "news", reset["resume"]) is None, "where to go on"
    await trim(server.hub.log, "news", 6)
    reset = await way(server, "news", f"{epoch}.3")
    assert reset is not None
    assert (reset["first"], reset["head"], reset["resume"]) == (6, 5, f"{epoch}.5")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_what_expired_in_an_ephemeral_channel_is_not_missed(
    server: Server, way: Ways
) -> None:
    epoch = server.hub.log.heads["typing"].epoch
    await trim(server.hub.log, "typing", 4)
    assert await way(server, "typing", f"{epoch}.1") is None
    await delete(server.hub.log, "typing")
    await server.publish("typing", 1)
    reset = await way(server, "typing", f"{epoch}.3")
    assert reset is not None
    assert reset["code"] == "epoch_changed", "another life is another life"


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "made again"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_epoch_changed(server: Server, way: Ways, again: bool) -> None:
    if way is by_delivered_mark:
        await by_delivered_mark(server, "news", f"{server.hub.log.heads['news'].epoch}.5")
        if not again:
            return  # what a device had of a channel that is gone is of no use
    cursor = f"{server.hub.log.heads['news'].epoch}.5"
    await delete(server.hub.log, "news")
    assert "news" not in server.hub.log.heads
    epoch, head = "none", 0
    if again:
        epoch, head = (await server.publish("news", "new"))["epoch"], 1
        assert epoch > cursor
    reset = await way(server, "news", cursor)
    assert reset is not None
    assert {name: reset[name] for name in ("code", "epoch", "first", "head", "resume")} == {
        "code": "epoch_changed",
        "epoch": epoch,
        "first": 1,
        "head": head,
        "resume": f"{epoch}.0",
    }
    if way is not by_delivered_mark:
        assert await way(server, "news", reset["resume"]) is None, "where to go on"


async def test_held_polls_of_a_deleted_channel_are_answered_at_once(server: Server) -> None:
    """One channel, or one of several; what was deleted is reset, the rest is as it was."""
    epochs = {channel: server.hub.log.heads[channel].epoch for channel in CHANNELS}
    answers = {}
    async with trio.open_nursery() as nursery:

        async def single() -> None:
            answers["single"] = await server.pull("news", after="head", wait=60)

        async def several() -> None:
            body = {"cursors": {name: f"{epochs[name]}.5" for name in CHANNELS}, "wait": 60}
            answers["several"] = await server.ask(
                "POST", "/v1/pull", token=server.token(), body=body
            )

        nursery.start_soon(single)
        nursery.start_soon(several)
        await until(lambda: len(server.hub.pulls.held) == 2)
        await delete(server.hub.log, "news")
    assert (answers["single"].status, answers["single"].code) == (410, "epoch_changed")
    assert answers["single"].json["resume"] == "none.0"
    channels = answers["several"].json["channels"]
    assert channels["news"]["reset"]["code"] == "epoch_changed"
    assert channels["typing"]["messages"] == []
    assert not server.hub.pulls.held
    assert not server.hub.fanout.topics


async def test_who_asks_for_what_is_kept_is_never_reset(server: Server) -> None:
    """Held where nothing was left: wherever the start has moved to meanwhile, it is the start."""
    await trim(server.hub.log, "news", 6)
    async with trio.open_nursery() as nursery:

        async def remove() -> None:
            await until(lambda: server.hub.pulls.held)
            await delete(server.hub.log, "news")

        nursery.start_soon(remove)
        answer = await server.pull("news", after="0", wait=60)
    assert (answer.status, answer.json["messages"]) == (200, [])


async def test_a_poll_held_on_a_deleted_channel_gets_its_next_message(server: Server) -> None:
    await delete(server.hub.log, "news")
    async with trio.open_nursery() as nursery:

        async def publish() -> None:
            await until(lambda: server.hub.pulls.held)
            await server.publish("news", "new")

        nursery.start_soon(publish)
        answer = await server.pull("news", after="none.0", wait=60)
    assert [message["data"] for message in answer.json["messages"]] == ["new"]


async def test_a_redacted_message_is_nowhere_to_be_had(server: Server) -> None:
    """Neither from a finished answer, nor from memory, nor from the disk."""
    epoch = server.hub.log.heads["news"].epoch
    wanted = [("message", 1), ("message", 2), ("redacted", None), ("message", 4), ("message", 5)]
    for forget in (False, True):
        before = await server.pull("news", after=f"{epoch}.0")
        assert before.json["messages"][2]["data"] == (None if forget else 3)
        await redact(server.hub.log, "news", 3)
        if forget:
            server.hub.tails.drop("news")
        after = await server.pull("news", after=f"{epoch}.0")
        assert [(each["type"], each["data"]) for each in after.json["messages"]] == wanted
        for name in ("seq", "id", "at"):
            assert [m[name] for m in after.json["messages"]] == [
                m[name] for m in before.json["messages"]
            ]


@pytest.mark.parametrize("change", ["trim", "redact", "delete"])
@pytest.mark.parametrize("several", [False, True])
async def test_changed_after_it_was_read_and_before_it_is_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch, change: str, several: bool
) -> None:
    """What the reader has in hand by then is not given out."""
    read, gate = threading.Event(), threading.Event()
    run = ReadMessages.run

    def slow(job: ReadMessages, connection: sqlite3.Connection) -> list[bytes]:
        found = run(job, connection)
        read.set()
        assert gate.wait(PATIENCE_S)
        return found

    monkeypatch.setattr(ReadMessages, "run", slow)
    server.hub.tails.drop("news")
    cursor = f"{server.hub.log.heads['news'].epoch}.1"
    entries = []

    async def pull() -> None:
        if several:
            body = {"cursors": {"news": cursor}}
            answer = await server.ask("POST", "/v1/pull", token=server.token(), body=body)
            entry = answer.json["channels"]["news"]
            entries.append(entry.get("reset", entry))
        else:
            entries.append((await server.pull("news", after=cursor)).json)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pull)
        await until(read.is_set)
        if change == "trim":
            await trim(server.hub.log, "news", 4)
        elif change == "redact":
            await redact(server.hub.log, "news", 4)
        else:
            await delete(server.hub.log, "news")
        gate.set()
    [entry] = entries
    if change == "redact":
        assert [message["data"] for message in entry["messages"]] == [2, 3, None, 5]
    else:
        assert entry["code"] == ("expired" if change == "trim" else "epoch_changed")


async def test_a_deleted_inbox_is_no_longer_the_users(server: Server) -> None:
    await server.publish("user:alice:bills", 1)
    body = {"mine": True}
    answer = await server.ask("POST", "/v1/pull", token=server.token(), body=body)
    assert "user:alice:bills" in answer.json["channels"]
    await delete(server.hub.log, "user:alice:bills")
    answer = await server.ask("POST", "/v1/pull", token=server.token(), body=body)
    assert "user:alice:bills" not in answer.json["channels"]
    await server.publish("user:alice:bills", 2)
    answer = await server.ask("POST", "/v1/pull", token=server.token(), body=body)
    [message] = answer.json["channels"]["user:alice:bills"]["messages"]
    assert (message["seq"], message["data"]) == (1, 2)

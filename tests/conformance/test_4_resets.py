"""Section 4, resets: where a complete answer is impossible, and the same object everywhere."""

from __future__ import annotations

from typing import Any

import trio

from tests.conformance.api import KEY, Answer, Api, fill, seqs
from tests.support.app import until

NEWS = "/v1/channels/news/messages"


async def resets(api: Api, channel: str, cursor: str) -> list[dict[str, Any]]:
    """The reset of one cursor, in each place where a cursor is given."""
    single = await api.pull(channel, after=cursor)
    assert single.status == 410
    body = {"cursors": {channel: cursor}}
    multi = await api.ask("POST", "/v1/pull", token=KEY, body=body)
    held = await api.ask("POST", "/v1/pull", token=KEY, body={**body, "wait": 30})
    ack = await api.ask("POST", "/v1/ack", token=KEY, body=body)
    found = [
        single.json,
        multi.json["channels"][channel]["reset"],
        held.json["channels"][channel]["reset"],
        ack.json,
    ]
    async with api.socket(token=KEY) as socket:
        await socket.expect("hello")
        await socket.send({"type": "subscribe", "channels": {channel: cursor}})
        found.append((await socket.expect("subscribed"))["heads"][channel]["reset"])
        await socket.send({"type": "ack", "cursors": {channel: cursor}})
        found.append(await socket.expect("error"))
    return found


KNOWN = ("code", "epoch", "first", "head", "skipped", "resume")


async def test_a_cursor_that_is_ahead_resets(api: Api) -> None:
    epoch = await fill(api, 3)
    for reset in await resets(api, "news", f"{epoch}.4"):
        assert {name: reset[name] for name in KNOWN} == {
            "code": "cursor_ahead",
            "epoch": epoch,
            "first": 1,
            "head": 3,
            "skipped": None,
            "resume": f"{epoch}.0",
        }


async def test_a_cursor_of_another_life_resets(api: Api) -> None:
    epoch = await fill(api, 3)
    for reset in await resets(api, "news", "000000001.2"):
        assert reset["code"] == "epoch_changed"
        assert reset["resume"] == f"{epoch}.0"
    assert seqs(await api.pull("news", after=reset["resume"])) == [1, 2, 3]


async def trim(api: Api, channel: str, before: int) -> None:
    done: list[object] = []
    api.server.hub.log.trim(channel, before, done.append)
    await until(lambda: done)


async def test_a_cursor_before_the_window_resets(api: Api) -> None:
    epoch = await fill(api, 6)
    await trim(api, "news", 5)
    for reset in await resets(api, "news", f"{epoch}.1"):
        assert {name: reset[name] for name in KNOWN} == {
            "code": "expired",
            "epoch": epoch,
            "first": 5,
            "head": 6,
            "skipped": 3,
            "resume": f"{epoch}.4",
        }
    assert seqs(await api.pull("news", after=f"{epoch}.4")) == [5, 6]
    assert seqs(await api.pull("news", after=0)) == [5, 6], "the start is that of the window"


async def test_a_held_poll_of_a_deleted_channel_gets_its_reset(api: Api) -> None:
    epoch = await fill(api, 2)
    answers: list[Answer] = []

    async def wait() -> None:
        async with api.line() as line:
            target = f"{NEWS}?after={epoch}.2&wait=30"
            answers.append(await line.ask("GET", target, token=KEY))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await until(lambda: api.server.hub.pulls.held)
        done: list[object] = []
        api.server.hub.log.delete("news", done.append)
        await until(lambda: answers)
    assert answers[0].code == "epoch_changed"
    new = await fill(api, 1)
    assert new > epoch
    assert seqs(await api.pull("news", after=answers[0].json["resume"])) == [1]

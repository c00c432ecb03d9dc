"""Section 4: pulling. Exactly the retained messages after a cursor, or a typed reset."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.conformance.api import KEY, Answer, Api
from tests.support.app import until

NEWS = "/v1/channels/news/messages"


async def fill(api: Api, count: int = 10, channel: str = "news") -> str:
    """Messages whose data are their seqs; the epoch."""
    for number in range(1, count + 1):
        at = await api.publish(channel, number)
    return str(at["epoch"])


def seqs(answer: Answer) -> list[int]:
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    messages = answer.json["messages"]
    assert [message["data"] for message in messages] == [message["seq"] for message in messages]
    return [message["seq"] for message in messages]


async def test_the_slice_and_where_to_go_on(api: Api) -> None:
    epoch = await fill(api)
    answer = await api.pull("news", after=f"{epoch}.3", limit=4)
    assert seqs(answer) == [4, 5, 6, 7]
    body = answer.json
    body.pop("messages")
    assert body == {
        "channel": "news",
        "epoch": epoch,
        "first": 1,
        "head": 10,
        "next": f"{epoch}.7",
        "more": True,
    }
    rest = await api.pull("news", after=body["next"], limit=4)
    assert seqs(rest) == [8, 9, 10]
    assert rest.json["more"] is False


@pytest.mark.parametrize(("limit", "status"), [(1, 200), (1000, 200), (1001, 400), (0, 400)])
async def test_limits(api: Api, limit: int, status: int) -> None:
    await fill(api, 2)
    assert (await api.pull("news", after=0, limit=limit)).status == status


async def test_an_answer_has_a_megabyte_and_always_one_message(api: Api) -> None:
    for _ in range(20):
        await api.publish("news", "x" * 60_000)
    answer = await api.pull("news", after=0, limit=1000)
    assert len(answer.body) <= 1024 * 1024
    assert 15 <= len(answer.json["messages"]) < 20
    assert answer.json["more"] is True


async def test_from_the_start_and_from_now_on(api: Api) -> None:
    await fill(api, 3)
    assert seqs(await api.pull("news", after=0)) == [1, 2, 3]
    now = await api.pull("news", after="head")
    assert seqs(now) == []
    await api.publish("news", 4)
    assert seqs(await api.pull("news", after=now.json["next"])) == [4]


async def test_without_a_cursor_from_the_delivered_one_else_a_first_contact(api: Api) -> None:
    token = api.server.token("alice", device="phone")
    epoch = await fill(api, 5)
    await fill(api, 2, "user:alice")
    assert seqs(await api.pull("news", token)) == [], "a topic: from the head"
    assert seqs(await api.pull("user:alice", token)) == [1, 2], "an inbox: from the start"
    await api.pull("news", token, after=f"{epoch}.2")
    assert seqs(await api.pull("news", token)) == [3, 4, 5]
    other = api.server.token("alice", device="tablet")
    assert seqs(await api.pull("news", other)) == [], "each device has its own"
    named = api.server.token("alice")
    assert seqs(await api.pull("news", named, device="phone")) == [3, 4, 5]
    assert seqs(await api.pull("news", named)) == [], "without a device nothing is recorded"


async def test_a_bare_number_is_explained(api: Api) -> None:
    answer = await api.pull("news", after=41)
    assert answer.code == "bad_request"
    assert "EPOCH.SEQ" in answer.json["detail"]


async def test_a_wait_ends_with_the_message_or_empty(api: Api) -> None:
    epoch = await fill(api, 1)
    async with api.line() as line, trio.open_nursery() as nursery:
        answers: list[Answer] = []

        async def wait(seconds: float) -> None:
            target = f"{NEWS}?after={epoch}.1&wait={seconds}"
            answers.append(await line.ask("GET", target, token=KEY))

        nursery.start_soon(wait, 30)
        await until(lambda: api.server.hub.pulls.held)
        await api.publish("news", 2)
        await until(lambda: answers)
        assert seqs(answers[0]) == [2]
        empty = await line.ask("GET", f"{NEWS}?after={epoch}.2&wait=0.2", token=KEY)
        assert seqs(empty) == []
        assert empty.json["next"] == f"{epoch}.2"
        again = await line.ask("GET", f"{NEWS}?after={epoch}.1&wait=30", token=KEY)
        assert seqs(again) == [2], "what is there is not waited for"


async def test_waits_are_shortened_by_up_to_a_fifth(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await fill(api, 1)
    armed: list[float] = []
    wheel = type(api.server.hub.wheel)
    arm = wheel.arm

    def spied(self: Any, entry: Any, deadline: float) -> None:
        if entry in api.server.hub.pulls.held:
            armed.append(deadline - trio.current_time())
        arm(self, entry, deadline)

    monkeypatch.setattr(wheel, "arm", spied)
    for number in range(20):
        async with api.server.peer() as peer:
            await peer.write(
                f"GET {NEWS}?after={epoch}.1&wait=50 HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {KEY}\r\n\r\n".encode()
            )
            await until(lambda number=number: len(armed) > number)  # type: ignore[misc]
    assert all(39.9 < seconds <= 50 for seconds in armed), armed
    assert len({round(seconds, 3) for seconds in armed}) > 5, "they do not come in step"


async def test_a_wait_counts_as_a_minute_at_most(api: Api) -> None:
    await fill(api, 1)
    assert (await api.pull("news", after=0, wait=86_400)).status == 200
    assert (await api.pull("news", after=0, wait=-1)).code == "bad_request"
    assert (await api.pull("news", after=0, wait="soon")).code == "bad_request"


async def test_the_hint_that_caused_a_pull_may_be_named(api: Api) -> None:
    epoch = await fill(api, 2)
    assert seqs(await api.pull("news", after=f"{epoch}.1", atleast=2)) == [2]
    assert (await api.pull("news", after=0, atleast="x")).code == "bad_request"


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


async def test_many_channels_at_once(api: Api) -> None:
    epoch = await fill(api, 3)
    token = api.server.token("alice", subscribe=["news", "quiet"])
    await fill(api, 1, "user:alice")
    await fill(api, 1, "user:alice:orders")
    body = {
        "cursors": {"news": f"{epoch}.1", "quiet": "0", "secret": "0", "user:alice:x": "41"},
        "mine": True,
    }
    answer = await api.ask("POST", "/v1/pull", token=token, body=body)
    channels = answer.json["channels"]
    assert [each["seq"] for each in channels["news"]["messages"]] == [2, 3]
    assert channels["quiet"]["messages"] == []
    assert channels["secret"]["error"]["code"] == "forbidden"
    assert channels["user:alice:x"]["error"]["code"] == "bad_request"
    assert [each["seq"] for each in channels["user:alice"]["messages"]] == [1]
    assert [each["seq"] for each in channels["user:alice:orders"]["messages"]] == [1]
    assert channels["all"]["epoch"] == "none"
    assert answer.json["notices"] == []


@pytest.mark.parametrize("moves", ["news", "user:alice", "all", "user:alice:new"])
async def test_held_until_any_of_them_moves(api: Api, moves: str) -> None:
    epoch = await fill(api, 1)
    token = api.server.token("alice")
    body = {"cursors": {"news": f"{epoch}.1"}, "mine": True, "wait": 30}
    answers: list[Answer] = []

    async def wait() -> None:
        async with api.line() as line:
            answers.append(await line.ask("POST", "/v1/pull", token=token, body=body))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await until(lambda: api.server.hub.pulls.held)
        await api.publish(moves, "now")
        await until(lambda: answers)
    (message,) = answers[0].json["channels"][moves]["messages"]
    assert message["data"] == "now"


@pytest.mark.parametrize(("count", "status"), [(128, 200), (129, 413)])
async def test_how_many_cursors(api: Api, count: int, status: int) -> None:
    body = {"cursors": {f"c{number}": "0" for number in range(count)}}
    assert (await api.ask("POST", "/v1/pull", token=KEY, body=body)).status == status


async def test_an_ack_records_without_pulling(api: Api) -> None:
    epoch = await fill(api, 5)
    token = api.server.token("alice", device="phone")
    body = {"cursors": {"news": f"{epoch}.3"}}
    assert (await api.ask("POST", "/v1/ack", token=token, body=body)).status == 204
    assert seqs(await api.pull("news", token)) == [4, 5]
    lower = {"cursors": {"news": f"{epoch}.1"}}
    assert (await api.ask("POST", "/v1/ack", token=token, body=lower)).status == 204
    assert seqs(await api.pull("news", token)) == [4, 5], "delivered only rises"

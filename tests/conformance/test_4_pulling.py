"""Section 4: pulling. Exactly the retained messages after a cursor, or a typed reset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conformance.api import KEY, Answer, Api, fill, seqs, serving
from tests.support.app import until
from tests.support.http import request

NEWS = "/v1/channels/news/messages"


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


async def test_one_message_always_fits(tmp_path: Path, kept: bool) -> None:
    # From memory, and from the file.
    for tail in (1 << 20, 0):
        settings = {"max_pull_bytes": 1024, "tail_cache": tail}
        async with serving(tmp_path / str(tail), kept, **settings) as api:
            for _ in range(3):
                await api.publish("news", "x" * 2000)
            cursor = "0"
            for seq in (1, 2, 3):
                answer = (await api.pull("news", after=cursor)).json
                assert [message["seq"] for message in answer["messages"]] == [seq]
                assert answer["more"] is (seq < 3)
                cursor = answer["next"]


async def test_a_hundred_messages_when_no_limit_is_given(api: Api) -> None:
    lines = b'{"channel":"news","data":1}\n' * 120
    kind = {"Content-Type": "application/x-ndjson"}
    await api.ask("POST", "/v1/publish", token=KEY, body=lines, headers=kind)
    assert len((await api.pull("news", after=0)).json["messages"]) == 100
    many = await api.ask("POST", "/v1/pull", token=KEY, body={"cursors": {"news": "0"}})
    assert len(many.json["channels"]["news"]["messages"]) == 100


async def test_before_the_first_message(api: Api) -> None:
    answer = await api.pull("news", after=0)
    assert answer.json == {
        "channel": "news",
        "epoch": "none",
        "first": 1,
        "head": 0,
        "next": "none.0",
        "more": False,
        "messages": [],
    }
    await fill(api, 2)
    assert seqs(await api.pull("news", after="none.0")) == [1, 2], "that cursor stays good"


async def test_parameters_that_come_twice_or_are_not_known(api: Api) -> None:
    await fill(api, 2)
    assert seqs(await api.pull("news", after=0, colour="red")) == [1, 2]
    for query in ("after=0&after=0", "after=0&limit=1&limit=2", "colour=1&colour=2"):
        assert (await api.ask("GET", f"{NEWS}?{query}", token=KEY)).code == "bad_request"


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


@pytest.mark.parametrize("after", ["0", "head", None])
async def test_what_names_no_message_records_nothing(api: Api, after: str | None) -> None:
    token = api.server.token("alice", device="phone")
    await fill(api, 2)
    query = {} if after is None else {"after": after}
    await api.pull("news", token, **query)
    await api.publish("news", 3)
    assert seqs(await api.pull("news", token)) == [], "still a first contact: from the head"
    await fill(api, 1, "user:alice")
    await api.pull("user:alice", token, **query)
    assert seqs(await api.pull("user:alice", token)) == [1], "still from the start"


async def test_a_session_is_in_no_pulls_way(api: Api) -> None:
    token = api.server.token("alice", device="phone")
    epoch = await fill(api, 2)
    async with api.socket(token=token) as socket, api.socket(token=token) as other:
        await socket.expect("hello")
        await other.expect("hello")
        assert seqs(await api.pull("news", token, after=f"{epoch}.1")) == [2]
        body = {"cursors": {"news": f"{epoch}.2"}, "mine": True}
        assert (await api.ask("POST", "/v1/pull", token=token, body=body)).status == 200


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


@pytest.mark.parametrize(("wait", "longest"), [(50, 50.0), (2.5, 2.5), (86_400, 60.0)])
@pytest.mark.parametrize("route", ["one", "many"])
async def test_waits_are_shortened_by_up_to_a_fifth_and_last_a_minute_at_most(
    api: Api, monkeypatch: pytest.MonkeyPatch, route: str, wait: float, longest: float
) -> None:
    epoch = await fill(api, 1)
    armed: list[tuple[float, float]] = []
    waits: list[float] = []
    wheel = type(api.server.hub.wheel)
    arm = wheel.arm

    def spied(self: Any, entry: Any, deadline: float) -> None:
        if entry in api.server.hub.pulls.held:
            armed.append((deadline, trio.current_time()))
        arm(self, entry, deadline)

    monkeypatch.setattr(wheel, "arm", spied)
    asked = request("GET", f"{NEWS}?after={epoch}.1&wait={wait}", token=KEY)
    if route == "many":
        body = {"cursors": {"news": f"{epoch}.1"}, "wait": wait}
        asked = request("POST", "/v1/pull", token=KEY, body=body)
    for _ in range(20):
        async with api.server.peer() as peer:
            before = trio.current_time()
            armed.clear()
            await peer.write(asked)
            await until(lambda: armed)
            [(deadline, now)] = armed
            # It began between the two.
            assert deadline - now <= longest
            assert deadline - before > longest * 0.7999
            waits.append(deadline - now)
    assert len({round(seconds, 3) for seconds in waits}) > 5, "they do not come in step"


@pytest.mark.parametrize("wait", ["-1", "soon", "", "1e3", "1,5"])
async def test_waits_are_seconds(api: Api, wait: str) -> None:
    assert (await api.pull("news", after=0, wait=wait)).code == "bad_request"


async def test_the_hint_that_caused_a_pull_may_be_named(api: Api) -> None:
    epoch = await fill(api, 2)
    assert seqs(await api.pull("news", after=f"{epoch}.1", atleast=2)) == [2]
    assert (await api.pull("news", after=0, atleast="x")).code == "bad_request"

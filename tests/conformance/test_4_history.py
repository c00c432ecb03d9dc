"""Section 4, history: backwards, without a promise of the rest, and without being recorded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import KEY, Answer, Api, fill
from tests.support.app import until


def page(answer: Answer) -> tuple[list[Any], bool]:
    assert answer.status == 200, answer
    return [message["seq"] for message in answer.json["messages"]], answer.json["more"]


async def test_history_goes_backwards_and_records_nothing(api: Api) -> None:
    token = api.server.token("alice", device="phone")
    epoch = await fill(api, 7)
    assert page(await api.pull("news", token, last=3)) == ([5, 6, 7], True)
    assert page(await api.pull("news", token, before=5, limit=3)) == ([2, 3, 4], True)
    assert page(await api.pull("news", token, before=2, limit=3)) == ([1], False)
    assert page(await api.pull("news", token, before=1)) == ([], False)
    assert page(await api.pull("news", token, last=100)) == ([1, 2, 3, 4, 5, 6, 7], False)
    assert page(await api.pull("news", token)) == ([], False), "still a first contact"
    await api.pull("news", token, after=f"{epoch}.2")
    await api.pull("news", token, last=3)
    assert page(await api.pull("news", token)) == ([3, 4, 5, 6, 7], False)


@pytest.mark.parametrize(
    "query",
    [
        *("before=2&after=0", "last=1&after=0", "before=2&wait=1", "last=1&wait=1"),
        *("last=1&before=2", "last=1&limit=1", "before=2&limit=0", "before=2&limit=1001"),
        *("before=0", "before=x", "before=-1", "last=0", "last=-1", "last=1001", "last=x"),
    ],
)
async def test_histories_that_cannot_be(api: Api, query: str) -> None:
    await fill(api, 2)
    answer = await api.ask("GET", f"/v1/channels/news/messages?{query}", token=KEY)
    assert answer.code == "bad_request"


async def test_before_a_message_that_never_was(api: Api) -> None:
    epoch = await fill(api, 2)
    assert page(await api.pull("news", before=f"{epoch}.2")) == ([1], False)
    assert page(await api.pull("news", before=3)) == ([1, 2], False)
    assert (await api.pull("news", before=4)).code == "cursor_ahead"
    assert (await api.pull("news", before="000000001.2")).code == "epoch_changed"


async def test_history_ends_at_the_window(api: Api) -> None:
    await fill(api, 9)
    done: list[object] = []
    api.server.hub.log.trim("news", 5, done.append)
    await until(lambda: done)
    assert page(await api.pull("news", before=7, limit=10)) == ([5, 6], False)
    assert page(await api.pull("news", last=10)) == ([5, 6, 7, 8, 9], False)

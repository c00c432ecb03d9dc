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
    "query", ["before=0&after=0", "last=0", "last=1001", "before=x", "last=-1"]
)
async def test_histories_that_cannot_be(api: Api, query: str) -> None:
    await fill(api, 1)
    answer = await api.ask("GET", f"/v1/channels/news/messages?{query}", token=KEY)
    assert answer.code == "bad_request"


async def test_history_ends_at_the_window(api: Api) -> None:
    await fill(api, 9)
    done: list[object] = []
    api.server.hub.log.trim("news", 5, done.append)
    await until(lambda: done)
    assert page(await api.pull("news", before=7, limit=10)) == ([5, 6], False)
    assert page(await api.pull("news", last=10)) == ([5, 6, 7, 8, 9], False)

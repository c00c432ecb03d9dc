"""The event stream: its parser in any pieces, and what refusals mean."""

from __future__ import annotations

from itertools import pairwise

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushd.client.credential import Credential
from pushd.client.http import Http
from pushd.client.link import LinkLost
from pushd.client.sse import EventParser, open_events
from tests.client.stores import problem

STREAM = (
    'retry: 3000\n\n: a comment\r\n\r\nevent: hello\nid: 7\ndata: {"type":"hello"}\n\n'
    "data:one\rdata:  two\r\rdata: three\r\n\r\nevent: nothing\n\ndata\n\n"
    "data: four\r\ndata: five\r\n\r\n"
    "unknown: x\ndata: last\n\n"
    "data: never finished\n"
)
EVENTS = ['{"type":"hello"}', "one\n two", "three", "", "four\nfive", "last"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
@example(list(range(len(STREAM))))
def test_events_come_whole_from_any_pieces(cuts: list[int]) -> None:
    parser, found = EventParser(), []
    ends = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(ends):
        found += parser.feed(STREAM[start:end])
    assert found == EVENTS


@pytest.mark.parametrize("piece", ["x" * 70_000, "data: " + "x" * 70_000 + "\n"])
def test_an_event_without_end_is_no_event(piece: str) -> None:
    parser = EventParser()
    pieces = iter([piece] * 20)
    with pytest.raises(LinkLost, match="too long"):
        list(map(parser.feed, pieces))
    assert list(pieces), "before all of it was kept"


@pytest.mark.parametrize(
    ("answer", "code", "blocked", "retry_after_s"),
    [
        (problem(401, "unauthorized"), 4001, False, None),
        (problem(401, "token_expired"), 4001, False, None),
        (problem(404, "not_found"), None, True, None),
        (problem(409, "conflict"), None, True, None),
        (httpx.Response(403), None, True, None),
        (problem(503, "overloaded", retry_after=7), None, False, 7),
        (httpx.Response(502), None, False, None),
        (httpx.Response(200, text="<html>"), None, True, None),
        (httpx.ConnectError("no"), None, False, None),
    ],
)
async def test_what_a_refusal_means(
    answer: httpx.Response | Exception, code: int | None, blocked: bool, retry_after_s: float | None
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with Http("http://x", Credential("t"), httpx.MockTransport(handler)) as http:
        with pytest.raises(LinkLost) as lost:
            async with open_events(http, ["a"], None, None):
                raise AssertionError("open")
    found = lost.value
    assert (found.code, found.blocked, found.retry_after_s) == (code, blocked, retry_after_s)


async def test_the_address_and_the_end() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        headers = {"Content-Type": "text/event-stream; charset=utf-8"}
        return httpx.Response(200, text="data: a\n\ndata: b\n\n", headers=headers)

    async with (
        Http("http://x/p", Credential("t"), httpx.MockTransport(handler)) as http,
        open_events(http, ["#u", "user:bob"], "d&1", "s1") as link,
    ):
        assert [await link.receive(), await link.receive()] == ["a", "b"]
        with pytest.raises(LinkLost, match="ended"):
            await link.receive()
        with pytest.raises(LinkLost):
            await link.send("x")
    assert seen == ["http://x/p/v1/events?channels=%23u,user:bob&device=d%261&replaces=s1"]

"""What is recognised without parsing is what the parser would have read, whatever the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.allowance import Allowance
from pushd.errors import PushdError
from pushd.front.repeat import Repeats
from pushd.front.request import Request, RequestLimits, RequestReader
from tests.support.app import KEY, Server
from tests.support.http import request


def parse(data: bytes) -> list[Request | PushdError]:
    """Everything in ``data``, as the parser reads it; something half read counts as an error."""
    reader = RequestReader(RequestLimits(), lambda _: 1000, Allowance(1 << 20))
    try:
        reader.feed(data)
    except PushdError as error:
        reader.ready.append(error)
    found: list[Request | PushdError] = list(reader.ready)
    return found if reader.partial is None else [*found, PushdError("half a request")]


def facts(read: Request) -> tuple[object, ...]:
    """All that anybody looks at; the length was only needed to find the body."""
    headers = {name: value for name, value in read.headers.items() if name != b"content-length"}
    return (read.method, read.target, headers, read.body, read.keep_alive, read.upgrade)


LENGTH = b"%LENGTH%"  # stands for the digits
HEADS = [
    b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nX: 1\r\nX: 2\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b" HTTP/1.0\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\nContent-Length: %LENGTH%\r\n\r\n",
    b" HTTP/1.1\r\ncontent-length: %LENGTH%\r\nHost: a\r\nX: 1\r\n\r\n",
    b" HTTP/1.0\r\nContent-Length:  %LENGTH%\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\nX-Content-Length: 5\r\nContent-Length: %LENGTH%\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %LENGTH%\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
]
targets = st.one_of(
    st.sampled_from([b"/", b"/a?b=c", b"/a b", b"", b"x", b"*", b"http://a/", b"/\xe9", b"/\0"]),
    st.binary(max_size=12).map(lambda data: b"/" + data),
    st.sampled_from(HEADS).map(lambda head: b"/" + head + b"GET /"),  # two, as one target
    st.integers(2000, 2100).map(lambda size: b"/" + b"x" * size),
)
starts = st.sampled_from([b"GET ", b"POST ", b"GET", b"get ", b"HEAD ", b" GET ", b"GET  "])
bodies = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"0\r\n\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]),
    st.sampled_from(HEADS),
)
digits = st.sampled_from(
    [b"%d", b"0%d", b"00000%d", b"+%d", b"%d ", b"0x%x", b"%d0", b"%d\r\nX: 1"]
)


def whole(
    start: bytes, target: bytes, head: bytes, body: bytes, form: bytes = b"%d", more: int = 0
) -> bytes:
    """``more``: by how much the length is wrong."""
    return start + target + head.replace(LENGTH, form % max(len(body) + more, 0)) + body


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from([b"GET ", b"POST "]),
    st.sampled_from(HEADS),
    bodies,
    st.sampled_from(HEADS),
    st.data(),
)
def test_a_recognised_request_is_the_parsed_one(
    start: bytes, head: bytes, body: bytes, other: bytes, more: st.DataObject
) -> None:
    first = whole(start, b"/first", head, body)
    repeats = Repeats()
    found = parse(first)
    if len(found) == 1 and isinstance(found[0], Request):
        repeats.learn(first, found[0])
    for rest in (head, head, other):
        again = more.draw(st.sampled_from([start, more.draw(starts)]))
        wrong_by = more.draw(st.sampled_from([0, 0, 0, -1, 1, -5, 100_000]))
        form = more.draw(st.one_of(st.just(b"%d"), digits))
        data = whole(again, more.draw(targets), rest, more.draw(bodies), form, wrong_by)
        recognised = repeats.match(data)
        if recognised is not None:
            [parsed] = parse(data)
            assert isinstance(parsed, Request)
            assert facts(recognised) == facts(parsed)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"GET /a" + HEADS[1], b"GET /bc?x=1" + HEADS[1]),
        (
            whole(b"POST ", b"/a", HEADS[4], b"12345"),
            whole(b"POST ", b"/bc", HEADS[4], b"1234567890"),
        ),
    ],
    ids=["get", "post"],
)
def test_the_plain_case_is_recognised(first: bytes, second: bytes) -> None:
    repeats = Repeats()
    [found] = parse(first)
    assert isinstance(found, Request)
    assert repeats.match(first) is None, "nothing was learnt yet"
    repeats.learn(first, found)
    again = repeats.match(second)
    [parsed] = parse(second)
    assert again is not None
    assert isinstance(parsed, Request)
    assert facts(again) == facts(parsed)


async def test_repeated_heads_over_a_connection(server: Server) -> None:
    """The same heads, other targets and tokens, in turns and together."""
    for channel in ("a", "b"):
        await server.publish(channel, channel)
    alice = server.token("alice", subscribe=["a"])
    async with server.peer() as peer:
        for token, channel, status in [
            (KEY, "a", 200),
            (KEY, "b", 200),
            (alice, "a", 200),
            (alice, "b", 403),
            (alice, "a", 200),
            (KEY, "b", 200),
            (KEY, "c%2F", 400),
            ("wrong", "a", 401),
            (KEY, "a", 200),
        ]:
            answer = await peer.ask("GET", f"/v1/channels/{channel}/messages?after=0", token=token)
            assert answer.status == status
            if status == 200:
                assert [each["data"] for each in answer.json["messages"]] == [channel]
        one = request("GET", "/v1/channels/a/messages?after=0", token=KEY)
        await peer.write(one)
        await peer.answer()
        await peer.write(one + one + one[:30])
        for _ in range(2):
            assert (await peer.answer()).status == 200
        await peer.write(one[30:])
        assert (await peer.answer()).status == 200


async def test_a_repeated_head_whose_body_is_refused(server: Server) -> None:
    """Large bodies are asked about before they are read, also those that come in one piece."""
    message = {"data": 1}
    to_all = {"to": {"all": True}, "message": message}
    async with server.peer() as peer:
        for path, body in [
            ("/v1/channels/a/messages", message),
            ("/v1/publish", to_all),
        ]:
            answer = await peer.ask("POST", path, token="wrong", body=body)
            assert (answer.status, answer.code) == (401, "unauthorized")
        assert await peer.is_closed()


async def test_a_repeated_head_has_a_bound(server: Server) -> None:
    """The target is all that may differ, and counts as in any other head."""
    async with server.peer() as peer:
        for size, status in [(10, 200), (2000, 200), (2100, 200), (20_000, 431)]:
            target = f"/v1/channels/a/messages?after=0&x={'x' * size}"
            assert (await peer.ask("GET", target, token=KEY)).status == status
        assert await peer.is_closed()


async def test_a_body_that_looks_like_a_repeated_request_is_a_body(server: Server) -> None:
    """It comes by itself, after its head, and is what this connection has asked before."""
    asked = request("GET", "/v1/channels/a/messages?after=0", token=KEY)
    headers = {"Content-Type": "text/plain", "Expect": "100-continue"}
    sent = request("POST", "/v1/channels/b/messages", token=KEY, body=asked, headers=headers)
    async with server.peer() as peer:
        for _ in range(2):
            await peer.write(asked)
            assert (await peer.answer()).status == 200
        await peer.write(sent.removesuffix(asked))
        assert (await peer.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await peer.write(asked)
        assert (await peer.answer()).status == 201
        assert (await peer.ask("GET", "/healthz")).json == {"status": "ok"}
    [message] = (await server.pull("b", after=0)).json["messages"]
    assert message["data"] == asked.decode()

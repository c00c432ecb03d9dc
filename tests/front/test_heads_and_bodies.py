"""Heads and bodies: at their limits and one beyond, in chunks, invited, too slow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import KEY, Server, failures, running_server, until
from tests.support.events import listening
from tests.support.http import Answer, request

MESSAGES = "/v1/channels/news/messages"
ENVELOPE = 1024  # room for what stands around the largest data


@pytest.fixture(autouse=True)
def soon_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a new connection may keep quiet before anybody looks at it."""
    monkeypatch.setattr("pushd.front.patience.SLOW_S", 0.05)


async def ask_raw(server: Server, data: bytes) -> Answer:
    async with server.peer() as peer:
        await peer.write(data)
        return await peer.answer()


def post(body: bytes, headers: dict[str, str]) -> bytes:
    head = request("POST", MESSAGES, token=KEY, headers={"Content-Type": "application/json"})
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    return head.replace(b"Content-Length: 0\r\n", lines) + body


def chunked(body: bytes, *sizes: int, trailer: bytes = b"") -> bytes:
    """``body`` in chunks of these sizes, the last one as often as needed."""
    parts = []
    while body:
        size, sizes = sizes[0], sizes[1:] or sizes
        parts.append(b"%x\r\n%b\r\n" % (len(body[:size]), body[:size]))
        body = body[size:]
    return b"".join(parts) + b"0\r\n" + trailer + b"\r\n"


def head_of(size: int) -> bytes:
    """A request head of exactly this many bytes."""
    plain = request("GET", "/healthz", headers={"X": ""})
    return request("GET", "/healthz", headers={"X": "x" * (size - len(plain))})


async def test_a_head_at_its_limit_and_beyond(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_head=2048) as server:
        assert len(head_of(2048)) == 2048
        assert (await ask_raw(server, head_of(2048))).status == 200
        refused = await ask_raw(server, head_of(2048 + 64))
        assert (refused.status, refused.code) == (431, "too_large")
        assert "2048" in refused.json["detail"]


async def test_headers_at_their_limit_and_one_beyond(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_headers=10) as server:
        for names in ([f"X{number}" for number in range(9)], ["X"] * 9):
            lines = b"".join(f"{name}: 1\r\n".encode() for name in names)  # and Host
            head = request("GET", "/healthz")[:-2] + lines
            assert (await ask_raw(server, head + b"\r\n")).status == 200
            refused = await ask_raw(server, head + b"One-More: 1\r\n\r\n")
            assert (refused.status, refused.code) == (431, "too_large")


@pytest.mark.parametrize("form", ["length", "chunked"])
async def test_a_body_at_its_limit_and_one_beyond(tmp_path: Path, form: str) -> None:
    async with running_server(tmp_path, max_body=2048) as server:
        for size, status in [(2048, 201), (2049, 413)]:
            body = b'{"data":"%b"}' % (b"x" * (size - 2))
            answer = await ask_raw(server, _in_form(form, body))
            assert answer.status == status, answer.json
        padded = b'{"data":1}' + b" " * (2048 + ENVELOPE - 10)
        assert (await ask_raw(server, _in_form(form, padded))).status == 201
        answer = await ask_raw(server, _in_form(form, padded + b" "))
        assert (answer.status, answer.code) == (413, "too_large")
        assert answer.headers["connection"] == "close"
        assert server.hub.log.heads["news"].seq == 2


def _in_form(form: str, body: bytes) -> bytes:
    if form == "length":
        return post(body, {"Content-Length": str(len(body))})
    return post(chunked(body, 500), {"Transfer-Encoding": "chunked"})


@pytest.mark.parametrize("sizes", [(1,), (1000,), (3, 1, 7)])
@pytest.mark.parametrize("coding", ["chunked", "Chunked"])
async def test_a_body_in_chunks(server: Server, sizes: tuple[int, ...], coding: str) -> None:
    body = chunked(b'{"data":{"text":"in chunks"}}', *sizes)
    follows = request("GET", f"{MESSAGES}?after=0", token=KEY)
    async with server.peer() as peer:
        await peer.write(post(body, {"Transfer-Encoding": coding}) + follows)
        assert (await peer.answer()).status == 201
        [message] = (await peer.answer()).json["messages"]
        assert message["data"] == {"text": "in chunks"}


async def test_trailers_change_nothing(server: Server) -> None:
    trailer = b"Authorization: Bearer nobody\r\nHost: b\r\nX: 1\r\n"
    body = chunked(b'{"data":1}', 4, trailer=trailer)
    async with server.peer() as peer:
        await peer.write(post(body, {"Transfer-Encoding": "chunked"}) + request("GET", "/healthz"))
        assert (await peer.answer()).status == 201
        assert (await peer.answer()).status == 200


async def test_equal_headers_are_joined_as_one_list(server: Server) -> None:
    """Of those that may come twice; what may not is among the bad requests."""
    offered = b"Sec-WebSocket-Protocol: pushd.v1\r\nSec-WebSocket-Protocol: bearer.%b\r\n"
    head = request(
        "GET",
        "/v1/ws",
        headers={
            "Upgrade": "websocket",
            "Connection": "keep-alive, Upgrade",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version": "13",
        },
    )
    async with server.peer() as peer:
        await peer.write(head[:-2] + offered % server.token().encode() + b"\r\n")
        answer = await peer.answer()
        assert answer.status == 101
        assert answer.headers["sec-websocket-protocol"] == "pushd.v1"
        assert b'"type":"hello"' in await peer.read_until(b"}}")


async def test_a_body_is_invited_when_it_may_come(server: Server) -> None:
    body = b'{"data":1}'
    expecting = {"Content-Length": "10", "Expect": "100-Continue"}
    async with server.peer() as peer:
        for _ in range(2):
            await peer.write(post(b"", expecting))
            assert (await peer.answer()).status == 100
            await peer.write(body)
            assert (await peer.answer()).status == 201
        await peer.write(post(body, expecting))  # did not wait
        assert (await peer.answer()).status == 201
        await peer.write(post(b"", {**expecting, "Content-Length": "99999999"}))
        assert (await peer.answer()).status == 413, "refused before it is sent"


SLOW: dict[str, tuple[bytes, dict[str, Any], int | None]] = {
    "nothing": (b"", {"head_timeout": 0.1}, None),
    "a byte": (b"G", {"head_timeout": 0.1}, 408),
    "half a head": (b"GET / HTTP/1.1\r\nHost: a\r\n", {"head_timeout": 0.1}, 408),
    "no body": (post(b"", {"Content-Length": "10"}), {"body_timeout": 0.1}, 408),
    "half a body": (post(b'{"data"', {"Content-Length": "10"}), {"body_timeout": 0.1}, 408),
    "half a chunk": (post(b"5\r\n{", {"Transfer-Encoding": "chunked"}), {"body_timeout": 0.1}, 408),
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("later", [False, True], ids=["first", "second"])
async def test_what_does_not_come_in_time(tmp_path: Path, name: str, later: bool) -> None:
    data, settings, status = SLOW[name]
    idle = {"idle_timeout": 0.1} if later and status is None else {}
    async with running_server(tmp_path, **idle) as server, server.peer() as peer:
        if later:
            assert (await peer.ask("GET", "/healthz")).status == 200
        # Only now: what comes in time does so on any machine.
        server.hub.settings = replace(server.hub.settings, **settings)
        await peer.write(data)
        if status is not None or not later:
            answer = await peer.answer()
            assert answer.status == 408
            assert answer.headers["connection"] == "close"
            assert answer.code == "bad_request"
        assert await peer.is_closed()
        await peer.stream.aclose()
        await until(lambda: server.hub.connections == 0)


async def test_an_idle_connection_is_closed_quietly(tmp_path: Path) -> None:
    async with running_server(tmp_path, idle_timeout=0.1) as server, server.peer() as peer:
        assert (await peer.ask("GET", "/healthz")).status == 200
        assert await peer.is_closed()


async def test_a_held_poll_is_not_idle(tmp_path: Path) -> None:
    async with running_server(tmp_path, idle_timeout=0.05) as server, server.peer() as peer:
        polled = await peer.ask("GET", f"{MESSAGES}?after=head&wait=0.3", token=KEY)
        assert polled.status == 200


async def test_a_request_whose_answer_got_lost_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails in here; a held poll and a stream are no such thing."""
    async with (
        running_server(tmp_path, errors_expected=True, idle_timeout=0.05, max_wait=0.3) as server,
        listening(server, token=server.token()) as stream,
    ):
        await stream.expect("hello")
        answer = await server.pull("news", after=0, wait=0.3)
        assert answer.status == 200
        monkeypatch.setattr("pushd.front.patience.ANSWER_S", 0.1)
        monkeypatch.setattr(server.hub.publisher, "submit", lambda *_: None)
        async with server.peer() as peer:
            await peer.write(request("POST", MESSAGES, token=KEY, body={"data": 1}))
            assert await peer.is_closed()
        told = [each["event"] for each in failures(server.log)]
        assert told == ["a request was not answered: its connection is closed"]
        monkeypatch.undo()
        await server.publish("all", 1)
        await stream.expect("hint")


async def test_head_has_no_body(server: Server) -> None:
    """Of any path: else the body would be taken for the next answer."""
    paths = ["/healthz", "/readyz", f"{MESSAGES}?after=0", "/v1/publish", "/v1/ws", "/v1/pull"]
    async with server.peer() as peer:
        for path in paths:
            await peer.write(request("HEAD", path, token=KEY) + request("GET", "/healthz"))
            assert (await peer.answer(head=True)).status in (200, 400, 405), path
            assert (await peer.answer()).json == {"status": "ok"}, path


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", MESSAGES, "GET, POST, OPTIONS"),
        ("DELETE", MESSAGES, "GET, POST, OPTIONS"),
        ("GET", "/v1/publish", "POST, OPTIONS"),
        ("GET", "/v1/pull", "POST, OPTIONS"),
        ("DELETE", "/v1/ack", "POST, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
async def test_another_method_is_told_which_are_served(
    server: Server, method: str, path: str, allowed: str
) -> None:
    async with server.peer() as peer:
        answer = await peer.ask(method, path, token=KEY)
        assert (answer.status, answer.code) == (405, "bad_request")
        assert answer.headers["allow"] == allowed
        assert (await peer.ask("GET", "/healthz")).status == 200

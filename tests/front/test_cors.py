"""Which pages may read answers: one list of origins for hot routes, refusals and web pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.app import KEY, Server, running_server
from tests.support.http import Answer, request

LISTED = "https://app.example.com"
OTHERS = ["https://app.example.com.evil.net", "http://app.example.com", "null", "http://localhost"]
MESSAGES = "/v1/channels/news/messages"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, origins=(LISTED,)) as running:
        yield running


def readable_by(answer: Answer) -> str | None:
    """The origin whose pages may read this answer."""
    origin = answer.headers.get("access-control-allow-origin")
    assert (origin is None) == ("vary" not in answer.headers)
    if origin is not None:
        assert answer.headers["vary"] == "Origin"
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    return origin


PATHS = [
    ("GET", f"{MESSAGES}?after=0", 200),
    ("GET", f"{MESSAGES}?after=41", 400),
    ("GET", f"{MESSAGES}?after=000000001.1", 410),
    ("POST", MESSAGES, 400),
    ("POST", "/v1/pull", 400),
    ("PUT", MESSAGES, 405),
    ("GET", "/healthz", 200),
    ("GET", "/v1/stats", 200),
    ("GET", "/v1/channels", 200),
    ("GET", "/v1/nothing", 404),
    ("POST", "/v1/stats", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
async def test_answers_are_readable_by_pages_of_the_list(
    server: Server, method: str, path: str, status: int
) -> None:
    for origin in [LISTED, *OTHERS]:
        answer = await server.ask(method, path, token=KEY, headers={"Origin": origin})
        assert answer.status == status
        assert readable_by(answer) == (LISTED if origin == LISTED else None)
    assert readable_by(await server.ask(method, path, token=KEY)) is None


async def test_a_refused_token_is_readable_too(server: Server) -> None:
    answer = await server.ask("GET", MESSAGES, token="wrong", headers={"Origin": LISTED})
    assert (answer.status, readable_by(answer)) == (401, LISTED)


REFUSED_BEFORE_THEY_ARE_WHOLE = [
    (MESSAGES, KEY, b"Content-Length: 100000", b"", 413),
    ("/v1/publish", "wrong", b"Content-Length: 10", b"", 401),
    ("/v1/publish", KEY, b"Content-Length: 10000000", b"", 413),
    (MESSAGES, KEY, b"Transfer-Encoding: chunked", b"x\r\n", 400),
    (MESSAGES, KEY, b"Content-Length: 10", b"", 408),
]


@pytest.mark.parametrize(("path", "token", "head", "body", "status"), REFUSED_BEFORE_THEY_ARE_WHOLE)
async def test_what_is_refused_while_it_is_read_is_readable_too(
    tmp_path: Path, path: str, token: str, head: bytes, body: bytes, status: int
) -> None:
    """A page that shows 'Failed to fetch' knows neither that it sent too much nor that its token
    is old."""
    async with running_server(tmp_path, origins=(LISTED,), body_timeout=0.05) as server:
        for origin in (LISTED, OTHERS[0]):
            given = request("POST", path, token=token, headers={"Origin": origin})
            given = given.replace(b"Content-Length: 0", head)
            async with server.peer() as peer:
                await peer.write(given + body)
                answer = await peer.answer()
            assert answer.status == status
            assert readable_by(answer) == (LISTED if origin == LISTED else None)


PREFLIGHTS = [MESSAGES, "/v1/publish", "/v1/pull", "/v1/ack", "/v1/stats", "/v1/anything"]


@pytest.mark.parametrize("path", PREFLIGHTS)
async def test_preflight_of_the_list(server: Server, path: str) -> None:
    asked = {
        "Origin": LISTED,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with server.peer() as peer:
        for _ in range(2):  # no token, and the connection is kept
            answer = await peer.ask("OPTIONS", path, headers=asked)
            assert answer.status == 204
            assert readable_by(answer) == LISTED
            methods = answer.headers["access-control-allow-methods"].split(", ")
            assert {"GET", "POST", "PUT", "DELETE"} <= set(methods)
            names = answer.headers["access-control-allow-headers"].lower().split(", ")
            assert {"authorization", "content-type", "last-event-id", "*"} <= set(names)
            assert answer.headers["access-control-max-age"] == "7200"


@pytest.mark.parametrize("origin", OTHERS)
async def test_preflight_of_others(server: Server, origin: str) -> None:
    answer = await server.ask("OPTIONS", MESSAGES, headers={"Origin": origin})
    assert (answer.status, answer.code) == (403, "forbidden")
    assert readable_by(answer) is None


async def test_options_of_a_program(server: Server) -> None:
    answer = await server.ask("OPTIONS", MESSAGES)
    assert answer.status == 204
    assert "GET" in answer.headers["allow"]
    assert readable_by(answer) is None

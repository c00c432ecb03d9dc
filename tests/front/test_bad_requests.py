"""Bytes that are no request, or one with two readings: refused, closed, and nothing else harmed."""

from __future__ import annotations

import pytest

from tests.support.app import KEY, Server
from tests.support.http import request

PULL = "/v1/channels/news/messages?after=0"
PUBLISH = "/v1/channels/news/messages"
AUTH = f"Authorization: Bearer {KEY}\r\n"
JSON = AUTH + "Content-Type: application/json\r\n"


def get(*, line: str = f"GET {PULL} HTTP/1.1", headers: str = "Host: a\r\n") -> bytes:
    return f"{line}\r\n{headers}{AUTH}\r\n".encode("latin-1")


def post(headers: str, body: str = '{"data":1}') -> bytes:
    return f"POST {PUBLISH} HTTP/1.1\r\nHost: a\r\n{JSON}{headers}\r\n{body}".encode("latin-1")


CHUNKED = "Transfer-Encoding: chunked\r\n"
BAD: dict[str, tuple[bytes, int]] = {
    "no http": (b"hello\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "http2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http 2": (get(line=f"GET {PULL} HTTP/2.0"), 400),
    "http 1.2": (get(line=f"GET {PULL} HTTP/1.2"), 400),
    "http 0.9": (b"GET /\r\n\r\n", 400),
    "unknown method": (get(line=f"BREW {PULL} HTTP/1.1"), 400),
    "lower-case method": (get(line=f"get {PULL} HTTP/1.1"), 400),
    "trace": (get(line=f"TRACE {PULL} HTTP/1.1"), 400),
    "connect": (get(line="CONNECT example.com:80 HTTP/1.1"), 400),
    "absolute form": (get(line=f"GET http://a{PULL} HTTP/1.1"), 400),
    "asterisk": (get(line="OPTIONS * HTTP/1.1"), 400),
    "no slash": (get(line="GET v1 HTTP/1.1"), 400),
    "blank in the target": (get(line="GET /v1/a b HTTP/1.1"), 400),
    "raw bytes in the target": (get(line="GET /v1/\xe9 HTTP/1.1"), 400),
    "nul in the target": (get(line="GET /v1/\0 HTTP/1.1"), 400),
    "no host": (get(headers=""), 400),
    "empty host": (get(headers="Host: \r\n"), 400),
    "two hosts": (get(headers="Host: a\r\nHost: b\r\n"), 400),
    "two equal hosts": (get(headers="Host: a\r\nHost: a\r\n"), 400),
    "two origins": (get(headers="Host: a\r\nOrigin: null\r\nOrigin: http://b\r\n"), 400),
    "two credentials": (get(headers=f"Host: a\r\n{AUTH}"), 400),
    "bare lf": (get().replace(b"\r\n", b"\n"), 400),
    "one bare lf": (get(headers="Host: a\nX: 1\r\n"), 400),
    "bare cr": (get(headers="Host: a\rX: 1\r\n"), 400),
    "folded header": (get(headers="Host: a\r\nX: 1\r\n 2\r\n"), 400),
    "blank before the colon": (get(headers="Host : a\r\n"), 400),
    "blank before the name": (get(headers=" Host: a\r\n"), 400),
    "no colon": (get(headers="Host: a\r\nX\r\n"), 400),
    "empty name": (get(headers="Host: a\r\n: 1\r\n"), 400),
    "nul in a value": (get(headers="Host: a\r\nX: \0\r\n"), 400),
    "nul in a name": (get(headers="Host: a\r\nX\0: 1\r\n"), 400),
    "length twice": (post("Content-Length: 10\r\nContent-Length: 10\r\n"), 400),
    "two lengths": (post("Content-Length: 10\r\nContent-Length: 11\r\n"), 400),
    "length list": (post("Content-Length: 10, 10\r\n"), 400),
    "length +1": (post("Content-Length: +10\r\n"), 400),
    "length -1": (post("Content-Length: -1\r\n"), 400),
    "length hex": (post("Content-Length: 0x0a\r\n"), 400),
    "length of 20 digits": (post("Content-Length: 99999999999999999999\r\n"), 400),
    "length and chunked": (post(f"Content-Length: 10\r\n{CHUNKED}", "0\r\n\r\n"), 400),
    "chunked and length": (post(f"{CHUNKED}Content-Length: 10\r\n", "0\r\n\r\n"), 400),
    "chunked twice": (post(CHUNKED * 2, "0\r\n\r\n"), 400),
    "xchunked": (post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400),
    "gzip, chunked": (post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400),
    "identity": (post("Transfer-Encoding: identity\r\n"), 400),
    "chunked, gzip": (post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"), 400),
    "bad chunk size": (post(CHUNKED, "xyz\r\n"), 400),
    "negative chunk size": (post(CHUNKED, "-1\r\n"), 400),
    "huge chunk size": (post(CHUNKED, "f" * 17 + "\r\n"), 400),
    "bad chunk end": (post(CHUNKED, "2\r\n{}xx\r\n0\r\n\r\n"), 400),
    "chunk size with bare lf": (post(CHUNKED, "2\n{}\n0\n\n"), 400),
    "chunked in http 1.0": (
        post(CHUNKED, "0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
        400,
    ),
    "expect something else": (post("Content-Length: 10\r\nExpect: 200-ok\r\n", ""), 400),
    "h2c": (
        get(headers="Host: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"),
        400,
    ),
    "h2c without connection": (get(headers="Host: a\r\nUpgrade: h2c\r\n"), 400),
    "upgrade by post": (
        post("Content-Length: 10\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"),
        400,
    ),
    "upgrade with a body": (
        get(
            line="GET /v1/ws HTTP/1.1",
            headers="Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n",
        )
        + b"hi",
        400,
    ),
    "upgrade with chunks": (
        get(
            line="GET /v1/ws HTTP/1.1",
            headers=f"Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{CHUNKED}",
        )
        + b"0\r\n\r\n",
        400,
    ),
    "2000 headers": (get(headers="Host: a\r\n" + "X: 1\r\n" * 2000), 431),
    "2000 names": (get(headers="Host: a\r\n" + "".join(f"X{n}:\r\n" for n in range(2000))), 431),
    "one long header": (get(headers="Host: a\r\nX: " + "x" * 65536 + "\r\n"), 431),
    "long request line": (get(line="GET /" + "x" * 65536 + " HTTP/1.1"), 431),
    "a head without end": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 131072, 431),
    "a line without end": (b"GET /" + b"x" * 131072, 431),
    "a name without end": (b"GET / HTTP/1.1\r\n" + b"x" * 131072, 431),
    "a trailer without end": (post(CHUNKED, "0\r\nX: " + "x" * 131072), 400),
    "a chunk extension without end": (post(CHUNKED, "2;x=" + "x" * 131072), 400),
    "a body beyond the limit": (post("Content-Length: 9999999\r\n", ""), 413),
    "chunks beyond the limit": (post(CHUNKED, "1ffff\r\n" + "x" * 0x1FFFF), 413),
}


@pytest.mark.parametrize("name", BAD)
async def test_refused_and_closed(server: Server, name: str) -> None:
    data, status = BAD[name]
    async with server.peer() as peer, server.peer() as other:
        assert (await other.ask("GET", "/healthz")).status == 200
        await peer.write(data)
        answer = await peer.answer()
        assert answer.status == status, answer.json
        assert answer.code == ("bad_request" if status == 400 else "too_large")
        assert answer.headers["connection"] == "close"
        await peer.write(request("GET", "/healthz"))
        assert await peer.is_closed(), "what follows has no one reading"
        assert (await other.ask("GET", "/healthz")).status == 200
    assert "news" not in server.hub.log.heads

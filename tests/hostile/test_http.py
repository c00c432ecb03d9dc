"""HTTP: what is no request or has two readings, bodies that lie, and odd ones that are right."""

from __future__ import annotations

import gzip
import socket
from contextlib import suppress

import pytest

from tests.hostile.node import Node, serves_on
from tests.support.app import KEY
from tests.support.http import ConnectionLost, request

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
    "a host with an empty label": (get(headers="Host: ..\r\n"), 400),
    "a host with a long label": (get(headers=f"Host: {'x' * 64}.a\r\n"), 400),
    "a long host": (get(headers=f"Host: {'x.' * 4000}a\r\n"), 400),
    "a host that is not ascii": (get(headers="Host: \xff\r\n"), 400),
    "a host with a path": (get(headers="Host: a/../b\r\n"), 400),
    "a host with a blank": (get(headers="Host: a b\r\n"), 400),
    "a host with a user": (get(headers="Host: a@b\r\n"), 400),
    "a host with two ports": (get(headers="Host: a:1:2\r\n"), 400),
    "a port that is none": (get(headers="Host: a:-1\r\n"), 400),
    "half an address": (get(headers="Host: [::1\r\n"), 400),
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
    "chunk extension": (post(CHUNKED, "2;a=b\r\n{}\r\n0\r\n\r\n"), 400),
    "chunk extension without a value": (post(CHUNKED, "2;a\r\n{}\r\n0\r\n\r\n"), 400),
    "quoted chunk extension": (post(CHUNKED, '2;a="\r\n{}\r\n0\r\n\r\n'), 400),
    "extension of the last chunk": (post(CHUNKED, "2\r\n{}\r\n0;a=b\r\n\r\n"), 400),
    "blank behind a chunk size": (post(CHUNKED, "2 \r\n{}\r\n0\r\n\r\n"), 400),
    "blank before a chunk size": (post(CHUNKED, " 2\r\n{}\r\n0\r\n\r\n"), 400),
    "chunk size 0x2": (post(CHUNKED, "0x2\r\n{}\r\n0\r\n\r\n"), 400),
    "empty chunk size": (post(CHUNKED, "\r\n{}\r\n0\r\n\r\n"), 400),
    "data behind a chunk": (post(CHUNKED, "2\r\n{}}\r\n0\r\n\r\n"), 400),
    "bare lf at the end of chunks": (post(CHUNKED, "2\r\n{}\r\n0\r\n\n"), 400),
    "a trailer that is none": (post(CHUNKED, "2\r\n{}\r\n0\r\nX Y\r\n\r\n"), 400),
    "mixed spelling of chunked": (post("Transfer-Encoding: cHuNkEd\r\n", "0\r\n\r\n"), 400),
    "h2c": (
        get(headers="Host: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"),
        400,
    ),
    "h2c without connection": (get(headers="Host: a\r\nUpgrade: h2c\r\n"), 400),
    "upgrade by post without a body": (
        get(
            line="POST /v1/ws HTTP/1.1",
            headers="Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        ),
        400,
    ),
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
@pytest.mark.parametrize("split", [False, True], ids=["at once", "split"])
async def test_refused_and_closed(node: Node, name: str, split: bool) -> None:
    """``split``: within the blank line, where a reader that looks for it could be fooled."""
    data, status = BAD[name]
    async with node.peer() as peer, node.peer() as other:
        assert (await other.ask("GET", "/healthz")).status == 200
        at = data.find(b"\r\n\r\n") + 3 if split and len(data) < 4096 else 0
        if at > 2:
            await peer.write(data[:at])
            assert (await other.ask("GET", "/healthz")).status == 200
        await peer.write(data[max(at, 0) :])
        answer = await peer.answer()
        assert answer.status == status, answer.json
        assert answer.code == ("bad_request" if status == 400 else "too_large")
        assert answer.headers["connection"] == "close"
        with suppress(ConnectionLost):  # it may have hung up by now
            await peer.write(request("GET", "/healthz"))
        assert await peer.is_closed(), "what follows has no one reading"
        assert (await other.ask("GET", "/healthz")).status == 200


async def test_nothing_of_all_that_was_stored(node: Node) -> None:
    answer = await node.pull("news", KEY, after=0)
    assert (answer.json["epoch"], answer.json["messages"]) == ("none", [])


BOMB = gzip.compress(b" " * 10_000_000)
CUT: dict[str, bytes] = {
    "in the head": post("Content-Length: 10\r\n", "")[:-4],
    "in the body": post("Content-Length: 10\r\n", '{"data":'),
    "before a chunk": post(CHUNKED, ""),
    "in a chunk": post(CHUNKED, "a\r\n{"),
    "behind a chunk": post(CHUNKED, 'a\r\n{"data":1}\r\n'),
    "in the last line": post(CHUNKED, 'a\r\n{"data":1}\r\n0\r\n'),
}


@pytest.mark.parametrize("name", CUT)
async def test_a_body_that_is_cut_off_stores_nothing(node: Node, name: str) -> None:
    async with node.peer() as peer:
        await peer.write(CUT[name])
        await peer.end()
        assert await peer.is_closed()
    await test_nothing_of_all_that_was_stored(node)


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "identity, gzip"])
async def test_a_compressed_body_is_never_unpacked(node: Node, coding: str) -> None:
    headers = f"Content-Length: {len(BOMB)}\r\nContent-Encoding: {coding}\r\n"
    answer = await node.send(post(headers, "") + BOMB)
    assert (answer.status, answer.code) == (400, "bad_request")


RIGHT: dict[str, bytes] = {
    "length": post("Content-Length: 10\r\n"),
    "chunked": post(CHUNKED, 'A\r\n{"data":1}\r\n0\r\n\r\n'),
    "CHUNKED": post("Transfer-Encoding: CHUNKED\r\n", 'a\r\n{"data":1}\r\n000\r\n\r\n'),
    "chunks of one": post(CHUNKED, "".join(f"1\r\n{c}\r\n" for c in '{"data":1}') + "0\r\n\r\n"),
    "trailers": post(CHUNKED, '0a\r\n{"data":1}\r\n0\r\nX: 1\r\nHost: b\r\n\r\n'),
    "blank lines in the data": post(CHUNKED, '12\r\n{"data":1\r\n\r\n\r\n\r\n}\r\n0\r\n\r\n'),
    "the word in a body": post("Content-Length: 18\r\n", '{"data":"chunked"}'),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_odd_but_right_ones_are_served_in_any_pieces(
    node: Node, name: str, step: int
) -> None:
    """Twice, so that what follows a body is seen to begin where it ends."""
    data = RIGHT[name].replace(b"/news/", b"/odd/") * 2 + request("GET", "/healthz")
    async with node.peer() as peer:
        peer.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), step):
            await peer.write(data[at : at + step])
        assert (await peer.answer()).status == 201
        assert (await peer.answer()).status == 201
        assert (await peer.answer()).status == 200


HOSTS = ["a", "a:80", "a.b.:8080", "localhost:", "127.0.0.1:1", "[::1]:80", "[::ffff:1.2.3.4]"]
HOSTS += ["a_b", "xn--", "xn--zckzah.example", "x" * 63 + ".y", "-"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["/healthz", "/", "/v1/ws"])
async def test_hosts_of_all_kinds(node: Node, host: str, path: str) -> None:
    headers = {"Host": host}
    if path == "/v1/ws":
        # Everything of it reaches a library, unless it is written anew.
        headers |= {"Upgrade": "websocket", "Connection": "keep-alive, Upgrade, \xff"}
        headers |= {"Sec-WebSocket-Key": "A" * 22 + "==", "Sec-WebSocket-Version": "13"}
    data = request("GET", path, token=node.token(), headers=headers).replace(b"\xc3\xbf", b"\xff")
    answer = await node.send(data)
    assert answer.status == (101 if path == "/v1/ws" else 200), answer


@pytest.mark.parametrize("host", ["", "Host:\r\n", "Host: a\r\n"])
async def test_http_1_0_with_and_without_a_host(node: Node, host: str) -> None:
    for path in ("/", "/healthz"):
        answer = await node.send(f"GET {path} HTTP/1.0\r\n{host}\r\n".encode())
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/", "/v1/stats", "/nowhere", "/v1/ws"])
async def test_a_second_request_of_the_other_engine(node: Node, path: str) -> None:
    """Behind a hot one, and a hot one behind it: nobody gets an answer that is not theirs."""
    hot, other = request("GET", "/healthz"), request("GET", path, token=KEY)
    async with node.peer() as peer:
        await peer.write(hot + other + hot)
        assert (await peer.answer()).json == {"status": "ok"}
        answer = await peer.answer()
        assert answer.status < 500
        if path != "/v1/ws":
            assert answer.headers["connection"] == "close"
            assert await peer.is_closed()
    await serves_on(node)

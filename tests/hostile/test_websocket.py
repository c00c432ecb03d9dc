"""WebSocket: upgrades that are none, and frames that break the protocol: one session's end each."""

from __future__ import annotations

import pytest

from tests.hostile.node import Node, serves_on
from tests.support.app import Socket
from tests.support.frames import BINARY, CONTINUATION, fragments, frame
from tests.support.http import ConnectionLost, patience, request
from tests.support.websocket import CLOSE, PING, TEXT, Closed

SETTINGS = {"max_body": "2KiB", "write_timeout": "1s", "origins": "https://app.example.com"}

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}

NO_UPGRADE: dict[str, tuple[dict[str, str | None], int]] = {
    "no upgrade": ({"Upgrade": None}, 400),
    "no connection": ({"Connection": None}, 400),
    "another connection": ({"Connection": "keep-alive"}, 400),
    "another protocol": ({"Upgrade": "websocket, h2c"}, 400),
    "version 7": ({"Sec-WebSocket-Version": "7"}, 426),
    "version 013": ({"Sec-WebSocket-Version": "013"}, 426),
    "versions": ({"Sec-WebSocket-Version": "13, 7"}, 426),
    "no version": ({"Sec-WebSocket-Version": None}, 426),
    "no key": ({"Sec-WebSocket-Key": None}, 400),
    "empty key": ({"Sec-WebSocket-Key": ""}, 400),
    "short key": ({"Sec-WebSocket-Key": "AAAA"}, 400),
    "long key": ({"Sec-WebSocket-Key": "A" * 1000}, 400),
    "no base64": ({"Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!=="}, 400),
    "bad authorization": ({"Authorization": "Basic YTpi"}, 401),
    "subprotocol of 32 KiB": ({"Sec-WebSocket-Protocol": "x" * 32_768}, 431),
    "another origin": ({"Origin": "https://app.example.com.evil.net"}, 403),
}


@pytest.mark.parametrize("name", NO_UPGRADE)
async def test_no_upgrade(node: Node, name: str) -> None:
    changes, status = NO_UPGRADE[name]
    headers = {name: value for name, value in {**UPGRADE, **changes}.items() if value is not None}
    answer = await node.send(request("GET", f"/v1/ws?token={node.token()}", headers=headers))
    assert answer.status == status, answer
    assert answer.code
    assert ("sec-websocket-version" in answer.headers) == (status == 426)


@pytest.mark.parametrize("query", ["device=", "device=a/b", "a=1&a=2", "channels=%ff", "%00=1%0a"])
async def test_a_bad_address(node: Node, query: str) -> None:
    path = f"/v1/ws?{query}&token={node.token()}"
    answer = await node.send(request("GET", path, headers=UPGRADE))
    if query.startswith("%00"):
        assert answer.status == 101, "an unknown parameter is nobody's"
    else:
        assert (answer.status, answer.code) == (400, "bad_request")


@pytest.mark.parametrize(
    "offered",
    ["bearer.ä€".encode(), b"bearer.", b"bearer.\xff\xfe", b"bearer.a.b.c", b", ,,", b"pushd.v2"],
)
async def test_subprotocols_of_all_kinds(node: Node, offered: bytes) -> None:
    """Whoever shows no good token is told after the upgrade, where a browser sees it."""
    head = request("GET", "/v1/ws", headers={**UPGRADE, "Sec-WebSocket-Protocol": "OFFERED"})
    async with node.peer() as peer:
        await peer.write(head.replace(b"OFFERED", offered))
        answer = await peer.answer()
        assert answer.status == 101
        assert "sec-websocket-protocol" not in answer.headers
        if offered.startswith(b"bearer.") and len(offered) > 7:
            assert b'"code":4001' in await peer.read_until(b"}")


@pytest.mark.parametrize("behind", [b"\x81\x80\0\0\0\0", request("GET", "/healthz"), b"\0"])
async def test_what_is_sent_before_the_upgrade_is_answered(node: Node, behind: bytes) -> None:
    path = f"/v1/ws?token={node.token()}"
    async with node.peer() as peer:
        await peer.write(request("GET", path, headers=UPGRADE) + behind)
        answer = await peer.answer()
        assert (answer.status, answer.code) == (400, "bad_request")
        assert await peer.is_closed()


WRONG: dict[str, tuple[bytes, int]] = {
    "unmasked": (frame(TEXT, b"{}", masked=False), 1002),
    "rsv1": (frame(TEXT, b"{}", rsv=4), 1002),
    "rsv2": (frame(TEXT, b"{}", rsv=2), 1002),
    "rsv3": (frame(PING, b"", rsv=1), 1002),
    **{f"opcode {code}": (frame(code), 1002) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "fragmented ping": (frame(PING, b"a", final=False), 1002),
    "fragmented close": (frame(CLOSE, b"", final=False), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "long close": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "length 2^63-1": (
        frame(TEXT, b"x" * 5000, length=b"\x7f" + (2**63 - 1).to_bytes(8, "big")),
        1009,
    ),
    "length 2^63": (frame(TEXT, b"{}", length=b"\x7f" + (2**63).to_bytes(8, "big")), 1002),
    "length of 3 bytes for 2": (frame(TEXT, b"{}", length=b"\x7e\x00\x02"), 1002),
    "length of 9 bytes for 2": (
        frame(TEXT, b"{}", length=b"\x7f" + (2).to_bytes(8, "big")),
        1002,
    ),
    "continuation of nothing": (frame(CONTINUATION, b"{}"), 1002),
    "text within a text": (frame(TEXT, b"{", final=False) + frame(TEXT, b"}"), 1002),
    "no utf-8": (frame(TEXT, b'{"a":"\xff"}'), 1007),
    "overlong utf-8": (frame(TEXT, b"\xc0\xaf"), 1007),
    "surrogate in utf-8": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "half a character at the end": (frame(TEXT, b'{"type":"ping"}\xc3'), 1007),
    "no utf-8 across fragments": (
        frame(TEXT, b"\xc3", final=False) + frame(CONTINUATION, b"\x28"),
        1007,
    ),
    **{
        f"close code {code}": (frame(CLOSE, code.to_bytes(2, "big")), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 5000, 65535)
    },
    "close with half a code": (frame(CLOSE, b"\x03"), 1002),
    "close without utf-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "no frame at all": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1002),
    "one byte over the limit": (frame(TEXT, b'"' + b"x" * 2046 + b'" '), 1009),
    "over the limit in bytes, not in characters": (
        frame(TEXT, b'"' + "€".encode() * 682 + b'" '),
        1009,
    ),
    "binary over the limit": (frame(BINARY, b"x" * 2049), 1009),
    "fragments of a byte over the limit": (fragments(b'"' + b"x" * 2048, 1), 1009),
    "fragments of 100 bytes over the limit": (fragments(b'"' + b"x" * 2100, 100), 1009),
    "100,000 empty fragments": (
        frame(TEXT, b"{", final=False) + frame(CONTINUATION, final=False) * 100_000,
        1009,
    ),
}


async def ended(socket: Socket) -> int:
    """The code of the close frame; of the bye if the server hung up because we sent on."""
    code = 0
    try:
        while True:
            message = await socket.message()
            assert message["type"] == "bye", message
            code = message["code"]
    except Closed as closed:
        return closed.code
    except ConnectionLost:
        assert code, "hung up without a word"
        return code


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_frame_ends_that_session_and_no_other(node: Node, name: str) -> None:
    data, code = WRONG[name]
    async with (
        node.socket(token=node.token("mallory")) as socket,
        node.socket(token=node.token("other")) as other,
    ):
        await socket.expect("hello")
        await other.expect("hello")
        try:
            await socket.write(data)
        except ConnectionLost:
            assert len(data) > 100_000  # it hung up before it had read all
        assert await ended(socket) == code
        await other.send({"type": "ping"})
        await other.expect("pong")
    with patience():  # the close goes out first
        while await sessions_of(node, "mallory"):
            pass


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_first_frame(node: Node, name: str) -> None:
    """Before there is a session, while the token is waited for."""
    data, code = WRONG[name]
    async with node.socket() as socket:
        try:
            await socket.write(data)
            assert await ended(socket) in (code, 4001)
        except ConnectionLost:
            assert len(data) > 100_000
    await serves_on(node)


async def sessions_of(node: Node, user: str) -> bool:
    """Live ones: the user counts as online for a while longer."""
    found = await node.ask("GET", f"/v1/users/{user}", token="test-key-of-a-service")
    return bool(found.json["sessions"])


NO_FRAMES: dict[str, bytes] = {
    "empty": b"",
    "no json": b"ping",
    "no object": b"[]",
    "no type": b"{}",
    "type of another kind": b'{"type":1}',
    "unknown type": b'{"type":"shutdown"}',
    "two types": b'{"type":"ping","type":"publish"}x',
    "deep": b"[" * 1000 + b"]" * 1000,
    "nul": b"\0",
    "hello": b'{"type":"hello"}',
    "auth again": b'{"type":"auth","token":"x.y.z"}',
    "bad refresh": b'{"type":"refresh","token":"x.y.z"}',
    "subscribe to a list": b'{"type":"subscribe","channels":["news"]}',
    "ack of nothing": b'{"type":"ack"}',
    "ack of a number": b'{"type":"ack","cursors":{"user:mallory":41}}',
    "ack beyond the head": b'{"type":"ack","cursors":{"user:mallory":"zzzzzzzzz.1"}}',
    "read of nowhere": b'{"type":"read","channel":"..","cursor":"0"}',
    "publish to nobody": b'{"type":"publish","to":{},"message":{"data":1}}',
    "publish without rights": b'{"type":"publish","to":{"all":true},"message":{"data":1}}',
    "publish of nan": b'{"type":"publish","to":{"channels":["x"]},"message":{"data":NaN}}',
    "publish twice": b'{"type":"publish","to":{"channels":["x"]},"message":{"data":1,"data":2}}',
    "call": b'{"type":"call","name":"x","id":"1"}',
}


async def test_frames_that_mean_nothing_get_an_error_and_no_close(node: Node) -> None:
    async with node.socket(token=node.token("mallory", publish=["x"])) as socket:
        await socket.expect("hello")
        for name, data in NO_FRAMES.items():
            await socket.send_frame(TEXT, data)
            message = await socket.message()
            assert message["type"] == "error", name
            assert message["code"] not in ("internal", None), name
        await socket.send_frame(BINARY, b'{"type":"ping"}')
        assert (await socket.expect("error"))["code"] == "bad_request"
        await socket.send({"type": "ping"})
        await socket.expect("pong")


async def test_a_message_at_the_limit_and_what_comes_after_a_close(node: Node) -> None:
    publish = b'{"type":"publish","to":{"channels":["after"]},"message":{"data":1}}'
    pad = b'{"type":"ping","pad":"%b"}'
    async with node.socket(token=node.token("mallory", publish=["after"])) as socket:
        await socket.expect("hello")
        await socket.write(frame(TEXT, pad % (b"x" * (2048 - len(pad) + 2))))
        await socket.expect("pong")
        await socket.write(frame(CLOSE, b"\x03\xe8") + frame(TEXT, publish) + b"\xff" * 10)
        assert (await socket.frame())[0] == CLOSE
        await socket.read_to_end()
    assert (await node.pull("after", after=0)).json["head"] == 0


async def test_a_flood_of_pings_holds_nobody_up(node: Node) -> None:
    """Its pongs are not read: at the write deadline the peer is cut."""
    async with node.socket(token=node.token("mallory")) as socket:
        await socket.expect("hello")
        flood = frame(PING, b"x" * 125) * 2000
        with pytest.raises(ConnectionLost):
            await pinged_without_end(node, socket, flood)


async def pinged_without_end(node: Node, socket: Socket, flood: bytes) -> None:
    with patience():
        while True:
            await socket.write(flood)
            await serves_on(node)

"""JSON that some client could not read, or reads otherwise: never stored, refused with words."""

from __future__ import annotations

import json

import pytest

from tests.hostile.node import Node
from tests.support.app import KEY
from tests.support.http import Answer, request

DEEP = 100_000
JSON = {"Content-Type": "application/json"}

# What stands as ``data``; every one of it must be refused.
BAD_DATA: dict[str, bytes] = {
    "33 arrays": b"[" * 33 + b"]" * 33,
    "33 objects": b'{"a":' * 33 + b"1" + b"}" * 33,
    "arrays and objects": b'[{"a":' * 17 + b"1" + b"}]" * 17,
    "arrays without end": b"[" * 20_000,
    "deep arrays": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"":' * 10_000 + b"1" + b"}" * 10_000,
    "nan": b"NaN",
    "nan in a list": b"[1,NaN]",
    "infinity": b"Infinity",
    "-infinity": b"-Infinity",
    "1e999": b"1e999",
    "-1e999": b"[-1e999]",
    "5,000 digits": b"1" * 5000,
    "2^53": b"9007199254740992",
    "-2^53": b"[-9007199254740992]",
    "2^63": b"9223372036854775808",
    "2^64": b'{"a":18446744073709551616}',
    "leading zero": b"01",
    "plus": b"+1",
    "hex": b"0x1",
    "bare point": b"1.",
    "comment": b"1 /* one */",
    "trailing comma": b"[1,]",
    "single quotes": b"'a'",
    "duplicate keys": b'{"a":1,"a":1}',
    "duplicate keys below": b'[{"b":{"a":1,"a":2}}]',
    "duplicate keys by escape": b'{"a":1,"\\u0061":2}',
    "__proto__": b'{"__proto__":{}}',
    "__proto__ by escape": b'[{"\\u005f_proto__":1}]',
    "high surrogate": b'"\\ud800"',
    "low surrogate": b'["\\udc00"]',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "surrogate as a key": b'{"\\ud800":1}',
    "surrogate in utf-8": b'"\xed\xa0\x80"',
    "overlong utf-8": b'"\xc0\xaf"',
    "overlong nul": b'"\xc0\x80"',
    "beyond unicode": b'"\xf4\x90\x80\x80"',
    "half a character": b'"\xc3"',
    "latin-1": b'"\xe9"',
    "nul in a string": b'"\0"',
    "control in a string": b'"\x1f"',
    "line end in a string": b'"a\nb"',
    "unknown escape": b'"\\x41"',
    "nothing": b"",
}

# Whole bodies.
BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n\t",
    "nul": b"\0",
    "bom": b'\xef\xbb\xbf{"data":1}',
    "utf-16": '{"data":1}'.encode("utf-16"),
    "utf-16 without a mark": '{"data":1}'.encode("utf-16-le"),
    "utf-32": '{"data":1}'.encode("utf-32-be"),
    "list": b"[]",
    "list of one": b'[{"data":1}]',
    "text": b'"data"',
    "number": b"1",
    "null": b"null",
    "no data": b"{}",
    "cut short": b'{"data":1',
    "twice": b'{"data":1}{"data":2}',
    "trailing garbage": b'{"data":1}]',
    "trailing nul": b'{"data":1}\0',
    "data twice": b'{"data":1,"data":2}',
    "id is a number": b'{"data":1,"id":1}',
    "id is empty": b'{"data":1,"id":""}',
    "id of 129 bytes": b'{"data":1,"id":"%b"}' % (b"x" * 129),
    "id of 129 bytes in fewer characters": '{{"data":1,"id":"{}"}}'.format("€" * 43).encode(),
    "type is null": b'{"data":1,"type":null}',
    "type of 65 bytes": b'{"data":1,"type":"%b"}' % (b"x" * 65),
    "sender with a colon": b'{"data":1,"sender":"a:b"}',
    "sender is empty": b'{"data":1,"sender":""}',
    "seq of mine": b'{"data":1,"seq":true,"seq":1.0}',
}

# As they are, byte for byte, in every pull.
GOOD_DATA: list[bytes] = [
    b"[" * 32 + b"]" * 32,
    b'{"a":' * 32 + b"1" + b"}" * 32,
    b"9007199254740991",
    b"-9007199254740991",
    b"-0",
    b"-0.0",
    b"1e308",
    b"5e-324",
    b"1.0",
    b"true",
    b'{"proto":1,"":2,"constructor":3}',
    b'"\\ud83d\\ude00 \\u0000 \\u2028"',
    '"\u202eRTL \U0001f600 \ufeff"'.encode(),
    b'{ "a" : [ 1 , 2 ] }',
    b"null",
]


async def publish(node: Node, body: bytes, channel: str = "json") -> Answer:
    path = f"/v1/channels/{channel}/messages"
    return await node.send(request("POST", path, token=KEY, body=body, headers=JSON))


async def stored(node: Node, channel: str) -> int:
    head: int = (await node.pull(channel, after=0)).json["head"]
    return head


@pytest.mark.parametrize("name", BAD_DATA)
async def test_bad_data_is_refused_on_every_way_in(node: Node, name: str) -> None:
    data = BAD_DATA[name]
    answer = await publish(node, b'{"data":%b}' % data)
    assert (answer.status, answer.code) == (400, "bad_request")
    fanned = b'{"to":{"channels":["json"]},"message":{"data":%b}}' % data
    answer = await node.send(request("POST", "/v1/publish", token=KEY, body=fanned, headers=JSON))
    assert (answer.status, answer.code) == (400, "bad_request")
    if b"\n" not in data:
        ndjson = {"Content-Type": "application/x-ndjson"}
        line = b'{"channel":"json","data":%b}' % data
        answer = await node.send(
            request("POST", "/v1/publish", token=KEY, body=line, headers=ndjson)
        )
        assert answer.status == 200
        assert json.loads(answer.body)["code"] == "bad_request"
    assert await stored(node, "json") == 0
    if data.isascii() and len(data) < 60_000:
        text = '{"type":"publish","id":"1","to":{"channels":["json"]},"message":{"data":%s}}'
        async with node.socket(token=node.token(publish=["json"])) as socket:
            await socket.expect("hello")
            await socket.send_frame(1, (text % data.decode()).encode())
            assert (await socket.expect("error"))["code"] == "bad_request"
    assert await stored(node, "json") == 0


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bad_bodies(node: Node, name: str) -> None:
    body = BAD_BODIES[name]
    answer = await publish(node, body)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert await stored(node, "json") == 0
    for path in ("/v1/pull", "/v1/ack", "/v1/publish"):
        answer = await node.send(request("POST", path, token=KEY, body=body, headers=JSON))
        assert (answer.status, answer.code) == (400, "bad_request"), path


@pytest.mark.parametrize("data", GOOD_DATA, ids=range(len(GOOD_DATA)))
async def test_odd_but_right_data_comes_back_as_it_was(node: Node, data: bytes) -> None:
    answer = await publish(node, b'{"data":%b}' % data, "right")
    assert answer.status == 201, answer.json
    after = f"{answer.json['epoch']}.{answer.json['seq'] - 1}"
    pulled = await node.pull("right", after=after)
    assert b'"data":%b}' % data in pulled.body


PULLS: dict[str, bytes] = {
    "cursors are a list": b'{"cursors":["news"]}',
    "cursor is a number": b'{"cursors":{"news":41}}',
    "cursor is true": b'{"cursors":{"news":true}}',
    "a cursor twice": b'{"cursors":{"news":"0","news":"0"}}',
    "mine is 1": b'{"mine":1}',
    "mine of a service": b'{"mine":true}',
    "limit is 1.5": b'{"cursors":{"news":"0"},"limit":1.5}',
    "limit is true": b'{"cursors":{"news":"0"},"limit":true}',
    "limit is 0": b'{"cursors":{"news":"0"},"limit":0}',
    "limit is 2^63": b'{"cursors":{"news":"0"},"limit":9223372036854775808}',
    "limit is a text": b'{"cursors":{"news":"0"},"limit":"10"}',
    "limit beyond the most": b'{"cursors":{"news":"0"},"limit":1001}',
    "wait is negative": b'{"cursors":{"news":"0"},"wait":-1}',
    "wait is 1e999": b'{"cursors":{"news":"0"},"wait":1e999}',
    "wait is null": b'{"cursors":{"news":"0"},"wait":null}',
    "atleast is true": b'{"cursors":{"news":"0"},"atleast":{"news":true}}',
    "atleast is 1.5": b'{"cursors":{"news":"0"},"atleast":{"news":1.5}}',
    "unknown member": b'{"cursors":{"news":"0"},"waits":1}',
    "nothing asked": b"{}",
    "device is empty": b'{"cursors":{"news":"0"},"device":""}',
    "device is a path": b'{"cursors":{"news":"0"},"device":"a/b"}',
}


@pytest.mark.parametrize("name", PULLS)
async def test_members_of_another_kind(node: Node, name: str) -> None:
    answer = await node.send(request("POST", "/v1/pull", token=KEY, body=PULLS[name], headers=JSON))
    assert (answer.status, answer.code) == (400, "bad_request")


async def test_far_too_deep_is_refused_before_it_is_anything_else(node: Node) -> None:
    """Bodies of the batch route may be large enough for a hundred thousand levels."""
    for deep in (b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP):
        body = b'{"to":{"channels":["json"]},"message":{"data":%b}}' % deep
        answer = await node.send(request("POST", "/v1/publish", token=KEY, body=body, headers=JSON))
        assert (answer.status, answer.code) == (400, "bad_request")

"""Cursors, queries and names: every wrong spelling is refused, none is taken for another."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest

from tests.hostile.node import Node, serves_on
from tests.support.app import KEY
from tests.support.http import request

JSON = {"Content-Type": "application/json"}


async def pull(node: Node, query: str, channel: str = "written") -> tuple[int, str]:
    answer = await node.ask("GET", f"/v1/channels/{channel}/messages?{query}", token=KEY)
    return answer.status, "" if answer.status == 200 else answer.code


# {} stands for the epoch of a channel with one message.
CURSORS: dict[str, tuple[str, int]] = {
    "-1": ("-1", 400),
    "bare 41": ("41", 400),
    "bare 1": ("1", 400),
    "+0": ("%2b0", 400),
    "00": ("00", 400),
    "empty": ("", 400),
    "blank": ("%20", 400),
    "padded": ("%200", 400),
    "0 and a line end": ("0%0a", 400),
    "0 and nul": ("0%00", 400),
    "head in capitals": ("HEAD", 400),
    "head+1": ("head%2b1", 400),
    "one beyond the head": ("{}.2", 410),
    "far beyond the head": ("{}.9007199254740991", 410),
    "2^53": ("{}.9007199254740992", 400),
    "2^64": ("{}.18446744073709551616", 400),
    "another epoch": ("000000001.1", 410),
    "later epoch": ("zzzzzzzzz.1", 410),
    "epoch in capitals": ("ZZZZZZZZZ.1", 400),
    "empty epoch": (".1", 400),
    "empty seq": ("{}.", 400),
    "two dots": ("{}.1.1", 400),
    "dots": ("..", 400),
    "1e3": ("{}.1e3", 400),
    "hex": ("{}.0x1", 400),
    "negative seq": ("{}.-1", 400),
    "signed seq": ("{}.%2b1", 400),
    "leading zero": ("{}.01", 400),
    "padded seq": ("{}.%201", 400),
    "arabic digits": ("{}.%D9%A1", 400),
    "full-width digits": ("{}.%EF%BC%91", 400),
    "superscript": ("{}.%C2%B2", 400),
    "epoch none with a seq": ("none.1", 400),
    "short epoch": ("abc.1", 400),
    "a megabyte": ("0" * 10_000, 400),
    "no utf-8": ("%ff", 400),
    "sql": ("0'%20OR%201=1--", 400),
}


@pytest.mark.parametrize("name", CURSORS)
async def test_cursors_of_a_pull_and_of_bodies(node: Node, name: str) -> None:
    spelt, status = CURSORS[name]
    epoch = (await node.publish("written", 1, id="once"))["epoch"]
    text = spelt.replace("{}", epoch)
    found, code = await pull(node, f"after={text}")
    assert found == status
    assert code in (("bad_request",) if status == 400 else ("cursor_ahead", "epoch_changed"))
    raw = unquote_to_bytes(text).decode("latin-1")
    if not raw.isascii() or not raw:
        return
    answer = await node.ask("POST", "/v1/ack", token=KEY, body={"cursors": {"written": raw}})
    assert (answer.status, answer.code) == (status, code)
    answer = await node.ask("POST", "/v1/pull", token=KEY, body={"cursors": {"written": raw}})
    entry = answer.json["channels"]["written"]
    assert (entry.get("reset") or entry.get("error"))["code"] == code
    async with node.socket("/v1/ws?device=d", token=node.token()) as socket:
        await socket.expect("hello")
        await socket.send({"type": "ack", "cursors": {"written": raw}})
        assert (await socket.expect("error"))["code"] == code
        await socket.send({"type": "subscribe", "channels": {"written": raw}})
        entry = (await socket.expect("subscribed"))["heads"]["written"]
        assert (entry.get("reset") or entry.get("error"))["code"] == code


QUERIES: dict[str, int] = {
    "limit=0": 400,
    "limit=-1": 400,
    "limit=1001": 400,
    "limit=99999999999999999999": 400,
    "limit=1e3": 400,
    "limit=1.0": 400,
    "limit=%D9%A1": 400,
    "limit=%201": 400,
    "limit=": 400,
    "limit=1&limit=1": 400,
    "%6cimit=1&limit=1": 400,
    "wait=-1": 400,
    "wait=1e9": 400,
    "wait=nan": 400,
    "wait=inf": 400,
    "wait=": 400,
    "wait=.": 400,
    "wait=%C2%B2": 400,
    "wait=1.1.1": 400,
    "atleast=-1": 400,
    "atleast=9007199254740992": 400,
    "atleast=true": 400,
    "device=": 400,
    "device=a:b": 400,
    "device=a/b": 400,
    "device=" + "d" * 129: 400,
    "device=%00": 400,
    "device=..": 400,
    "after=0&after=0": 400,
    "after=0&%ff=1": 400,
    "=": 200,
    "&&": 400,
    "unknown=1": 200,
    "limit=1000": 200,
    "wait=0.0": 200,
    "device=" + "d" * 128: 200,
}


@pytest.mark.parametrize("query", QUERIES)
async def test_queries(node: Node, query: str) -> None:
    found, code = await pull(node, query if "after" in query else f"after=0&{query}", "queried")
    assert found == QUERIES[query]
    assert code == ("bad_request" if found == 400 else "")


NFC, NFD = "caf\u00e9", "cafe\u0301"

# Percent-encoded as a path; what the server answers to a pull and to a publish of a service.
CHANNELS: dict[str, tuple[str, int]] = {
    "empty": ("", 400),
    "256 bytes": ("x" * 256, 400),
    "256 bytes in fewer characters": (quote("€" * 85 + "x"), 400),
    "dot": (".", 400),
    "two dots": ("..", 400),
    "encoded dots": ("%2e%2e", 400),
    "doubly encoded dots": ("%252e%252e", 200),
    "encoded slash": ("a%2fb", 400),
    "nul": ("%00", 400),
    "nul within": ("a%00b", 400),
    "cr lf": ("a%0d%0aX:%201", 400),
    "delete": ("a%7f", 400),
    "blank": ("a%20b", 400),
    "no-break space": ("a%C2%A0b", 400),
    "star": ("a*", 400),
    "encoded star": ("%2a", 400),
    "question mark": ("a%3f", 400),
    "comma": ("a,b", 400),
    "brackets": ("%5ba%5d", 200),
    "braces": ("%7b%7d", 200),
    "quotes": ("%22%27", 200),
    "backslash": ("%5c", 200),
    "sql": ("x';DROP%20TABLE", 400),
    "sql without blanks": ("x';DROP/**/TABLE--", 400),
    "sql comment": ("x';--", 200),
    "percent": ("%25", 200),
    "half an escape": ("a%2", 200),
    "no utf-8": ("%ff%fe", 400),
    "overlong slash": ("%c0%af", 400),
    "surrogate": ("%ed%a0%80", 400),
    "nfd": (quote(NFD), 400),
    "nfc": (quote(NFC), 200),
    "rtl mark": ("a%e2%80%8f", 400),
    "rtl override": ("%e2%80%aea", 400),
    "zero width": ("a%e2%80%8bb", 400),
    "bom": ("%ef%bb%bfa", 400),
    "soft hyphen": ("a%c2%adb", 400),
    "filler": ("a%e3%85%a4", 400),
    "variation selector": ("a%ef%b8%8f", 400),
    "private use": ("%ee%80%80", 400),
    "unassigned": ("%cd%b8", 400),
    "colons": (":::", 200),
    "leading colon": (":a", 200),
    "user of nobody": ("user:", 400),
    "user with an empty part": ("user:alice:", 400),
    "user with too many parts": ("user:a:b:c", 400),
    "user of dots": ("user:..", 400),
    "user of 201 bytes": ("user:" + "u" * 201, 400),
    "group of nobody": ("group:", 400),
    "session of nobody": ("session:", 400),
    "255 bytes": ("x" * 255, 200),
    "255 bytes in fewer characters": (quote("€" * 85), 200),
}


@pytest.mark.parametrize("name", CHANNELS)
async def test_channel_names_on_every_way_in(node: Node, name: str) -> None:
    spelt, status = CHANNELS[name]
    target = f"/v1/channels/{spelt}/messages"
    for method, body in (("GET", b""), ("POST", b'{"data":1}')):
        headers = JSON if body else {}
        answer = await node.send(request(method, target, token=KEY, body=body, headers=headers))
        if name == "sql without blanks":
            assert answer.status in (400, 404)
            return
        assert answer.status == (201 if status == 200 and body else status), answer.body
        if status != 200:
            assert answer.code == "bad_request"


async def test_a_name_is_its_own_and_no_other(node: Node) -> None:
    """Twins, case, and escapes: what is accepted names exactly one channel."""
    for at, name in enumerate([NFC, "CAFÉ", "Café", "cafe", "caf%25C3%25A9"]):
        path = name if "%" in name else quote(name)
        await node.publish(path, at)
        answer = await node.pull(path, after=0)
        assert [each["data"] for each in answer.json["messages"]][-1] == at


FOREIGN = ["user:bob", "user:bob:orders", "group:staff", "session:s1", "%24control", "user:Alice"]


@pytest.mark.parametrize("channel", FOREIGN)
async def test_inboxes_of_others(node: Node, channel: str) -> None:
    """Not even whether they exist: whoever may not read learns nothing."""
    token = node.token("alice", subscribe=["*", "user:*", "group:*"])
    answer = await node.pull(channel, token, after=0)
    assert (answer.status, answer.code) == (403, "forbidden")
    name = channel.replace("%24", "$")
    answer = await node.ask("POST", "/v1/pull", token=token, body={"cursors": {name: "0"}})
    assert answer.json["channels"][name]["error"]["code"] == "forbidden"
    answer = await node.ask("POST", "/v1/ack", token=token, body={"cursors": {name: "0"}})
    assert (answer.status, answer.code) == (403, "forbidden")
    async with node.socket(f"/v1/ws?channels={channel}", token=token) as socket:
        hello = await socket.expect("hello")
        assert hello["denied"] == [{"channel": name, "code": "forbidden"}]
    await serves_on(node)


PATHS = [
    "//", "/v1//channels/a/messages", "/v1/channels", "/v1/channels/", "/v1/channels//messages",
    "/v1/channels/a/messages/", "/v1/channels/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
    "/v1/channels/a/b/messages", "/V1/channels/a/messages", "/v1/channels/a/messages;x=1",
    "/v1/channels/a/messages%00", "/v1/channels/a/messages#f", "/static/../app.py",
    "/console/../v1",
    "/v1/users/..", "/v1/sessions/%00", "/favicon.ico", "/.env", "/v1/ws/", "/" + "a/" * 5000,
    "/?" + "a=1&" * 2000, "/docs/%ff", "/v1/stats?node=%00", "/%", "/%zz", "/openapi.json/..",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_paths_of_nobody(node: Node, path: str, method: str) -> None:
    """Whoever they reach, they are answered in full and cause no failure."""
    async with node.peer() as peer:
        answer = await peer.ask(method, path, token=node.token("mallory"))
        assert 200 <= answer.status < 500, answer
        assert b"Traceback" not in answer.body
        assert b"root:" not in answer.body

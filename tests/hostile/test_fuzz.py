"""A hundred thousand damaged inputs: read alike however they come, and never the server's fault.

Seeds are fixed: a failure names the input, and comes again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import h11
import pytest
import trio
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, Ping, Pong

from pushd.allowance import Allowance
from pushd.core.frames import decode_client_frame
from pushd.core.jsoncheck import check_json
from pushd.core.names import check_channel, check_device, check_user
from pushd.core.positions import parse_cursor
from pushd.errors import PushdError
from pushd.front.bodies import ack_decoder, decode_body, multi_decoder
from pushd.front.chunks import Chunks
from pushd.front.pulls import parse_ask
from pushd.front.query import decode_part, parse_query
from pushd.front.request import Request, RequestLimits, RequestReader
from pushd.ws.telling import TellingConnection
from tests.core.test_jsoncheck_properties import _strict
from tests.hostile.mutations import Mutator
from tests.hostile.node import Node, serves_on
from tests.hostile.test_http import BAD, CUT, RIGHT
from tests.hostile.test_json import BAD_BODIES, BAD_DATA, GOOD_DATA, PULLS
from tests.hostile.test_names import CHANNELS, CURSORS, QUERIES
from tests.hostile.test_websocket import NO_FRAMES, WRONG
from tests.support.app import KEY
from tests.support.frames import CONTINUATION, fragments, frame
from tests.support.http import ConnectionLost, patience, request
from tests.support.websocket import CLOSE, PING, PONG, TEXT

SETTINGS = {"max_body": "2KiB", "log_level": "info"}

HTTP = [data for data, _ in BAD.values() if len(data) < 2000]
HTTP += [*RIGHT.values(), *CUT.values()] * 6  # what is right reaches deeper
HTTP += [request("GET", "/healthz") * 2 + RIGHT["chunked"] + request("HEAD", "/healthz")]
HTTP_TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b";a=b",
        b"0",
        b"a",
    ),
    *(b"Content-Length: 10\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Host: b\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n", b"Expect: 100-continue"),
    *(
        b"0\r\n\r\n",
        b"1\r\nx\r\n",
        b"ffffffffffffffff",
        b"HTTP/1.0",
        b"\xff",
        b"chunked",
        b"CHUNKED",
    ),
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"Connection: Upgrade\r\n", b"Trailer: x\r\n"),
]


class Read:
    """What a reader makes of bytes: the requests, whether it refused, what it left over."""

    def __init__(self) -> None:
        self.reader = RequestReader(RequestLimits(), lambda _: 4096, Allowance(1 << 20))
        self.requests: list[tuple[Any, ...]] = []
        self.refused = False
        self.rest = b""
        self.upgraded = False

    def feed(self, data: bytes) -> None:
        if self.refused or self.upgraded:
            self.rest += data
            return
        try:
            self.rest += self.reader.feed(data)
        except PushdError as error:
            self.refused = error.status < 500
        while self.reader.ready:
            request_ = self.reader.next()
            assert isinstance(request_, Request)
            members = (request_.method, request_.target, request_.headers, request_.body)
            self.requests.append((*members, request_.keep_alive, request_.upgrade))
            self.upgraded = request_.upgrade

    def end(self) -> tuple[Any, ...]:
        self.reader.close()
        assert self.reader._allowance.used == 0
        # After a refusal nobody looks at what follows.
        return self.requests, self.refused, b"" if self.refused else self.rest


def test_requests_are_read_alike_in_one_piece_and_in_many() -> None:
    mutator = Mutator(1, HTTP, HTTP_TOKENS)
    accepted = 0
    for data in mutator.inputs(25_000, most_edits=3):
        whole, parts = Read(), Read()
        whole.feed(data)
        for piece in mutator.pieces(data):
            parts.feed(piece)
        assert whole.end() == parts.end(), data
        accepted += len(whole.requests)
    assert accepted > 3000, "the mutations are too rough to reach anything"


def h11_reads(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Requests as another parser reads them; it is laxer, and stops after what it refuses."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found: list[tuple[bytes, bytes, bytes]] = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                found.append((event.method, event.target, b""))
            elif isinstance(event, h11.Data):
                method, target, body = found[-1]
                found[-1] = (method, target, body + bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return found
    except h11.ProtocolError:
        return found


def test_where_a_request_ends_another_parser_agrees() -> None:
    """What we serve, a proxy in front must not read as something else: that is smuggling."""
    mutator = Mutator(2, HTTP, HTTP_TOKENS)
    compared = 0
    for data in mutator.inputs(6000, most_edits=2):
        ours = Read()
        ours.feed(data)
        ours.end()
        theirs = h11_reads(data)
        for mine, other in zip(ours.requests, theirs, strict=False):
            if mine[5] or not mine[4]:
                break  # after an upgrade or a close nothing of ours follows
            if mine[0] == b"HEAD" or mine[2].get(b"expect"):
                break  # answered otherwise than by the stand-in
            assert (mine[0], mine[1], mine[3]) == other, data
            compared += 1
    assert compared > 900


def test_chunks_end_where_they_say() -> None:
    mutator = Mutator(3, [RIGHT[name].partition(b"\r\n\r\n")[2] for name in RIGHT], HTTP_TOKENS)
    for data in mutator.inputs(5000):
        whole, parts = Chunks(), Chunks()
        results: list[tuple[bool, int] | None] = []
        for chunks, pieces in ((whole, [data]), (parts, list(mutator.pieces(data)))):
            taken = 0
            try:
                for piece in pieces:
                    taken += chunks.take(piece, 0)
                results.append((chunks.done, taken))
            except PushdError:
                results.append(None)
        assert results[0] == results[1], data


WS = [data for data, _ in WRONG.values() if len(data) < 5000]
WS += [frame(TEXT, data) for data in NO_FRAMES.values() if len(data) < 5000]
WS += [
    frame(TEXT, b'{"type":"ping"}') * 3,
    fragments(b'{"type":"ping","pad":"' + "ü€😀".encode() * 5 + b'"}', 3),
    frame(TEXT, b"{", final=False) + frame(PING, b"x") + frame(CONTINUATION, b"}"),
    frame(CLOSE, b"\x03\xe8bye"),
    frame(PONG, b"x" * 125),
]
WS_TOKENS = [
    *(b"\x81", b"\x01", b"\x80", b"\x00", b"\x89\x80\0\0\0\0", b"\x88\x80\0\0\0\0", b"\xfe\0\x7e"),
    *(b"\xff" + bytes(8), b"\xff" * 9, b"\x82", b"\xf1", b"\x7f", b"\xc3", b"\xed\xa0\x80", b"{}"),
]


def frames_of(pieces: list[bytes]) -> tuple[list[Any], bytes]:
    """Messages and control frames, and the close; text is joined, whatever its pieces were."""
    connection = TellingConnection(ConnectionType.SERVER)
    events: list[Any] = []
    sent = b""
    for piece in pieces:
        if connection.state.name != "OPEN":
            break
        connection.receive_data(piece)
        for event in connection.events():
            if isinstance(event, CloseConnection):
                sent += connection.send(event.response())
                events.append(("close", int(event.code)))
                return events, sent
            if isinstance(event, Ping | Pong):
                events.append((type(event).__name__, bytes(event.payload)))
                continue
            if events and events[-1][0] == "part":
                events[-1] = ("part", events[-1][1] + event.data)
            else:
                events.append(("part", event.data))
            if event.message_finished:
                events[-1] = ("message", events[-1][1])
    return events, sent


def test_frames_are_read_alike_in_one_piece_and_in_many() -> None:
    """Every end that is not the peer's own has a code that says why."""
    mutator = Mutator(4, WS, WS_TOKENS)
    closes: dict[int, int] = {}
    for data in mutator.inputs(15_000):
        whole, sent = frames_of([data])
        parts, sent_too = frames_of(list(mutator.pieces(data)))
        # Of a message that breaks off more or less may have been told: the end is the same.
        assert [each for each in whole if each[0] != "part"] == [
            each for each in parts if each[0] != "part"
        ], data
        assert sent[2:4] == sent_too[2:4], data  # the code; reasons may name a position
        if whole and whole[-1][0] == "close":
            assert sent[:1] == b"\x88"
            closes[whole[-1][1]] = closes.get(whole[-1][1], 0) + 1
    assert {1000, 1002, 1007} <= set(closes)


JSON = [b'{"data":%b}' % data for data in [*GOOD_DATA, *BAD_DATA.values()] if len(data) < 500]
JSON += [body for body in [*BAD_BODIES.values(), *PULLS.values()] if len(body) < 500]
JSON_TOKENS = [
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\",
        b"\\u0061",
        b"\\ud800",
        b"\\udc00",
        b"\\u003a",
    ),
    *(
        b"0",
        b"-",
        b".",
        b"e9",
        b"E+999",
        b"9007199254740992",
        b"true",
        b"null",
        b"NaN",
        b"Infinity",
    ),
    *(b'"a":1,', b'"__proto__":1', b"\xff", b"\xc0\x80", b"\xef\xbb\xbf", b"\0", b"\n", b"[" * 31),
]


def test_json_is_judged_as_by_the_strictest_decoder() -> None:
    mutator = Mutator(5, JSON, JSON_TOKENS)
    accepted = 0
    for body in mutator.inputs(15_000, most_edits=3):
        try:
            _strict(body)
            expected = True
        except (ValueError, RecursionError):
            expected = False
        assert refusal(check_json, body) == (not expected), body
        accepted += expected
    assert accepted > 1000


def refusal(parse: Callable[[Any], object], given: object) -> bool:
    """Whether it was refused, with a status that is the client's fault."""
    status = 200
    try:
        parse(given)
    except PushdError as error:
        status = error.status
    assert status < 500, given
    return status != 200


@pytest.mark.parametrize("decoder", [multi_decoder, ack_decoder], ids=["pull", "ack"])
def test_bodies_are_decoded_or_refused(decoder: Any) -> None:
    corpus = [b'{"cursors":{"news":"0","a":"0mhx3f9ab.41"},"device":"d"}', *JSON, *PULLS.values()]
    refused = [
        refusal(lambda body: decode_body(decoder, body), body)
        for body in Mutator(6, corpus, JSON_TOKENS).inputs(4000)
    ]
    assert 0 < sum(refused) < len(refused)


def test_client_frames_are_decoded_or_refused() -> None:
    corpus = [data for data in NO_FRAMES.values() if len(data) < 500]
    corpus += [b'{"type":"subscribe","channels":{"news":"0"}}', b'{"type":"ping"}']
    refused = [
        refusal(decode_client_frame, data.decode("utf-8", "surrogateescape"))
        for data in Mutator(7, corpus, JSON_TOKENS).inputs(8000)
    ]
    assert 0 < sum(refused) < len(refused)


def test_a_cursor_that_is_taken_has_one_spelling() -> None:
    corpus = [text.format("0mhx3f9ab").encode() for text, _ in CURSORS.values()][:40]
    corpus += [b"0mhx3f9ab.41", b"none.0", b"0", b"head", b"zzzzzzzzz.9007199254740991"]
    tokens = [
        b".",
        b"0",
        b"-",
        b"+",
        b" ",
        b"e",
        "\u0661".encode(),
        b"\n",
        b"none",
        b"head",
        b"9" * 8,
    ]
    taken = 0
    for data in Mutator(8, corpus, tokens).inputs(6000):
        text = data.decode("utf-8", "surrogateescape")
        if not refusal(parse_cursor, text):
            assert str(parse_cursor(text)) == text
            taken += 1
    assert taken > 300


def test_queries_are_taken_or_refused() -> None:
    corpus = [query.encode() for query in QUERIES if len(query) < 300]
    corpus += [b"after=0mhx3f9ab.41&limit=100&wait=25&device=d&atleast=42"]
    tokens = [
        b"&",
        b"=",
        b"%",
        b"%00",
        b"%ff",
        b"+",
        b"0",
        b"-1",
        b"after=0",
        b"limit=1",
        b"e9",
        b".",
    ]
    refused = [
        refusal(lambda query: parse_ask(parse_query(query), 1000, 60.0), query)
        for query in Mutator(9, corpus, tokens).inputs(6000)
    ]
    assert 0 < sum(refused) < len(refused)


_SEEN = re.compile(r"[\s\x00-\x1f\x7f/,*?]|[\u200b-\u200f\u202a-\u202e\ufeff]")


@pytest.mark.parametrize("check", [check_channel, check_user, check_device])
def test_names_that_are_taken_are_seen_and_come_back(check: Callable[[str], str]) -> None:
    corpus = [spelt.encode() for spelt, _ in CHANNELS.values()]
    tokens = [b"%", b"%2e", b"%00", b"%e2%80%8f", b":", b"user:", b"..", b"/", "é".encode(), b"*"]
    taken = 0
    for data in Mutator(10, corpus, tokens).inputs(4000):
        try:
            name = decode_part(data)
        except PushdError:
            continue
        if refusal(check, name):
            continue
        taken += 1
        assert not _SEEN.search(name), name
        assert len(name.encode()) <= 255
        assert decode_part(quote(name, safe="").encode()) == name
    assert taken > 300


# -- the whole server, over real sockets -----------------------------------------------------------

STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
ATTACKERS = 16


async def in_parallel(inputs: list[bytes], attack: Callable[[bytes], Any]) -> None:
    waiting = iter(inputs)

    async def attacker() -> None:
        for data in waiting:
            try:
                with patience():
                    await attack(data)
            except BaseException as error:
                error.add_note(repr(data))
                raise

    async with trio.open_nursery() as nursery:
        for _ in range(ATTACKERS):
            nursery.start_soon(attacker)


async def test_whole_connections(node: Node) -> None:
    """Every answer is whole, none is a 5xx, and nothing is answered that was not asked."""
    mutator = Mutator(11, HTTP, HTTP_TOKENS)

    async def attack(data: bytes) -> None:
        async with node.peer() as peer:
            try:
                await peer.write(data)
                await peer.end()
            except ConnectionLost:
                pass
            answered = await peer.read_to_end()
            statuses = [int(each) for each in STATUS.findall(answered)]
            assert all(status < 500 for status in statuses), answered
            assert KEY.encode() not in answered

    await in_parallel(list(mutator.inputs(3000)), attack)
    await serves_on(node)


async def test_whole_sessions(node: Node) -> None:
    mutator = Mutator(12, WS, WS_TOKENS)
    tokens = [node.token(f"u{number}", publish=["x"]) for number in range(ATTACKERS)]

    async def attack(data: bytes) -> None:
        token = mutator.random.choice(tokens)
        async with node.socket(token=token) as socket:
            await socket.expect("hello")
            try:
                await socket.write(data)
                await socket.end()
            except ConnectionLost:
                pass
            said = await socket.read_to_end()
            assert b'"internal"' not in said

    await in_parallel(list(mutator.inputs(1500)), attack)
    await serves_on(node)

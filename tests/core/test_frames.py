"""Server frames are read by another implementation (wsproto); client frames come as tables."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from pushd.core.frames import (
    PING,
    RECONNECT,
    Ack,
    Auth,
    Call,
    Ping,
    Publish,
    Read,
    Refresh,
    Subscribe,
    Unsubscribe,
    bye_frame,
    close_code,
    decode_client_frame,
    error_frame,
    frame,
    hint_frame,
    text_frame,
)
from pushd.errors import BadRequest, Overloaded, PushdError


def read(data: bytes) -> tuple[Opcode, Any]:
    """The one whole frame in ``data``, as a client's library reads it."""
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(data)
    [found] = list(protocol.received_frames())
    assert found.message_finished
    return found.opcode, found.payload


def message(data: bytes) -> dict[str, Any]:
    opcode, payload = read(data)
    assert opcode is Opcode.TEXT
    value: dict[str, Any] = json.loads(payload)
    return value


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_a_frame_of_every_length_form(size: int) -> None:
    assert read(text_frame(b"x" * size)) == (Opcode.TEXT, "x" * size)


def test_the_ping() -> None:
    assert read(PING) == (Opcode.PING, b"")


@given(st.text(min_size=1), st.integers(1, 2**53 - 1), st.integers(0, 10_000))
def test_a_hint_names_channel_epoch_and_seq(channel: str, seq: int, jitter: int) -> None:
    expected = {"type": "hint", "channel": channel, "epoch": "0mhx3f9ab", "seq": seq}
    if jitter:
        expected["jitter_ms"] = jitter
    assert message(hint_frame(channel, "0mhx3f9ab", seq, jitter)) == expected


def test_a_frame_has_its_type_first() -> None:
    assert read(frame("hello", a=None, b=[1]))[1] == '{"type":"hello","a":null,"b":[1]}'


def test_an_error_carries_what_a_client_needs_to_go_on() -> None:
    error = Overloaded("full", retry_after=2, extra={"channel": "news"})
    told = message(error_frame(error, "m1"))
    assert told == {
        "type": "error",
        "code": "overloaded",
        "detail": "full",
        "channel": "news",
        "retry_after_ms": 2000,
        "id": "m1",
    }
    assert "id" not in message(error_frame(error))


@pytest.mark.parametrize("code", sorted(RECONNECT))
def test_a_bye_says_whether_to_come_again(code: int) -> None:
    told = message(bye_frame(code, "why", 5))
    assert told == {
        "type": "bye",
        "code": code,
        "reason": "why",
        "reconnect": code not in (1000, 4001, 4003, 4009),
        "retry_after_ms": 5,
    }


@pytest.mark.parametrize("kind", PushdError.__subclasses__())
def test_every_refusal_closes_with_a_code_of_the_table(kind: type[PushdError]) -> None:
    assert close_code(kind("why")) in RECONNECT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"type":"auth","token":"t"}', Auth),
        ('{"type":"refresh","token":"t"}', Refresh),
        ('{"type":"subscribe","channels":{"news":"0"}}', Subscribe),
        ('{"type":"unsubscribe","channels":["news"]}', Unsubscribe),
        ('{"type":"ping"}', Ping),
        ('{"type":"ping","later":"fields are ignored"}', Ping),
        ('{"type":"ack","cursors":{}}', Ack),
        ('{"type":"read","channel":"a","cursor":"0"}', Read),
        ('{"type":"publish","to":{},"message":{"data":1}}', Publish),
        ('{"type":"call","name":"n","data":{"x":[1]}}', Call),
        (' {"token": "t", "type": "auth"} ', Auth),
    ],
)
def test_known_frames(text: str, expected: type) -> None:
    assert type(decode_client_frame(text)) is expected


def test_data_stays_as_it_was_written() -> None:
    text = '{"type":"publish","to":{"all":true},"message":{"data": {"b":1.50, "a" :[]} }}'
    decoded = decode_client_frame(text)
    assert isinstance(decoded, Publish)
    assert bytes(decoded.message.data) == b'{"b":1.50, "a" :[]}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ping",
        "null",
        "[]",
        "1",
        "{}",
        '{"type":null}',
        '{"type":1}',
        '{"type":"hello"}',
        '{"type":"PING"}',
        '{"type":"ping"',
        '{"type":"ping"} {"type":"ping"}',
        '{"type":"auth"}',
        '{"type":"auth","token":1}',
        '{"type":"subscribe","channels":["news"]}',
        '{"type":"subscribe","channels":{"news":1}}',
        '{"type":"unsubscribe","channels":"news"}',
        '{"type":"ack","cursors":{"a":null}}',
        '{"type":"read","channel":"a"}',
        '{"type":"publish","to":{},"message":{}}',
        '{"type":"publish","to":{"everybody":true},"message":{"data":1}}',
        '{"type":"publish","to":{"all":1},"message":{"data":1}}',
        '{"type":"call"}',
        '{"type":"ping","x":' + "[" * 30_000,
        '{"type":"call","name":"n","data":' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}",
        '{"type":"ping","x":' + "9" * 5000 + "e}",
        "\ufeff" + '{"type":"ping"}',
        '{"type":"ping"}\0',
    ],
    ids=lambda text: text[:40],
)
def test_anything_else_is_refused_with_a_cause(text: str) -> None:
    with pytest.raises(BadRequest, match="frame is not one that pushd knows"):
        decode_client_frame(text)


@given(st.text())
def test_no_text_does_harm(text: str) -> None:
    with contextlib.suppress(BadRequest):
        decode_client_frame(text)

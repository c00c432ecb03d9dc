"""Answers are read by another implementation (h11): one reading, nothing left over."""

from __future__ import annotations

import json
from collections.abc import Iterator

import h11
import pytest

from pushd import errors
from pushd.core.responses import CLOSE, CONTINUE, NDJSON, Responses, body_of, splice
from pushd.errors import Overloaded, PushdError, Unauthorized

DATE = b"Sat, 21 Nov 2026 08:00:00 GMT"


@pytest.fixture
def responses() -> Responses:
    made = Responses()
    made.date = DATE
    return made


def read(data: bytes) -> tuple[h11.Response, bytes]:
    """The one whole answer in ``data``."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data == (b"", False)
    return response, body


def subclasses(kind: type[PushdError]) -> Iterator[type[PushdError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


OF_ERRORS = [each for each in subclasses(PushdError) if each.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", OF_ERRORS, ids=lambda kind: kind.__name__)
def test_every_refusal_has_an_answer(responses: Responses, kind: type[PushdError]) -> None:
    error = kind("too bad", extra={"more": 1})
    response, body = read(responses.problem(error))
    assert response.status_code == kind.status
    assert dict(response.headers)[b"content-type"] == b"application/problem+json"
    problem = json.loads(body)
    assert problem.pop("title") == response.reason.decode()
    assert problem == {"type": "about:blank", **error.as_dict()}
    assert {"code", "status", "detail", "cure", "more"} <= set(problem)


def test_what_every_answer_says(responses: Responses) -> None:
    response, body = read(responses.make(200, b"[1]"))
    assert body == b"[1]"
    assert dict(response.headers) == {
        b"content-type": b"application/json",
        b"cache-control": b"no-store",
        b"date": DATE,
        b"content-length": b"3",
    }


def test_no_content_has_neither_type_nor_length(responses: Responses) -> None:
    response, body = read(responses.make(204, b"", extra=b"X-More: 1\r\n"))
    assert body == b""
    assert dict(response.headers) == {b"cache-control": b"no-store", b"date": DATE, b"x-more": b"1"}


def test_type_and_further_headers(responses: Responses) -> None:
    response, _ = read(responses.make(200, b"{}\n", NDJSON, b"X-More: 1\r\nX-Much: 2\r\n"))
    headers = dict(response.headers)
    assert headers[b"content-type"] == NDJSON
    assert (headers[b"x-more"], headers[b"x-much"]) == (b"1", b"2")


def test_when_to_come_again_and_with_what(responses: Responses) -> None:
    headers = dict(read(responses.problem(Overloaded("full", retry_after=7)))[0].headers)
    assert headers[b"retry-after"] == b"7"
    assert b"www-authenticate" not in headers
    headers = dict(read(responses.problem(Unauthorized("who")))[0].headers)
    assert headers[b"www-authenticate"] == b'Bearer realm="pushd"'
    assert b"retry-after" not in headers


@pytest.mark.parametrize("status", [200, 204, 503])
def test_splicing_adds_headers_and_changes_nothing_else(responses: Responses, status: int) -> None:
    answer = responses.make(status, b"" if status == 204 else b"a\r\n\r\nb")
    before, body = read(answer)
    after, same = read(splice(answer, b"X-More: 1\r\n" + CLOSE))
    assert same == body == body_of(answer)
    assert after.status_code == before.status_code
    added = set(after.headers) - set(before.headers)
    assert added == {(b"x-more", b"1"), (b"connection", b"close")}
    assert splice(answer, b"") == answer


def test_continue_is_an_interim_answer() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
    client.receive_data(CONTINUE)
    event = client.next_event()
    assert isinstance(event, h11.InformationalResponse)
    assert event.status_code == 100

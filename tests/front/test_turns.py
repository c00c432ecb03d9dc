"""Large bodies are looked through in turns: however many, the loop waits for one slice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from pushd.front.publishes import SLICE, SLICE_BYTES
from tests.support.app import KEY, Server
from tests.support.http import Answer

NDJSON = {"Content-Type": "application/x-ndjson"}
BODIES = 5


class Ticks(trio.abc.Instrument):
    """How often the loop has come round, and what was looked through each time."""

    def __init__(self) -> None:
        self.count = 0
        self.bytes: Counter[int] = Counter()
        self.lines: Counter[int] = Counter()

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@contextmanager
def ticking(ticks: Ticks) -> Iterator[None]:
    trio.lowlevel.add_instrument(ticks)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(ticks)


async def publish_all(server: Server, body: bytes, **members: Any) -> list[Answer]:
    """The same body over several connections at once."""
    answers: list[Answer] = []

    async def publish() -> None:
        answers.append(await server.ask("POST", "/v1/publish", token=KEY, body=body, **members))

    async with trio.open_nursery() as nursery:
        for _ in range(BODIES):
            nursery.start_soon(publish)
    return answers


def line(size: int) -> bytes:
    return json.dumps({"channel": "news", "data": "x" * size}).encode() + b"\n"


@pytest.mark.parametrize(
    "body",
    [line(10) * 1000, line(60_000) * 20, line(30_000) * 5 + line(10) * 300 + line(60_000) * 5],
    ids=["short lines", "long lines", "both"],
)
async def test_lines_of_many_bodies(
    server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    ticks = Ticks()
    parse = server.hub.publisher.parse_line

    def counted(raw: bytes) -> Any:
        ticks.bytes[ticks.count] += len(raw)
        ticks.lines[ticks.count] += 1
        return parse(raw)

    monkeypatch.setattr(server.hub.publisher, "parse_line", counted)
    with ticking(ticks):
        answers = await publish_all(server, body, headers=NDJSON)
    assert all(b'"code"' not in answer.body for answer in answers)
    assert ticks.lines.total() == BODIES * body.count(b"\n")
    assert max(ticks.lines.values()) <= SLICE
    longest = max(map(len, body.splitlines()))
    assert max(ticks.bytes.values()) < SLICE_BYTES + longest


async def test_large_bodies_are_looked_through_beside_the_loop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time; small ones, which are the most, at once and without a thread."""
    threads: list[int] = []
    busy = threading.Lock()
    parse = server.hub.publisher.parse_fanned

    def counted(raw: bytes) -> Any:
        threads.append(threading.get_ident())
        assert busy.acquire(blocking=False), "two at once"
        try:
            return parse(raw)
        finally:
            busy.release()

    monkeypatch.setattr(server.hub.publisher, "parse_fanned", counted)
    names = [f"{number}-{'n' * 200}" for number in range(1000)]
    body = json.dumps({"to": {"channels": names}, "message": {"data": 1}}).encode()
    assert len(body) > SLICE_BYTES
    for answer in await publish_all(server, body):
        assert [each["channel"] for each in answer.json["results"]] == names
    here = threading.get_ident()
    assert len(threads) == BODIES
    assert here not in threads
    [refused, *_] = await publish_all(server, body[:-1])
    assert refused.code == "bad_request"
    threads.clear()
    await publish_all(server, b'{"to":{"all":true},"message":{"data":1}}')
    assert set(threads) == {here}
    assert server.hub.bodies.used == 0

"""A client of server-sent events in a few lines: chunks off, events apart, nothing hidden."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.app import Server
from tests.support.http import Answer, Peer, request


@dataclass
class Event:
    """One event. ``id`` None: the block has none, and the browser keeps the one before."""

    type: str
    data: dict[str, Any]
    id: str | None
    retry_ms: int | None


class EventStream:
    """The events of one answer, as they come."""

    def __init__(self, peer: Peer, head: Answer) -> None:
        self.peer = peer
        self.head = head
        self.last_id: str | None = None
        self._chunked = head.headers.get("transfer-encoding") == "chunked"

    async def event(self) -> Event:
        """The next event. Raises EOFError at a proper end, ConnectionLost at any other."""
        if self._chunked:
            size = int((await self.peer.read_until(b"\r\n"))[:-2], 16)
            text = await self.peer.read_exactly(size)
            assert await self.peer.read_exactly(2) == b"\r\n"
            if not size:
                raise EOFError
        else:
            text = await self.peer.read_until(b"\n\n")
        return self._parse(text.decode())

    def _parse(self, text: str) -> Event:
        assert text.endswith("\n\n")
        fields: dict[str, str] = {}
        for line in text[:-2].split("\n"):
            name, colon, value = line.partition(": ")
            assert colon, line
            assert name not in fields, f"{name} is there twice"
            fields[name] = value
        assert set(fields) <= {"event", "data", "id", "retry"}, fields
        retry = fields.get("retry")
        self.last_id = fields.get("id", self.last_id)
        data = json.loads(fields["data"])
        assert data["type"] == fields["event"]
        return Event(fields["event"], data, fields.get("id"), None if retry is None else int(retry))

    async def expect(self, type_: str) -> Event:
        """The next event beside heartbeats, which must be of this type."""
        while (event := await self.event()).type == "heartbeat":
            assert event.data == {"type": "heartbeat"}
        assert event.type == type_, event
        return event

    async def hint(self) -> tuple[str, int]:
        event = await self.expect("hint")
        return event.data["channel"], event.data["seq"]


@asynccontextmanager
async def listening(
    server: Server,
    query: str = "",
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    version: str = "1.1",
) -> AsyncIterator[EventStream]:
    """An event stream after its head, which must be a good one."""
    async with server.peer() as peer:
        asked = request("GET", f"/v1/events?{query}", token=token, headers=headers)
        await peer.write(asked.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        head = await peer.answer(head=True)
        assert head.status == 200, await peer._body(head.headers)
        assert head.headers["content-type"] == "text/event-stream"
        assert head.headers["cache-control"] == "no-store"
        assert head.headers["x-accel-buffering"] == "no"
        yield EventStream(peer, head)

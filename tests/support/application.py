"""The application behind pushd: a small HTTP server whose answers are the test's."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import trio

from tests.support.http import patience
from tests.support.server import free_port

WEBHOOK_SECRET = "test-secret-that-signs-webhooks-0123456789"


@dataclass
class Reply:
    """``raw``: these bytes and the end, instead of an answer. A ``body`` that is no bytes is JSON.

    ``close``: the connection is closed after it, without saying so before.
    """

    status: int = 200
    body: Any = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    raw: bytes | None = None
    close: bool = False

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Received:
    """One request. ``connection``: the number of the connection that it came by."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def is_signed(self, secret: str = WEBHOOK_SECRET) -> bool:
        """As the guide tells an application to check it, but for the age."""
        at = self.headers["webhook-timestamp"]
        signed = f"{self.id}.{at}.".encode() + self.body
        wanted = base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()
        offered = self.headers["webhook-signature"].split(" ")
        return any(hmac.compare_digest(f"v1,{wanted}", each) for each in offered)


Handler = Callable[[Received], Awaitable[Reply]]


async def say_ok(_: Received) -> Reply:
    return Reply(200, {})


class Application:
    """``handle`` answers; ``received`` has all requests that came whole, in their order."""

    def __init__(self, nursery: trio.Nursery, handle: Handler) -> None:
        self.handle = handle
        self.received: list[Received] = []
        self.port = free_port()  # for good: nobody has it while the application is down
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._news = trio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/pushd"

    async def start(self) -> None:
        """Listen; after ``stop``, on the same port again."""
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._run, listeners)

    async def stop(self) -> None:
        """As a crash: whatever is open is cut off, and nobody listens."""
        self._scope.cancel()
        await self._ended.wait()

    async def until(self, condition: Callable[[], object]) -> None:
        """Until this is true; looked at whenever a request came."""
        with patience():
            while not condition():
                if self._news.is_set():
                    self._news = trio.Event()
                await self._news.wait()

    async def _run(
        self,
        listeners: list[trio.SocketListener],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            with self._scope:
                task_status.started()
                await trio.serve_listeners(self._serve, listeners)
        finally:
            self._ended.set()

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        number = self.connections
        http = h11.Connection(h11.SERVER)
        try:
            while await self._one(stream, http, number):
                pass
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            pass  # pushd went away
        finally:
            await trio.aclose_forcefully(stream)

    async def _one(self, stream: trio.SocketStream, http: h11.Connection, number: int) -> bool:
        """One request and its answer; whether there may be another."""
        head, body = None, bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some()))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        assert head is not None
        names = {name.decode(): value.decode() for name, value in head.headers}
        received = Received(head.method.decode(), head.target.decode(), names, bytes(body), number)
        self.received.append(received)
        self._news.set()
        reply = await self._answered(received)
        self._news.set()
        if reply.raw is not None:
            await stream.send_all(reply.raw)
            return False
        headers = [("Content-Length", str(len(reply.content))), *reply.headers]
        if not any(name.lower() == "content-type" for name, _ in reply.headers):
            headers.append(("Content-Type", "application/json"))
        data = http.send(h11.Response(status_code=reply.status, headers=headers)) or b""
        data += http.send(h11.Data(data=reply.content)) or b""
        data += http.send(h11.EndOfMessage()) or b""
        await stream.send_all(data)
        if reply.close or http.our_state is not h11.DONE:
            return False
        http.start_next_cycle()
        return True

    async def _answered(self, received: Received) -> Reply:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self.handle(received)
        finally:
            self.at_once -= 1


@asynccontextmanager
async def application(handle: Handler = say_ok) -> AsyncIterator[Application]:
    """Running until the end of the block, or until it is stopped."""
    async with trio.open_nursery() as nursery:
        made = Application(nursery, handle)
        await made.start()
        yield made
        nursery.cancel_scope.cancel()

"""An application that knows tokens and cookies, for the connect hook; and every way in to pushd."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.app import Server, running_server, until
from tests.support.application import WEBHOOK_SECRET, Application, Received, Reply, application
from tests.support.events import EventStream
from tests.support.http import Answer, request
from tests.support.websocket import Closed

TOKEN = "opaque-token-of-alice-0123456789"
COOKIE = "session=secret-cookie-of-alice"


class HookTime:
    """Time for the hook's limits and what it remembers goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()


class Logins:
    """``people``: by token, or by cookie where there is no token. ``reply`` stands in for all.

    ``go`` holds the answers back. ``clock``: of the server's hook.
    """

    def __init__(self) -> None:
        self.people: dict[str | None, dict[str, Any]] = {TOKEN: person(), COOKIE: person()}
        self.reply: Reply | None = None
        self.go = trio.Event()
        self.go.set()
        self.app: Application | None = None
        self.clock = HookTime()

    async def handle(self, received: Received) -> Reply:
        await self.go.wait()
        if self.reply is not None:
            return self.reply
        asked = received.json
        if "token" not in asked:
            return Reply(204)  # it is told something, not asked
        shown = asked["token"] or asked["headers"].get("cookie")
        known = self.people.get(shown)
        return Reply(401) if known is None else Reply(200, known)

    @property
    def asked(self) -> list[Received]:
        """Every request that came."""
        assert self.app is not None
        return self.app.received

    async def until(self, condition: Callable[[], object]) -> None:
        """Until this is true; looked at whenever a request came."""
        assert self.app is not None
        await self.app.until(condition)

    @property
    def url(self) -> str:
        assert self.app is not None
        return self.app.url


def person(user: str = "alice", **members: Any) -> dict[str, Any]:
    """What the application says of somebody who may do everything with topics."""
    grants = {"subscribe": ["*"], "publish": ["*"]}
    return {"user": user, **grants, "expires": int(time.time()) + 3600} | members


@asynccontextmanager
async def logins() -> AsyncIterator[Logins]:
    known = Logins()
    async with application(known.handle) as app:
        known.app = app
        yield known


@asynccontextmanager
async def serving(data: Path, known: Logins, **given: Any) -> AsyncIterator[Server]:
    """A node that asks this application, and shows it cookies. It has all the time there is."""
    hook = {
        "auth_url": known.url,
        "webhook_secret": WEBHOOK_SECRET,
        "auth_headers": ("cookie",),
        "auth_request_timeout": 60.0,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pushd.hook.hook.time", known.clock)
        async with running_server(data, **{**hook, **given}) as server:
            yield server


# -- every way in: "in", or the code of the refusal ------------------------------------------------

Headers = Mapping[str, str]
Way = Callable[[Server, str | None, Headers], Awaitable[str]]


def _said(answer: Answer) -> str:
    return "in" if answer.status < 300 or answer.code == "no_handler" else answer.code


async def _operators(server: Server, token: str | None, headers: Headers) -> str:
    """Users may not see what operators see, but it knows who they are."""
    answer = await server.ask("GET", "/v1/stats", token=token, headers=headers)
    return "in" if "scope" in answer.json.get("detail", "") else _said(answer)


def _http(method: str, path: str, body: Any = b"", kind: str | None = None) -> Way:
    async def way(server: Server, token: str | None, headers: Headers) -> str:
        given = dict(headers) if kind is None else {"Content-Type": kind, **headers}
        return _said(await server.ask(method, path, token=token, body=body, headers=given))

    return way


async def _held(server: Server, token: str | None, headers: Headers) -> str:
    async with server.peer() as peer:
        path = "/v1/channels/held/messages?after=head&wait=60"
        await peer.write(request("GET", path, token=token, headers=headers))
        answers: list[Answer] = []
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                answers.append(await peer.answer())
                nursery.cancel_scope.cancel()

            nursery.start_soon(receive)
            await until(lambda: server.hub.pulls.held)
            await server.publish("held", 1)
        return _said(answers[0])


async def _continued(server: Server, token: str | None, headers: Headers) -> str:
    """A client that asks first whether its large body is welcome."""
    body = b'{"to":{"channels":["news"]},"message":{"data":1}}'.ljust(500_000)
    given = {"Content-Type": "application/json", "Expect": "100-continue", **headers}
    whole = request("POST", "/v1/publish", token=token, body=body, headers=given)
    head, _, rest = whole.partition(b"\r\n\r\n")
    async with server.peer() as peer:
        await peer.write(head + b"\r\n\r\n")
        answer = await peer.answer()
        if answer.status == 100:
            await peer.write(rest)
            answer = await peer.answer()
        return _said(answer)


def _websocket(where: str) -> Way:
    async def way(server: Server, token: str | None, headers: Headers) -> str:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if where == "header" and token is not None:
            lines += f"Authorization: Bearer {token}\r\n"
        target = f"/v1/ws?token={token}" if where == "address" else "/v1/ws"
        given = token if where == "subprotocol" else None
        async with server.socket(target, token=given, header=lines) as socket:
            if where == "first frame":
                await socket.send({"type": "auth", "token": token})
            first = await socket.message()
            if first["type"] == "bye":
                with pytest.raises(Closed) as closed:
                    await socket.message()
                assert closed.value.code == first["code"]
                return str(first["reason"])
            assert first["type"] == "hello"
            return "in"

    return way


async def _refresh(server: Server, token: str | None, headers: Headers) -> str:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with server.socket(token=server.token(), header=lines) as socket:
        assert (await socket.message())["type"] == "hello"
        await socket.send({"type": "refresh", "token": token})
        answer = await socket.message()
        if answer["type"] == "error":
            return str(answer["code"])
        assert answer["type"] == "refreshed"
        return "in"


def _events(where: str) -> Way:
    async def way(server: Server, token: str | None, headers: Headers) -> str:
        target = f"/v1/events?token={token}" if where == "address" else "/v1/events"
        given = token if where == "header" else None
        async with server.peer() as peer:
            await peer.write(request("GET", target, token=given, headers=headers))
            head = await peer.answer(head=True)
            if head.status != 200:
                return Answer(head.status, head.headers, await peer._body(head.headers)).code
            first = await EventStream(peer, head).event()
            return "in" if first.type == "hello" else str(first.data["reason"])

    return way


LINES = b'{"channel":"lines","data":1}\n{"channel":"lines","data":2}\n'
FANNED = {"to": {"channels": ["news"]}, "message": {"data": 1}}
HTTP_WAYS: dict[str, Way] = {
    "pull": _http("GET", "/v1/channels/news/messages?after=0"),
    "history": _http("GET", "/v1/channels/news/messages?last=1"),
    "publish": _http("POST", "/v1/channels/news/messages", {"data": 1}),
    "publish much": _http("POST", "/v1/channels/news/messages", {"data": "x" * 5000}),
    "publish to many": _http("POST", "/v1/publish", FANNED),
    "publish a large body": _http(
        "POST", "/v1/publish", b'{"to":{"channels":["news"]},"message":{"data":1}}'.ljust(500_000),
        "application/json",
    ),
    "publish lines": _http("POST", "/v1/publish", LINES, "application/x-ndjson"),
    "publish many lines": _http("POST", "/v1/publish", LINES * 4000, "application/x-ndjson"),
    "pull many": _http("POST", "/v1/pull", {"cursors": {"news": "0"}}),
    "ack": _http("POST", "/v1/ack", {"cursors": {"news": "0"}}),
    "read": _http("POST", "/v1/channels/news/read", {"cursor": "0"}),
    "inbox": _http("GET", "/v1/inbox"),
    "call": _http("POST", "/v1/call", {"name": "X"}),
    "operators": _operators,
}  # fmt: skip
WAYS: dict[str, Way] = {
    **HTTP_WAYS,
    "held pull": _held,
    "publish, asking first": _continued,
    "websocket, header": _websocket("header"),
    "websocket, subprotocol": _websocket("subprotocol"),
    "websocket, address": _websocket("address"),
    "websocket, first frame": _websocket("first frame"),
    "websocket, refresh": _refresh,
    "events, header": _events("header"),
    "events, address": _events("address"),
}

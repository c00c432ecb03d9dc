"""The authorization table: every route and every frame × every kind of caller, cell by cell.

A cell is the status of the answer (routes), or what comes back first (frames). A route that is
not in the table fails ``test_the_table_is_complete``.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import jwt
import pytest

from pushd.core.frames import ClientFrame
from pushd.settings import ApiKeyTable, Namespace
from tests.support.app import SECRET, Server, running_server
from tests.support.events import EventStream
from tests.support.groups import join
from tests.support.http import Answer, request
from tests.support.websocket import Closed

CALLERS = ("nobody", "expired", "bob", "alice", "publisher", "reader", "admin", "limited")
SCOPES = ("publish", "read", "admin")
KEYS = {scope: f"key-with-the-scope-{scope}" for scope in SCOPES}
LIMITED = "key-with-every-scope-for-one-channel"


def token(user: str, seconds: int = 3600, **grants: Any) -> str:
    claims = {"sub": user, "exp": int(time.time()) + seconds, "pushd": grants}
    return jwt.encode(claims, SECRET, "HS256")


def credential(caller: str) -> str | None:
    """Alice may read and publish ``news``; bob, as good a user, nothing of what is asked for.

    The limited key has every scope, and one pattern: ``news``.
    """
    grants = {"subscribe": ["news"], "publish": ["news", "user:alice"]}
    return {
        "nobody": None,
        "expired": token("alice", -1, **grants),
        "bob": token("bob"),
        "alice": token("alice", **grants),
        "publisher": KEYS["publish"],
        "reader": KEYS["read"],
        "admin": KEYS["admin"],
        "limited": LIMITED,
    }[caller]


@dataclass
class Route:
    """``cells``: one status per caller, in the order of CALLERS."""

    method: str
    path: str
    cells: str
    body: Any = b""
    template: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.template or self.path}"


OPEN = "200 200 200 200 200 200 200 200"
LISTS = "401 401 403 403 403 200 200 200"  # a limited key sees less of them
OTHERS = "401 401 403 403 403 200 200 403"  # of what is not news
ADMINS = "401 401 403 403 403 403 200 403"
MESSAGE = {"data": 1}
WAIT = {"delivered_to": "alice", "ms": 0}
REVOKED = {"user": "dora", "until": int(time.time() * 1000) + 86_400_000}
CURSORS = {"cursors": {"news": "0"}}

# fmt: off
ROUTES = [
    Route("GET", "/", OPEN),
    Route("GET", "/console/", OPEN),
    Route("GET", "/client.js", OPEN),
    Route("GET", "/client/index.js", OPEN),
    Route("GET", "/docs", OPEN),
    Route("GET", "/openapi.json", OPEN),
    Route("GET", "/asyncapi.json", OPEN),
    Route("GET", "/healthz", OPEN),
    Route("GET", "/readyz", OPEN),
    Route("GET", "/metrics", OPEN),  # asked from this machine
    Route("GET", "/metrics", LISTS, headers={"X-Forwarded-For": "192.0.2.1"}),
    # Publishing
    Route("POST", "/v1/channels/news/messages", "401 401 403 201 201 403 403 201", MESSAGE),
    Route("POST", "/v1/channels/user:alice/messages", "401 401 403 201 201 403 403 403", MESSAGE),
    Route("POST", "/v1/channels/other/messages", "401 401 403 403 201 403 403 403", MESSAGE),
    Route("POST", "/v1/channels/all/messages", "401 401 403 403 201 403 403 403", MESSAGE),
    Route("POST", "/v1/channels/$control/messages", "401 401 403 403 403 403 403 403", MESSAGE),
    Route("POST", "/v1/publish", "401 401 403 200 200 403 403 200",
          {"to": {"channels": ["news"]}, "message": MESSAGE}),
    Route("POST", "/v1/publish", "401 401 403 403 200 403 403 403",
          {"to": {"channels": ["news"], "all": True}, "message": MESSAGE}),
    Route("POST", "/v1/publish", "401 401 403 200 200 403 403 403",
          {"to": {"users": ["alice"]}, "message": MESSAGE, "wait": WAIT}),
    # The session is carl's.
    Route("POST", "/v1/channels/session:{session}/messages", "401 401 403 403 201 403 403 403",
          MESSAGE),
    Route("POST", "/v1/publish", "401 401 403 403 200 403 403 403",
          {"to": {"sessions": ["{session}"]}, "message": MESSAGE}),
    Route("GET", "/v1/channels/session:{session}/messages", "401 401 403 403 403 403 403 403"),
    # Pulling
    Route("GET", "/v1/channels/news/messages?after=0", "401 401 403 200 403 200 403 200"),
    Route("GET", "/v1/channels/news/messages?last=1", "401 401 403 200 403 200 403 200"),
    Route("GET", "/v1/channels/user:alice/messages?after=0", "401 401 403 200 403 200 403 403"),
    Route("GET", "/v1/channels/all/messages?after=0", "401 401 200 200 403 200 403 403"),
    Route("GET", "/v1/channels/open/messages?after=0", "401 401 200 200 403 200 403 403"),
    Route("GET", "/v1/channels/other/messages?after=0", "401 401 403 403 403 200 403 403"),
    Route("GET", "/v1/channels/group:g/messages?after=0", "401 401 403 403 403 200 403 403"),
    Route("GET", "/v1/channels/$control/messages?after=0", "401 401 403 403 403 403 200 403"),
    Route("GET", "/v1/channels/session:x/messages?after=0", "401 401 403 403 403 403 403 403"),
    Route("GET", "/v1/channels/$presence:news/messages", "401 401 403 200 403 200 200 200"),
    Route("GET", "/v1/channels/$presence:other/messages", "401 401 403 403 403 403 200 403"),
    Route("GET", "/v1/channels/news/presence", "401 401 403 200 403 200 403 200"),
    Route("GET", "/v1/channels/other/presence", "401 401 403 403 403 404 403 403"),
    Route("POST", "/v1/ack", "401 401 403 204 403 204 403 204", CURSORS),
    Route("POST", "/v1/channels/news/read", "401 401 403 204 403 400 403 400", {"cursor": "0"}),
    Route("GET", "/v1/inbox", "401 401 200 200 403 403 403 403"),  # services have none
    Route("POST", "/v1/call", "401 401 404 404 403 403 403 403", {"name": "X"}),
    # Operations
    Route("GET", "/v1/stats", LISTS),
    Route("GET", "/v1/nodes", LISTS),
    Route("GET", "/v1/channels", LISTS),
    Route("GET", "/v1/channels/news", LISTS),
    Route("GET", "/v1/sessions", LISTS),
    Route("GET", "/v1/users", LISTS),
    Route("GET", "/v1/users/alice", OTHERS),
    Route("GET", "/v1/channels/news/receipts?seq=1", LISTS),
    Route("GET", "/v1/sessions?user=alice", OTHERS),
    Route("GET", "/v1/channels/user:alice", OTHERS),
    Route("GET", "/v1/channels/user:alice/receipts", OTHERS),
    Route("DELETE", "/v1/channels/user:alice", "401 401 403 403 403 403 204 403"),
    Route("POST", "/v1/channels/user:alice/trim", ADMINS, {"before": 1}),
    Route("DELETE", "/v1/channels/user:alice/messages/1", "401 401 403 403 403 403 204 403"),
    Route("DELETE", "/v1/channels/news", "401 401 403 403 403 403 204 204"),
    Route("POST", "/v1/channels/news/trim", "401 401 403 403 403 403 200 200", {"before": 1}),
    Route("DELETE", "/v1/channels/news/messages/{seq}", "401 401 403 403 403 403 204 204"),
    # The session is carl's.
    Route("DELETE", "/v1/sessions/{session}", "401 401 403 403 403 403 204 404"),
    Route("DELETE", "/v1/users/carl/sessions", ADMINS),
    Route("DELETE", "/v1/users/carl", ADMINS),
    Route("POST", "/v1/heartbeat/check", ADMINS),
    # Groups: team has carl.
    Route("GET", "/v1/groups", LISTS),
    Route("GET", "/v1/groups/team", OTHERS),
    Route("GET", "/v1/groups/team/members", OTHERS),
    Route("GET", "/v1/groups/team/members/carl", OTHERS),
    Route("GET", "/v1/users/carl/groups", OTHERS),
    Route("PUT", "/v1/groups/team/members/bob", ADMINS),
    Route("DELETE", "/v1/groups/team/members/bob", ADMINS),
    Route("POST", "/v1/groups/team/members", ADMINS, {"add": ["bob"], "remove": ["dora"]}),
    Route("DELETE", "/v1/groups/team/sessions", ADMINS),
    Route("DELETE", "/v1/groups/team", ADMINS),
    Route("GET", "/v1/revocations", ADMINS),
    Route("POST", "/v1/revocations", "401 401 403 403 403 403 201 403", REVOKED),
    # It finds none, but may look.
    Route("DELETE", "/v1/revocations?user=dora", "401 401 403 403 403 403 404 403"),
]
# fmt: on


def settings() -> dict[str, Any]:
    """Of the server that the table is about."""
    keys = tuple(
        ApiKeyTable(scope, hashlib.sha256(key.encode()).hexdigest(), (scope,))
        for scope, key in KEYS.items()
    )
    limited = ApiKeyTable("one", hashlib.sha256(LIMITED.encode()).hexdigest(), SCOPES, ("news",))
    namespaces = {"open": Namespace(public=True), "news": Namespace(presence=True)}
    return {"keys": (*keys, limited), "namespaces": namespaces}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, **settings()) as it:
        yield it


def of_session(body: Any, session: str) -> Any:
    """Targets that are only known when the session is there."""
    return json.loads(json.dumps(body).replace("{session}", session)) if body else body


async def ask_route(
    server: Server, route: Route, credential: str | None, headers: dict[str, str] | None = None
) -> Answer:
    """With all there that the row names."""
    stored = await server.publish("news", 1)
    await server.publish("user:alice", 1)
    await join(server, "team", "carl")
    async with server.socket(token=token("carl")) as socket:
        session = (await socket.expect("hello"))["session"]
        path = route.path.format(session=session, seq=stored["seq"])
        body = of_session(route.body, session)
        given = {**route.headers, **(headers or {})}
        return await server.ask(route.method, path, token=credential, body=body, headers=given)


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_a_route(server: Server, route: Route) -> None:
    statuses = []
    for caller in CALLERS:
        answer = await ask_route(server, route, credential(caller))
        if answer.status == 401:
            assert answer.code == ("token_expired" if caller == "expired" else "unauthorized")
        statuses.append(answer.status)
    assert statuses == [int(cell) for cell in route.cells.split()]


LINE = b'{"channel":"news","data":1}\n'


async def first_line(server: Server, caller: str) -> str:
    """NDJSON: each line has its own right."""
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await server.ask(
        "POST", "/v1/publish", token=credential(caller), body=LINE, headers=headers
    )
    return answer.code if answer.status != 200 else str(answer.json.get("code", "stored"))


async def of_many(server: Server, caller: str) -> str:
    """A multi-pull: each channel has its own right."""
    answer = await server.ask("POST", "/v1/pull", token=credential(caller), body=CURSORS)
    if answer.status != 200:
        return answer.code
    news = answer.json["channels"]["news"]
    return "pulled" if "messages" in news else str(news["error"]["code"])


async def of_events(server: Server, caller: str) -> str:
    """An event stream: the caller has one, the channel may be denied."""
    async with server.peer() as peer:
        target = "/v1/events?channels=news"
        await peer.write(request("GET", target, token=credential(caller)))
        head = await peer.answer(head=True)
        if head.status != 200:
            return Answer(head.status, head.headers, await peer._body(head.headers)).code
        hello = (await EventStream(peer, head).expect("hello")).data
    return "follows" if "news" in hello["heads"] else str(hello["denied"][0]["code"])


async def of_hello(server: Server, caller: str) -> str:
    async with server.socket("/v1/ws?channels=news", token=credential(caller)) as socket:
        if caller == "nobody":
            await socket.send({"type": "ping"})
        hello = await socket.message()
        if hello["type"] == "bye":
            return str(hello["reason"])
    return "follows" if "news" in hello["heads"] else str(hello["denied"][0]["code"])


GONE = "unauthorized token_expired"
MIXED = {
    first_line: f"{GONE} forbidden stored stored forbidden forbidden stored",
    of_many: f"{GONE} forbidden pulled forbidden pulled forbidden pulled",
    of_events: f"{GONE} forbidden follows forbidden follows forbidden follows",
    of_hello: f"{GONE} forbidden follows forbidden follows forbidden follows",
}


@pytest.mark.parametrize("ask", MIXED, ids=lambda ask: ask.__name__)
async def test_a_route_with_rights_within(server: Server, ask: Any) -> None:
    await server.publish("news", 1)
    found = [await ask(server, caller) for caller in CALLERS]
    assert found == MIXED[ask].split()


# What comes back first. Nobody and the expired never get so far: their session ends.
FRAMES: list[tuple[dict[str, Any], str]] = [
    ({"type": "ping"}, "pong pong pong pong pong pong"),
    (
        {"type": "subscribe", "channels": {"news": "0"}},
        "forbidden follows forbidden follows forbidden follows",
    ),
    (
        {"type": "unsubscribe", "channels": ["news"]},
        "unsubscribed unsubscribed unsubscribed unsubscribed unsubscribed unsubscribed",
    ),
    ({"type": "ack", "cursors": {"news": "0"}}, "forbidden pong forbidden pong forbidden pong"),
    (
        {"type": "read", "channel": "news", "cursor": "0"},
        "forbidden pong forbidden bad_request forbidden bad_request",
    ),
    (
        {"type": "publish", "id": "p", "to": {"channels": ["news"]}, "message": MESSAGE},
        "forbidden published published forbidden forbidden published",
    ),
    (
        {
            "type": "publish",
            "id": "p",
            "to": {"users": ["alice"]},
            "message": MESSAGE,
            "wait": WAIT,
        },
        "forbidden published published forbidden forbidden forbidden",
    ),
    (
        {"type": "publish", "id": "p", "to": {"all": True}, "message": MESSAGE},
        "forbidden forbidden published forbidden forbidden forbidden",
    ),
    (
        {"type": "call", "id": "c", "name": "X"},
        "no_handler no_handler forbidden forbidden forbidden forbidden",
    ),
    (
        {"type": "auth", "token": "t"},
        "bad_request bad_request bad_request bad_request bad_request bad_request",
    ),
]


@pytest.mark.parametrize(
    ("frame", "cells"),
    FRAMES,
    ids=lambda value: value.get("type") if isinstance(value, dict) else "",
)
async def test_a_frame(server: Server, frame: dict[str, Any], cells: str) -> None:
    await server.publish("news", 1)
    found = [await first_answer(server, caller, frame) for caller in CALLERS]
    assert found == [*GONE.split(), *cells.split()]


async def first_answer(server: Server, caller: str, frame: dict[str, Any]) -> str:
    async with server.socket(token=credential(caller)) as socket:
        if caller in ("nobody", "expired"):
            await socket.send(frame)
            bye = await socket.expect("bye")
            with pytest.raises(Closed) as end:
                await socket.message()
            assert end.value.code == 4001
            return str(bye["reason"])
        await socket.expect("hello")
        await socket.send(frame)
        if frame["type"] in ("ack", "read"):
            await socket.send({"type": "ping"})  # they are silent when all is well
        while (answer := await socket.message())["type"] in ("hint", "read", "subscribed"):
            if answer.get("denied") is not None and frame["type"] == "subscribe":
                break  # what comes unasked is no answer
        if answer["type"] == "subscribed":
            denied = answer["denied"]
            return str(denied[0]["code"]) if denied else "follows"
        return str(answer["code"] if answer["type"] == "error" else answer["type"])


@pytest.mark.parametrize("caller", CALLERS)
async def test_whom_a_refresh_is_for(server: Server, caller: str) -> None:
    """A session of alice's takes alice's good token, and no other credential."""
    async with server.socket(token=token("alice")) as socket:
        await socket.expect("hello")
        await socket.send({"type": "refresh", "token": credential(caller) or ""})
        answer = await socket.message()
    expected = {
        "nobody": "unauthorized",
        "expired": "token_expired",
        "alice": None,
    }.get(caller, "forbidden")
    assert answer.get("code") == expected


async def test_what_a_limited_key_sees_of_the_lists(server: Server) -> None:
    for channel in ("news", "other", "user:alice"):
        await server.publish(channel, 1)

    async def items(path: str, key: str) -> list[Any]:
        answer = await server.ask("GET", path, token=key)
        assert answer.status == 200, answer
        found: list[Any] = answer.json["items"]
        return found

    async with (
        server.socket("/v1/ws?channels=news", token=token("alice", subscribe=["news"])) as alice,
        server.socket("/v1/ws?channels=news,other", token=KEYS["read"]) as service,
    ):
        for socket in (alice, service):
            await socket.expect("hello")
        whole, part = KEYS["admin"], LIMITED
        names = [each["channel"] for each in await items("/v1/channels", whole)]
        assert {"news", "other", "user:alice"} <= set(names)
        assert [each["channel"] for each in await items("/v1/channels", part)] == ["news"]
        assert [each["user"] for each in await items("/v1/users", whole)] == ["alice"]
        assert await items("/v1/users", part) == []
        assert len(await items("/v1/sessions", whole)) == 2
        assert await items("/v1/sessions", part) == []


async def test_what_a_publish_key_may_send_before_it_is_known(server: Server) -> None:
    """Large bodies are read from those only who have a good credential: nobody's is refused."""
    body = b'{"to":{"channels":["news"]},"message":{"data":1}}'.ljust(500_000)
    for caller, status in (("nobody", 401), ("expired", 401), ("publisher", 200)):
        head = {"Content-Type": "application/json", "Expect": "100-continue"}
        answer = await server.ask(
            "POST", "/v1/publish", token=credential(caller), body=body, headers=head
        )
        assert answer.status == (100 if status == 200 else status), caller


def test_the_table_is_complete() -> None:
    """Every route that is served has its row, and every frame that clients may send."""
    from pushd.web.table import OPERATIONS

    rows = {(route.method, pattern_of(route.path)) for route in ROUTES}
    rows |= {("GET", "/v1/ws"), ("GET", "/v1/events"), ("POST", "/v1/pull")}
    pages = ("/", "/console/", "/client.js", "/client/index.js")  # not operations
    rows -= {("GET", page) for page in pages}
    served = {(each.method, pattern_of(each.path)) for each in OPERATIONS}
    assert rows == served
    frames = {str(frame["type"]) for frame, _ in FRAMES} | {"refresh"}
    assert frames == {str(each.__struct_config__.tag) for each in get_args(ClientFrame)}


def pattern_of(path: str) -> str:
    """``/v1/users/alice`` and ``/v1/users/{user}`` alike, without the query."""
    path = path.partition("?")[0]
    return re.sub(r"(/(?:channels|users|sessions|messages|groups|members)/)[^/]+", r"\1{}", path)

"""/openapi.json, /asyncapi.json and /docs: whole, and true of what goes over the wire."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import schemathesis

from pushd.calls.webhook import Result
from pushd.settings import Namespace
from pushd.settings.webhooks import EVENTS
from pushd.web.asyncapi import asyncapi
from pushd.web.docs import docs_page
from pushd.web.frames import ServerFrame
from pushd.web.openapi import openapi
from pushd.web.pages import ADDRESS
from pushd.web.shapes.hot import CallResult, Followers, Inbox, MultiPull, Published, Pull, Stored
from pushd.web.table import OPERATIONS, full_path
from pushd.web.webhooks import (
    WEBHOOKS,
    AuthAnswer,
    AuthPosted,
    CallPosted,
    EventsPosted,
    MessagesPosted,
)
from tests.support.app import KEY, Server, running_server, until
from tests.support.application import WEBHOOK_SECRET, Received, Reply, application
from tests.support.http import request
from tests.support.logins import TOKEN, logins, person, serving
from tests.support.sessions import ask, epoch, session


@pytest.mark.parametrize("prefix", ["", "/push"])
async def test_they_are_served(tmp_path: Path, prefix: str) -> None:
    async with running_server(tmp_path, path_prefix=prefix) as server:
        found = await server.ask("GET", "/openapi.json")
        assert (found.status, found.headers["content-type"]) == (200, "application/json")
        assert found.json == openapi(prefix)
        assert (await server.ask("GET", "/asyncapi.json")).json == asyncapi(prefix)
        page = await server.ask("GET", "/docs")
        shown = docs_page(openapi(prefix), asyncapi(prefix), prefix)
        assert page.body.decode() == shown.replace(ADDRESS, "http://localhost")
        assert (await server.ask("GET", "/docs/")).headers["location"] == "/docs"


def test_openapi_is_valid_and_names_every_operation() -> None:
    document = openapi()
    schemathesis.openapi.from_dict(document).validate()
    told = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert told == {(each.method, each.path) for each in OPERATIONS}


each_document = pytest.mark.parametrize(
    "document", [openapi(), asyncapi()], ids=["openapi", "asyncapi"]
)


@each_document
def test_no_form_is_named_by_a_module(document: dict[str, Any]) -> None:
    """As it happens when two forms have one name."""
    names = document["components"]["schemas"]
    assert len(names) > 20
    assert [name for name in names if "." in name] == []


@each_document
def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = list(_references(document))
    assert len(found) > 20
    for reference in found:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


# -- the page -----------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Anchors, links, and whether what is opened is closed."""

    VOID = frozenset({"meta", "link", "wbr", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in ("img", "iframe")
        assert "src" not in given, "nothing from elsewhere"
        self.ids += [value for value in [given.get("id")] if value]
        self.links += [value for value in [given.get("href")] if value and tag == "a"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_shows_every_operation() -> None:
    page = _Page()
    page.feed(docs_page(openapi("/push"), asyncapi("/push"), "/push"))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {each.name for each in OPERATIONS} <= set(page.ids)
    text = "".join(page.text)
    for operation in OPERATIONS:
        assert full_path(operation, "/push") in text
        assert operation.summary in text
    for name in asyncapi()["components"]["messages"]:
        assert name in page.ids
    for code in ("bad_request", "epoch_changed", "storage_full", "rate_limited"):
        assert code in text
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert re.fullmatch(r"/[a-z.]*", link), "nothing from elsewhere"


# -- what goes over the wire --------------------------------------------------------------------


def strict(type_: Any, answer: Any) -> None:
    """``answer`` has this form, and no member that the description does not have."""
    document, components = msgspec.json.schema_components([type_], ref_template="#/$defs/{name}")
    for component in components.values():
        if "properties" in component:
            component["additionalProperties"] = False
    schema = {**document[0], "$defs": components}
    jsonschema_rs.Draft202012Validator(schema).validate(answer)


async def test_real_frames_are_as_described(tmp_path: Path) -> None:
    async with running_server(tmp_path, handlers="tests.support.handling") as server:
        await _frames_are_as_described(server)


async def _frames_are_as_described(server: Server) -> None:
    seen: dict[str, Any] = {}
    rights = {"device": "d1", "publish": ["*"]}
    async with server.socket("/v1/ws?channels=news,a%20b", token=server.token(**rights)) as socket:
        seen["hello"] = await socket.expect("hello")
        assert seen["hello"]["denied"]
        await server.publish("news", 1)
        seen["hint"] = await socket.expect("hint")
        seen["subscribed"] = await ask(
            socket, "subscribe", channels={"room": "0", "news": "000000001.4"}
        )
        seen["unsubscribed"] = await ask(socket, "unsubscribe", channels=["room"])
        seen["pong"] = await ask(socket, "ping")
        seen["refreshed"] = await ask(socket, "refresh", token=server.token(**rights))
        to, message = {"channels": ["room"]}, {"data": 1}
        seen["published"] = await ask(socket, "publish", id="p1", to=to, message=message)
        seen["error"] = await ask(socket, "call", id="c1", name="nobody")
        seen["result"] = await ask(socket, "call", id="c2", name="anything", data=[1])
        async with session(server) as other:
            await other.send({"type": "read", "channel": "news", "cursor": f"{epoch(server)}.1"})
            seen["read"] = await socket.expect("read")
        await server.ask("DELETE", "/v1/users/alice/sessions", token=KEY)
        seen["bye"] = await socket.expect("bye")
    assert seen.keys() == {each.__struct_config__.tag for each in ServerFrame.__args__}
    for message in seen.values():
        strict(ServerFrame, message)


async def test_real_answers_of_the_hot_routes_are_as_described(server: Server) -> None:
    strict(Stored, await server.publish("news", 1, id="m1"))
    strict(Stored, await server.publish("news", 1, id="m1"))
    strict(Pull, (await server.pull("news", after=0)).json)
    strict(Pull, (await server.pull("news", last=10)).json)
    body: Any = {"to": {"users": ["alice"], "all": True}, "message": {"data": 1}}
    strict(Published, (await server.ask("POST", "/v1/publish", token=KEY, body=body)).json)
    body = {"cursors": {"news": "0", "x": "000000001.4", "a/b": "0"}}
    answer = (await server.ask("POST", "/v1/pull", token=KEY, body=body)).json
    assert "messages" in answer["channels"]["news"]
    assert "reset" in answer["channels"]["x"]
    assert "error" in answer["channels"]["a/b"]
    strict(MultiPull, answer)
    strict(Inbox, (await server.ask("GET", "/v1/inbox", token=server.token("alice"))).json)


async def test_a_real_list_of_followers_is_as_described(tmp_path: Path) -> None:
    room = {"room": Namespace(presence=True)}
    async with running_server(tmp_path, namespaces=room) as server:
        members: Any = {"subscribe": ["room"], "attributes": {"name": "Alice", "tags": [1]}}
        async with session(server, target="/v1/ws?channels=room", **members):
            await until(lambda: server.hub.counters.presence_told)
            answer = await server.ask("GET", "/v1/channels/room/presence", token=KEY)
            strict(Followers, answer.json)
            assert answer.json["items"]


async def test_real_results_of_calls_are_as_described(tmp_path: Path) -> None:
    async with running_server(tmp_path, handlers="tests.support.handling") as server:
        for data in (None, [1], {"a": None}):
            body = {"name": "anything", "data": data}
            answer = await server.ask("POST", "/v1/call", token=server.token(), body=body)
            strict(CallResult, answer.json)


async def test_real_webhooks_are_as_described(tmp_path: Path) -> None:
    """What is posted, and that what we take for an answer is what the description says."""
    answer = {"data": 1, "publish": [{"to": {"users": ["bob"]}, "message": {"data": 2}}]}
    strict(Result, answer)

    async def handle(received: Received) -> Reply:
        return Reply(200, answer) if received.json["type"] == "call" else Reply(204)

    async with (
        application(handle) as app,
        running_server(
            tmp_path,
            webhook_url=app.url,
            webhook_secret=WEBHOOK_SECRET,
            webhook_events=EVENTS,
            namespaces={"user": Namespace(webhook=True)},
        ) as server,
        session(server) as socket,
    ):
        await ask(socket, "call", id="c1", name="x", data={"a": [1]})
        await server.ask("POST", "/v1/call", token=server.token(), body={"name": "x"})
        wanted = {"call", "messages", "events"}
        await app.until(lambda: {each.json["type"] for each in app.received} == wanted)
    forms = {"call": CallPosted, "messages": MessagesPosted, "events": EventsPosted}
    for received in app.received:
        strict(forms[received.json["type"]], received.json)
    described = {hook.name for hook in WEBHOOKS}
    assert described == wanted | {"auth"} == set(openapi()["webhooks"])


async def test_real_questions_about_tokens_are_as_described(tmp_path: Path) -> None:
    strict(AuthAnswer, person(device="d", attributes={"name": "Alice"}))
    async with logins() as known, serving(tmp_path, known) as server:
        await server.pull("news", TOKEN)
        await server.pull("news", "unknown-token")
        for received in known.asked:
            strict(AuthPosted, received.json)
    assert known.asked


async def test_real_notices_are_as_described(server: Server) -> None:
    """What is told to those who poll: read marks, and everybody at the end."""
    stored = await server.publish("news", 1)
    cursor = f"{stored['epoch']}.{stored['seq']}"
    poll = {"cursors": {"news": cursor}, "mine": True, "device": "d1", "wait": 30}
    asked = request("POST", "/v1/pull", token=server.token("alice", device="d1"), body=poll)
    async with server.peer() as peer:
        await peer.write(asked)
        await until(lambda: server.hub.pulls.held)
        other = server.token("alice", device="d2")
        mark = {"cursor": cursor}
        await server.ask("POST", "/v1/channels/news/read", token=other, body=mark)
        told = [(await peer.answer()).json]
        await peer.write(asked)
        await until(lambda: server.hub.pulls.held)
        server.stopper.asked.set()
        told.append((await peer.answer()).json)
    for answer in told:
        strict(MultiPull, answer)
    assert [each["type"] for answer in told for each in answer["notices"]] == ["read", "bye"]

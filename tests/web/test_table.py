"""The table of operations is the truth: what is served is in it, and each row keeps its rules."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from pushd.errors import PushdError
from pushd.front.routes import Routes
from pushd.settings import Settings
from pushd.web.app import make_app
from pushd.web.operation import Operation
from pushd.web.table import ADMIN, OPERATIONS, TAGS, full_path
from tests.support.app import KEY, Server, running_server
from tests.web.keys import KEYS

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
each_admin = pytest.mark.parametrize("operation", ADMIN, ids=lambda each: each.name)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, keys=KEYS) as running:
        yield running


def target(operation: Operation) -> str:
    """Its path with the examples of its parameters, and what it needs."""
    path = full_path(operation, "")
    for param in operation.params:
        path = path.replace(f"{{{param.name}}}", param.example)
    return path + ("?user=alice" if operation.name == "unrevoke" else "")


def body(operation: Operation) -> bytes:
    return operation.body.example.encode() if operation.body else b""


def test_names_are_given_once_and_tags_exist() -> None:
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.method, each.path) for each in OPERATIONS}) == len(OPERATIONS)
    assert {each.tag for each in OPERATIONS} == set(TAGS)


@pytest.mark.parametrize("prefix", ["", "/push"])
async def test_the_framework_serves_the_table_and_some_pages(tmp_path: Path, prefix: str) -> None:
    async with running_server(tmp_path, path_prefix=prefix) as server:
        rules = make_app(server.hub).url_map.iter_rules()
        served = {
            (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
            for rule in rules
            for method in rule.methods - {"HEAD", "OPTIONS"}
        }
        told = {(each.method, full_path(each, prefix)) for each in OPERATIONS if not each.hot}
        assert served - told == {
            ("GET", "/"),
            ("GET", "/console/"),
            ("GET", "/console"),
            ("GET", "/docs/"),
            ("GET", "/client.js"),
            ("GET", "/client/{name}"),
        }
        assert told <= served


async def test_the_front_serves_the_hot_ones_and_nothing_else_there(server: Server) -> None:
    """With every method: only those of the table are served, all others are refused with 405."""
    hot = [each for each in OPERATIONS if each.hot]
    allowed: dict[str, set[str]] = {}
    for operation in hot:
        allowed.setdefault(target(operation), set()).add(operation.method)
    before = server.hub.counters.handovers
    for path, methods in allowed.items():
        for method in METHODS:
            if path == "/v1/ws" or (path == "/v1/events" and method == "GET"):
                continue  # an upgrade; without an end
            answer = await server.ask(method, path, token=KEY, body=b"{}")
            assert (answer.status == 405) == (method not in methods), (method, path, answer)
            if answer.status == 405:
                assert methods <= set(answer.headers["allow"].split(", "))
    assert server.hub.counters.handovers == before, "none of them went to the framework"


def test_the_front_serves_no_route_that_is_not_in_the_table() -> None:
    settings = Settings(path_prefix="/push")
    hub: Any = SimpleNamespace(settings=settings)
    engines: Any = SimpleNamespace(events=None)
    fixed = Routes(hub, engines)._fixed
    told: dict[str, set[str]] = {}
    for each in OPERATIONS:
        if each.hot and "{" not in each.path and each.name != "ws":
            told.setdefault(full_path(each, "/push"), set()).add(each.method)
    served = {
        path.decode(): {method.decode() for method in methods if method != b"HEAD"}
        for path, methods in fixed.items()
    }
    assert served == told


@each_admin
async def test_who_may_call(server: Server, operation: Operation) -> None:
    async def status(token: str | None) -> tuple[int, str]:
        answer = await server.ask(
            operation.method, target(operation), token=token, body=body(operation)
        )
        return answer.status, answer.code if answer.status >= 400 else ""

    assert await status(None) == (401, "unauthorized")
    assert await status("some-other-key") == (401, "unauthorized")
    assert await status(server.token("alice", publish=["*"])) == (403, "forbidden")
    assert await status("publisher-key") == (403, "forbidden")
    if operation.method == "GET" and operation.tag != "Revocations":
        assert (await status("reader-key"))[0] in (200, 404)
    else:
        assert await status("reader-key") == (403, "forbidden")
    if operation.whole:
        assert await status("rooms-key") == (403, "forbidden")
    assert (await status("admin-key"))[0] in (200, 201, 204, 404)


def test_what_changes_something_needs_scope_admin() -> None:
    for operation in ADMIN:
        if operation.method != "GET":
            assert operation.scopes == ("admin",), operation.name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v1/channels/news%2Fmessages%2F1"),
        ("DELETE", "/v1/users%2Falice"),
        ("GET", "/v1/channels/news%2freceipts"),
        ("POST", "/v1/channels/news%2Ftrim"),
        ("DELETE", "/v1/channels%2Fnews"),
    ],
)
async def test_a_slash_within_a_name_reaches_no_operation(
    server: Server, method: str, path: str
) -> None:
    await server.publish("news", 1)
    answer = await server.ask(method, path, token=KEY, body=b"{}" if method == "POST" else b"")
    assert answer.status in (400, 404)
    assert server.hub.log.heads["news"].first == 1
    assert (await server.pull("news", after=0)).json["messages"][0]["data"] == 1


@each_admin
async def test_parameters_and_bodies_are_strict(server: Server, operation: Operation) -> None:
    path = target(operation)
    sign = "&" if "?" in path else "?"
    wrong = [f"{path}{sign}nothing=1", f"{path}{sign}x=1&x=1", f"{path}{sign}limit=%ff"]
    wrong += [f"{path}{sign}{each.name}=%00" for each in operation.queries if each.name != "next"]
    wrong = [each for each in wrong if "prefix=%00" not in each and "jti=%00" not in each]
    if "{" in operation.path:
        first = operation.path.partition("{")[0]
        tail = path.partition("?")[0][len(first) :].partition("/")
        rest = tail[1] + tail[2]
        wrong += [f"{first}{name}{rest}" for name in ("%ff", "%20")]
    for each in wrong:
        answer = await server.ask(operation.method, each, token=KEY, body=body(operation))
        assert (answer.status, answer.code) == (400, "bad_request"), each
    bodies = [
        b"{}x",
        b'{"more":1}',
        b"[]",
        b'{"before":-1}',
        b'{"user":1}',
        b"\xff",
        b"\xef\xbb\xbf{}",
    ]
    for raw in bodies if operation.body else [b"{}", b"x"]:
        answer = await server.ask(operation.method, path, token=KEY, body=raw)
        assert (answer.status, answer.code) == (400, "bad_request"), raw


def test_every_refusal_of_the_description_is_one() -> None:
    statuses = {error.status for error in _errors()}
    for operation in OPERATIONS:
        assert set(operation.statuses) <= statuses, operation.name


def _errors() -> list[type[PushdError]]:
    found = [PushdError]
    for kind in found:
        found += kind.__subclasses__()
    return found


@each_admin
def test_examples_are_right(operation: Operation) -> None:
    for param in operation.params:
        if param.example:
            param.parse(param.example)
        if param.default is not None and not isinstance(param.default, bool | int):
            assert param.default == "" or param.parse(param.default)
    if operation.body is not None:
        msgspec.json.decode(operation.body.example, type=operation.body.type)

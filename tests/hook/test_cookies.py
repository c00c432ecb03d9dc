"""Cookies alone, without a token: whose they are, and which pages may have them used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.app import KEY, Server, running_server, until
from tests.support.http import request
from tests.support.logins import COOKIE, HTTP_WAYS, TOKEN, WAYS, Logins, logins, person, serving
from tests.support.websocket import Closed

OURS = "https://app.example.com"
OTHERS = "https://evil.example.net"
SENT = {"Cookie": COOKIE}
PATH = "/v1/channels/news/messages"


@pytest.fixture
async def known() -> AsyncIterator[Logins]:
    async with logins() as made:
        yield made


@pytest.fixture
async def node(tmp_path: Path, known: Logins) -> AsyncIterator[Server]:
    async with serving(tmp_path, known, origins=(OURS,)) as server:
        yield server


OF_A_PAGE = [way for way in WAYS if "address" not in way and "first frame" not in way]
# Whether such a request counts. The host that is asked is localhost.
PAGES: dict[str, tuple[dict[str, str], bool]] = {
    "of the list": ({"Origin": OURS}, True),
    "of the same host": ({"Origin": "http://localhost"}, True),
    "of somebody else": ({"Origin": OTHERS}, False),
    "of nowhere": ({"Origin": "null"}, False),
    "the same host, says the browser": ({"Sec-Fetch-Site": "same-origin"}, True),
    "another host of ours": ({"Sec-Fetch-Site": "same-site"}, False),
    "another site": ({"Sec-Fetch-Site": "cross-site"}, False),
    "typed": ({"Sec-Fetch-Site": "none"}, False),
    "another site with our origin": ({"Sec-Fetch-Site": "cross-site", "Origin": OTHERS}, False),
    "no browser": ({}, False),
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("way", [*HTTP_WAYS, "events, header"])
async def test_pages_that_have_their_users_cookies_sent(
    node: Server, known: Logins, way: str, page: str
) -> None:
    headers, counts = PAGES[page]
    said = await WAYS[way](node, None, {**SENT, **headers})
    # Of pages that may not, nobody is even asked about.
    assert len(known.asked) == counts
    if counts:
        assert said == "in"
        assert known.asked[0].json["token"] is None
        assert known.asked[0].json["headers"] == {"cookie": COOKIE}
    else:
        assert said == ("forbidden" if "Origin" in headers else "unauthorized")
        assert node.hub.counters.publishes == 0


FORMS = [
    "application/x-www-form-urlencoded",
    "text/plain",
    "multipart/form-data; boundary=x",
    "",
    "application/json-not",
]


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("path", [PATH, "/v1/publish", "/v1/pull", "/v1/ack"])
async def test_no_form_can_send_anything(node: Server, known: Logins, path: str, kind: str) -> None:
    """Not even of a page that may: what a script of its own sends says that it is JSON."""
    headers = {**SENT, "Origin": OURS, **({"Content-Type": kind} if kind else {})}
    answer = await node.ask("POST", path, body=b'{"data":1}', headers=headers)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert known.asked == []
    assert node.hub.counters.messages == 0


async def test_with_a_token_forms_are_as_before(node: Server) -> None:
    headers = {**SENT, "Content-Type": "text/plain"}
    answer = await node.ask("POST", PATH, token=TOKEN, body=b"hello", headers=headers)
    assert answer.status == 201


async def test_a_websocket_by_cookie(node: Server, known: Logins) -> None:
    for header in (f"Origin: {OURS}\r\n", "Origin: http://localhost\r\n", ""):
        async with node.socket(header=f"Cookie: {COOKIE}\r\n{header}") as socket:
            assert (await socket.expect("hello"))["user"] == "alice"
    assert len(known.asked) == 1
    async with node.peer() as peer:
        lines = {**SENT, "Origin": OTHERS, "Upgrade": "websocket", "Connection": "Upgrade"}
        lines |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "A" * 22 + "=="}
        assert (await peer.ask("GET", "/v1/ws", headers=lines)).status == 403


async def test_cookies_that_nobody_knows_wait_for_the_first_frame(
    node: Server, known: Logins
) -> None:
    """A page has all kinds of cookies; its token may still come."""
    async with node.socket(header="Cookie: analytics=1\r\n") as socket:
        await until(lambda: known.asked and not node.hub.hook.asking)
        await socket.send({"type": "auth", "token": node.token("bob")})
        assert (await socket.expect("hello"))["user"] == "bob"


async def test_a_first_frame_and_a_refresh_bring_the_cookies_of_the_handshake(
    node: Server, known: Logins
) -> None:
    async with node.socket(header="Cookie: analytics=1\r\n") as socket:
        await socket.send({"type": "auth", "token": TOKEN})
        await socket.expect("hello")
        known.people["renewed"] = person()
        await socket.send({"type": "refresh", "token": "renewed"})
        await socket.expect("refreshed")
    sent = [(each.json["token"], each.json["headers"]) for each in known.asked]
    assert sent == [(each, {"cookie": "analytics=1"}) for each in (None, TOKEN, "renewed")]


async def test_an_application_that_is_down_says_nothing_of_cookies(
    tmp_path: Path, known: Logins
) -> None:
    """Who brings a good token after all is let in; who does not is told to come again."""
    assert known.app is not None
    await known.app.stop()
    header = f"Cookie: {COOKIE}\r\n"
    async with (
        serving(tmp_path, known, auth_timeout=1.0) as server,
        server.socket(header=header) as socket,
    ):
        bye = await socket.expect("bye")
        assert (bye["code"], bye["reason"], bye["reconnect"]) == (1013, "not_ready", True)
        assert bye["retry_after_ms"] >= 1000
        with pytest.raises(Closed):
            await socket.message()
    async with serving(tmp_path, known) as server, server.socket(header=header) as socket:
        await socket.send({"type": "auth", "token": server.token()})
        await socket.expect("hello")


async def test_headers_that_are_not_named_say_nothing(tmp_path: Path, known: Logins) -> None:
    async with serving(tmp_path, known, auth_headers=("x-user",)) as server:
        answer = await server.ask("GET", PATH, headers={**SENT, "Origin": "http://localhost"})
        assert (answer.status, answer.code) == (401, "unauthorized")
        async with server.socket(header=f"Cookie: {COOKIE}\r\n") as socket:
            await socket.send({"type": "auth", "token": server.token()})
            await socket.expect("hello")
    assert known.asked == []


async def test_pages_of_one_connection_are_asked_each(node: Server, known: Logins) -> None:
    """A browser sends requests of several pages over one connection."""
    async with node.peer() as peer:
        for page, status in ((OURS, 200), (OTHERS, 403), (OURS, 200)):
            headers = {**SENT, "Origin": page}
            answer = await peer.ask("GET", f"{PATH}?after=0", headers=headers)
            assert answer.status == status
        assert (await peer.ask("GET", f"{PATH}?after=0", headers={"Origin": OURS})).status == 401
    assert len(known.asked) == 1


async def test_scripts_may_send_cookies_only_where_they_count(node: Server, tmp_path: Path) -> None:
    allow = "access-control-allow-credentials"
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"{PATH}?after=0", {"token": KEY}),
        ("OPTIONS", PATH, {}),
        ("GET", "/v1/stats", {"token": KEY}),
    ]
    for method, path, members in asked:
        for origin, expected in ((OURS, "true"), (OTHERS, None)):
            answer = await node.ask(method, path, headers={"Origin": origin}, **members)
            assert answer.headers.get(allow) == expected, (path, origin)
    async with running_server(tmp_path / "other", origins=(OURS,)) as plain:
        for method, path, members in asked:
            answer = await plain.ask(method, path, headers={"Origin": OURS}, **members)
            assert allow not in answer.headers


async def test_a_stream_of_another_page_is_not_begun(node: Server, known: Logins) -> None:
    """An image of somebody's page: no Origin, but the browser says where it is."""
    async with node.peer() as peer:
        headers = {**SENT, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}
        await peer.write(request("GET", "/v1/events", headers=headers))
        assert (await peer.answer()).status == 401
    await trio.lowlevel.checkpoint()
    assert known.asked == []
    assert not node.hub.sessions.by_id

"""Groups over HTTP: members, pages, kicks; what a limited key may; ten thousand at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pushd import membership
from pushd.web.admin.groups import MOST
from tests.support.app import KEY, Server, running_server, until
from tests.support.events import listening
from tests.support.groups import join
from tests.support.http import request
from tests.support.websocket import Closed
from tests.web.keys import key

GROUP = "/v1/groups/staff"
MEMBERS = f"{GROUP}/members"
KEYS = (
    key("group-key", "read", "admin", patterns=("group:staff",)),
    key("both-key", "read", "admin", patterns=("group:staff", "user:a*")),
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path, keys=KEYS) as running:
        yield running


async def ask(
    server: Server, method: str, path: str, status: int = 200, token: str = KEY, **members: Any
) -> Any:
    answer = await server.ask(method, path, token=token, **members)
    assert answer.status == status, answer
    return answer.json


def changed(added: int, removed: int, members: int) -> dict[str, Any]:
    return {"group": "staff", "added": added, "removed": removed, "members": members}


async def users(server: Server, token: str = KEY) -> list[str]:
    """All members, through ``next``."""
    found: list[str] = []
    following = ""
    while following is not None:
        path = f"{MEMBERS}?limit=2&next={following}"
        page = await ask(server, "GET", path, token=token)
        assert len(page["items"]) <= 2
        found += [item["user"] for item in page["items"]]
        following = page["next"]
    return found


async def test_members_come_and_go(server: Server) -> None:
    assert await users(server) == []
    before = int(time.time() * 1000)
    assert await ask(server, "PUT", f"{MEMBERS}/bob") == changed(1, 0, 1)
    assert await ask(server, "PUT", f"{MEMBERS}/bob") == changed(0, 0, 1)
    stored = await server.publish("group:staff", 1)
    body = {"add": ["amy", "amy", "bob", "é日"], "remove": ["nobody"]}
    assert await ask(server, "POST", MEMBERS, body=body) == changed(2, 0, 3)
    assert await users(server) == ["amy", "bob", "é日"]
    amy = await ask(server, "GET", f"{MEMBERS}/amy")
    assert before <= amy.pop("joined") <= int(time.time() * 1000)
    assert amy == {"user": "amy", "online": False, "cursor": f"{stored['epoch']}.1"}
    assert (await ask(server, "GET", f"{MEMBERS}/bob"))["cursor"] == "none.0"
    assert await ask(server, "DELETE", f"{MEMBERS}/bob") == changed(0, 1, 2)
    assert await ask(server, "DELETE", f"{MEMBERS}/bob") == changed(0, 0, 2)
    await ask(server, "GET", f"{MEMBERS}/bob", 404)
    body = {"add": ["cy"], "remove": ["amy"]}
    assert await ask(server, "POST", MEMBERS, body=body) == changed(1, 1, 2)
    assert await ask(server, "POST", MEMBERS, body={}) == changed(0, 0, 2)


async def test_groups_are_listed(server: Server) -> None:
    for group in ("staff", "night", "day"):
        await join(server, group, "amy", "bob")
    await join(server, "staff", "cy")
    found = await ask(server, "GET", "/v1/groups?limit=2")
    assert found["items"] == [{"group": "day", "members": 2}, {"group": "night", "members": 2}]
    found = await ask(server, "GET", f"/v1/groups?next={found['next']}")
    assert found == {"items": [{"group": "staff", "members": 3}], "next": None}
    found = await ask(server, "GET", "/v1/groups?prefix=n")
    assert [item["group"] for item in found["items"]] == ["night"]
    await ask(server, "GET", "/v1/groups/nobody", 404)
    async with (
        server.socket(token=server.token("amy")) as first,
        server.socket(token=server.token("amy")) as second,
        server.socket(token=server.token("eve")) as other,
    ):
        for socket in (first, second, other):
            await socket.expect("hello")
        found = await ask(server, "GET", GROUP)
        assert found == {"group": "staff", "members": 3, "online": 1}
        items = (await ask(server, "GET", MEMBERS))["items"]
        assert {item["user"]: item["online"] for item in items} == {
            "amy": True, "bob": False, "cy": False,
        }  # fmt: skip
        stats = await ask(server, "GET", "/v1/stats")
        assert (stats["groups"], stats["memberships"]) == (3, 7)


async def test_the_groups_of_a_user(server: Server) -> None:
    for group in ("staff", "night", "day"):
        await join(server, group, "amy")
    await join(server, "day", "bob")
    found = await ask(server, "GET", "/v1/users/amy/groups?limit=2")
    assert [(each["group"], each["members"]) for each in found["items"]] == [
        ("day", 2), ("night", 1),
    ]  # fmt: skip
    found = await ask(server, "GET", f"/v1/users/amy/groups?next={found['next']}")
    [item] = found["items"]
    assert found["next"] is None
    assert item.pop("joined") > 0
    assert item == {"group": "staff", "members": 1, "cursor": "none.0"}
    assert await ask(server, "GET", "/v1/users/eve/groups") == {"items": [], "next": None}


async def test_when_it_is_answered_everybody_has_been_told(server: Server) -> None:
    async with server.socket(token=server.token("amy")) as socket:
        await socket.expect("hello")
        await ask(server, "PUT", f"{MEMBERS}/amy")
        assert (await socket.expect("subscribed"))["heads"].keys() == {"group:staff"}
        await ask(server, "DELETE", f"{MEMBERS}/amy")
        assert (await socket.expect("unsubscribed"))["channels"] == ["group:staff"]
        await ask(server, "POST", MEMBERS, body={"add": ["amy", "bob"]})
        await socket.expect("subscribed")
        assert await ask(server, "DELETE", GROUP) == changed(0, 2, 0)
        await socket.expect("unsubscribed")


async def test_the_answer_waits_until_the_last_has_been_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "TURN_S", 0.0)  # one user in a round of the loop
    crowd = [f"a{number}" for number in range(500)]
    async with server.socket(token=server.token("z")) as socket:
        await socket.expect("hello")
        [session] = server.hub.sessions.by_id.values()
        await ask(server, "POST", MEMBERS, body={"add": [*crowd, "z"]})
        assert "group:staff" in session.subscriptions
        await ask(server, "POST", MEMBERS, body={"remove": [*crowd, "z"]})
        assert "group:staff" not in session.subscriptions
        await ask(server, "POST", MEMBERS, body={"add": [*crowd, "z"]})
        await ask(server, "DELETE", GROUP)
        assert "group:staff" not in session.subscriptions


async def test_a_deleted_group_leaves_nothing_to_read(server: Server) -> None:
    await join(server, "staff", "amy")
    await server.publish("group:staff", "secret")
    await ask(server, "DELETE", GROUP)
    await ask(server, "DELETE", GROUP, 404)
    await join(server, "staff", "eve")
    found = await server.pull("group:staff", server.token("eve"), after=0)
    assert found.json["messages"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", f"{MEMBERS}/a:b", b"", 400),
        ("PUT", "/v1/groups/a:b/members/amy", b"", 400),
        ("PUT", f"{MEMBERS}/" + "x" * 201, b"", 400),
        ("POST", MEMBERS, {"add": ["amy", "a b"]}, 400),
        ("POST", MEMBERS, {"add": ["amy"], "remove": ["amy"]}, 400),
        ("POST", MEMBERS, {"add": "amy"}, 400),
        ("POST", MEMBERS, {"members": ["amy"]}, 400),
        ("POST", MEMBERS, b"", 400),
        ("POST", MEMBERS, {"add": [f"u{n}" for n in range(MOST)], "remove": ["amy"]}, 413),
        ("POST", MEMBERS, b"[" * 1_200_000, 413),
        ("GET", f"{MEMBERS}?limit=0", b"", 400),
        ("GET", "/v1/groups?online=true", b"", 400),
    ],
    ids=lambda value: None,
)
async def test_what_is_wrong_changes_nothing(
    server: Server, method: str, path: str, body: Any, status: int
) -> None:
    answer = await server.ask(method, path, token=KEY, body=body)
    assert answer.status == status, answer
    assert answer.code
    assert len(server.hub.log.groups) == 0


async def test_which_of_many_users_is_wrong(server: Server) -> None:
    answer = await server.ask("POST", MEMBERS, token=KEY, body={"add": ["amy"], "remove": ["*"]})
    assert "User 2 of 2" in answer.json["detail"]


async def test_large_bodies_are_read_only_from_those_who_are_known(server: Server) -> None:
    body = b'{"add":["amy"]}'.ljust(500_000)
    head = {"Content-Type": "application/json", "Expect": "100-continue"}
    for token, status in ((None, 401), ("nonsense", 401), (KEY, 100)):
        answer = await server.ask("POST", MEMBERS, token=token, body=body, headers=head)
        assert answer.status == status


# -- limited keys -----------------------------------------------------------------------------


async def test_a_limited_key_reaches_whom_it_covers(server: Server) -> None:
    """``group-key`` covers the group and nobody's inbox; ``both-key`` those that begin with a."""
    await join(server, "staff", "amy", "bob", "ann")
    await join(server, "night", "amy")
    for token, seen in (("group-key", []), ("both-key", ["amy", "ann"])):
        assert await users(server, token) == seen
        listed = await ask(server, "GET", "/v1/groups", token=token)
        assert listed["items"] == [{"group": "staff", "members": 3}]
        assert (await ask(server, "GET", GROUP, token=token))["members"] == 3
        for path in ("/v1/groups/night", "/v1/groups/none", "/v1/groups/night/members"):
            await ask(server, "GET", path, 403, token)
        await ask(server, "DELETE", "/v1/groups/night", 403, token)
    for method in ("GET", "PUT", "DELETE"):
        await ask(server, method, f"{MEMBERS}/bob", 403, "both-key")
        await ask(server, method, f"{MEMBERS}/amy", 403, "group-key")
        await ask(server, method, f"{MEMBERS}/amy", 200, "both-key")
    await ask(server, "POST", MEMBERS, 403, "both-key", body={"add": ["al", "carl"]})
    await ask(server, "POST", MEMBERS, 200, "both-key", body={"add": ["al"]})
    assert await users(server) == ["al", "ann", "bob"]
    found = await ask(server, "GET", "/v1/users/ann/groups", token="both-key")
    assert [item["group"] for item in found["items"]] == ["staff"]
    await join(server, "night", "ann")
    again = await ask(server, "GET", "/v1/users/ann/groups", token="both-key")
    assert again == found
    await ask(server, "GET", "/v1/users/bob/groups", 403, "both-key")
    await ask(server, "GET", "/v1/users/ann/groups", 403, "group-key")
    assert await ask(server, "DELETE", GROUP, token="group-key") == changed(0, 3, 0)


# -- kicks --------------------------------------------------------------------------------------


async def test_a_group_is_kicked_on_every_transport(server: Server) -> None:
    await join(server, "staff", "amy", "bob", "cy", "offline")
    async with (
        server.socket(token=server.token("amy")) as first,
        server.socket(token=server.token("amy")) as second,
        listening(server, token=server.token("bob")) as stream,
        server.peer() as peer,
        server.socket(token=server.token("eve")) as other,
    ):
        for socket in (first, second, other):
            await socket.expect("hello")
        await stream.expect("hello")
        poll = request(
            "POST", "/v1/pull", token=server.token("cy"), body={"mine": True, "wait": 60}
        )
        await peer.write(poll)
        await until(lambda: server.hub.pulls.held)
        path = f"{GROUP}/sessions?reason=moved&reconnect=true"
        assert await ask(server, "DELETE", path) == {"kicked": 4}
        expected = (4009, "moved", True)
        for socket in (first, second):
            bye = await socket.expect("bye")
            assert (bye["code"], bye["reason"], bye["reconnect"]) == expected
            with pytest.raises(Closed):
                await socket.message()
        bye = (await stream.expect("bye")).data
        assert (bye["code"], bye["reason"], bye["reconnect"]) == expected
        [bye] = (await peer.answer()).json["notices"]
        assert (bye["type"], bye["code"], bye["reason"]) == ("bye", 4009, "moved")
        await other.send({"type": "ping"})
        await other.expect("pong")
    assert len(await users(server)) == 4
    assert await ask(server, "DELETE", "/v1/groups/none/sessions") == {"kicked": 0}


async def test_a_limited_key_kicks_whom_it_covers(server: Server) -> None:
    await join(server, "staff", "amy", "bob")
    async with (
        server.socket(token=server.token("amy")) as amy,
        server.socket(token=server.token("bob")) as bob,
    ):
        for socket in (amy, bob):
            await socket.expect("hello")
        assert await ask(server, "DELETE", f"{GROUP}/sessions", token="both-key") == {"kicked": 1}
        await amy.expect("bye")
        await bob.send({"type": "ping"})
        await bob.expect("pong")


# -- many ---------------------------------------------------------------------------------------


async def test_ten_thousand_members_in_one_request(server: Server) -> None:
    """In one transaction; a publish that comes meanwhile waits for it at most; and they page."""
    crowd = [f"user-{number:05}" for number in range(MOST)]
    async with server.socket(token=server.token(crowd[-1])) as socket:
        await socket.expect("hello")
        assert await ask(server, "POST", MEMBERS, body={"add": crowd}) == changed(MOST, 0, MOST)
        await socket.expect("subscribed")
        await server.publish("group:staff", 1)
        assert (await socket.expect("hint"))["channel"] == "group:staff"
        found: list[str] = []
        following = ""
        while following is not None:
            page = await ask(server, "GET", f"{MEMBERS}?limit=1000&next={following}")
            found += [item["user"] for item in page["items"]]
            following = page["next"]
        assert found == crowd
        assert await ask(server, "POST", MEMBERS, body={"remove": crowd}) == changed(0, MOST, 0)
        await socket.expect("unsubscribed")
    assert server.hub.log.groups._of_user == {}


async def test_what_is_logged_of_a_change(server: Server) -> None:
    await ask(server, "POST", MEMBERS, body={"add": ["amy", "bob"]})
    [entry] = [each for each in server.log if each["event"] == "done"]
    assert (entry["operation"], entry["group"], entry["add"]) == ("change_members", "staff", 2)

"""While sessions of other nodes are not known: nobody is taken for gone, and it is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pushd.core.names import SESSION_PREFIX
from tests.cluster.test_remote import Owner, owning, record
from tests.support.app import KEY, until
from tests.support.sessions import session


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Owner]:
    async with owning(tmp_path) as made:
        yield made


def offline(owner: Owner) -> list[str | None]:
    return [user for what, user in owner.heard if what == "offline"]


async def states(owner: Owner) -> dict[str, Any]:
    """Of every answer that says who is there: its state."""
    listed = await owner.get("/v1/channels/room:1/presence")
    users = await owner.get("/v1/users")
    user = await owner.get("/v1/users/alice")
    line = await owner.server.ask(
        "POST",
        "/v1/publish",
        token=KEY,
        headers={"Content-Type": "application/x-ndjson"},
        body=b'{"channel":"user:alice","data":1}',
    )
    return {
        "room": listed.get("state"),
        "users": users["items"][0].get("state"),
        "user": user.get("state"),
        "publish": (await owner.online("user:alice"))[1],
        "line": line.json.get("state"),
    }


async def test_nobody_leaves_meanwhile(owner: Owner) -> None:
    owner.remote.opened(record("r1", channels=["room:1"]))
    owner.remote.opened(record("r2", user="bob", channels=["room:1"]))
    assert await owner.in_room() == {"alice": {}, "bob": {}}
    owner.remote.set_known(False)
    owner.remote.closed("r1")
    owner.remote.closed("r2")
    async with session(owner.server, "carol"):
        pass
    await until(lambda: not owner.server.hub.sessions.by_id)
    owner.remote.opened(record("r3", user="dora", channels=["room:1"]))
    assert await owner.in_room() == {"alice": {}, "bob": {}, "dora": {}}
    assert await owner.online("user:alice") == (True, "unknown")
    assert offline(owner) == []
    # Bob has another session, of which was not heard before.
    owner.remote.opened(record("r4", user="bob", channels=["room:1"]))
    owner.remote.set_known(True)
    await until(lambda: len(offline(owner)) == 2)
    assert sorted(map(str, offline(owner))) == ["alice", "carol"]
    assert await owner.in_room() == {"bob": {}, "dora": {}}
    owner.remote.closed("r4")
    await until(lambda: "bob" in offline(owner))
    assert await owner.in_room() == {"dora": {}}


async def test_a_user_who_comes_and_goes_again_and_again_costs_one_place(owner: Owner) -> None:
    hub = owner.server.hub
    owner.remote.set_known(False)
    for number in range(100):
        owner.remote.opened(record(f"r{number}", channels=["room:1"]))
        owner.remote.closed(f"r{number}")
    assert (len(hub.presence._overdue), len(hub.rooms._overdue)) == (1, 1)
    owner.remote.set_known(True)
    await until(lambda: not len(hub.presence))
    assert offline(owner) == ["alice"]
    assert (len(hub.presence._overdue), len(hub.rooms._overdue), len(hub.rooms)) == (0, 0, 0)


async def test_answers_say_so(owner: Owner) -> None:
    owner.remote.opened(record("r1", channels=["room:1"]))
    assert set((await states(owner)).values()) == {None}
    owner.remote.set_known(False)
    assert set((await states(owner)).values()) == {"unknown"}
    owner.remote.set_known(True)
    assert set((await states(owner)).values()) == {None}


# -- channels of sessions


async def test_a_session_of_another_node_has_its_channel(owner: Owner) -> None:
    server = owner.server
    owner.remote.opened(record("r1"))
    assert (await owner.online("session:r1")) == (True, None)
    read = await server.pull("session:r1", token=server.token("alice"), after="0")
    assert [each["data"] for each in read.json["messages"]] == [1]
    assert (await server.pull("session:r1", token=server.token("bob"))).code == "forbidden"
    owner.remote.closed("r1")
    await until(lambda: SESSION_PREFIX + "r1" not in server.hub.log.heads)
    body = {"to": {"sessions": ["r1"]}, "message": {"data": 1}}
    refused = await server.ask("POST", "/v1/publish", token=KEY, body=body)
    assert refused.code == "not_found"


async def test_what_is_sent_to_a_session_that_nobody_knows_yet_is_kept(owner: Owner) -> None:
    """After a gap, or a start: its session may live on another node."""
    server = owner.server
    owner.remote.opened(record("ends"))
    assert (await owner.online("session:ends"))[0]
    owner.remote.set_known(False)
    for name in ("comes", "never"):
        assert await owner.online(SESSION_PREFIX + name) == (False, "unknown")
    owner.remote.closed("ends")
    server.hub.session_channels.clear(["session:older"])  # as at a start
    await owner.get("/v1/stats")
    heads = server.hub.log.heads
    assert {"session:comes", "session:never", "session:ends"} <= heads.keys()
    owner.remote.opened(record("comes"))
    owner.remote.set_known(True)
    await until(lambda: not {"session:never", "session:ends"} & heads.keys())
    assert "session:comes" in heads

"""``GET /v1/inbox``: the user's own channels, as ``hello`` tells them."""

from __future__ import annotations

from typing import Any

import pytest

from pushd.log import Marks
from tests.support.app import KEY, Server
from tests.support.http import Answer


async def inbox(server: Server, user: str = "alice", query: str = "", **members: Any) -> Any:
    token = server.token(user, **members)
    answer = await server.ask("GET", f"/v1/inbox{query}", token=token)
    assert answer.status == 200, answer
    return answer.json


def unread(page: Any) -> dict[str, int]:
    return {item["channel"]: item["unread"] for item in page["items"]}


async def publish(server: Server, channel: str, count: int) -> str:
    """The epoch."""
    for number in range(count):
        stored = await server.publish(channel, number)
    return str(stored["epoch"])


async def mark(server: Server, channel: str, cursor: str) -> None:
    path = f"/v1/channels/{channel}/read"
    answer = await server.ask("POST", path, token=server.token(), body={"cursor": cursor})
    assert answer.status == 204, answer


async def test_what_it_says(server: Server) -> None:
    epoch = await publish(server, "user:alice:orders", 5)
    await server.pull("user:alice:orders", server.token(device="d1"), after=f"{epoch}.4")
    await mark(server, "user:alice:orders", f"{epoch}.3")
    nothing = {"epoch": "none", "first": 1, "head": 0, "delivered": None, "read": None, "unread": 0}
    orders = {"channel": "user:alice:orders", "epoch": epoch, "first": 1, "head": 5, "unread": 2}
    marks = {"delivered": f"{epoch}.4", "read": f"{epoch}.3"}
    expected = {
        "items": [
            {"channel": "all", **nothing},
            {"channel": "user:alice", **nothing},
            {**orders, **marks},
        ],
        "next": None,
        "unread": 2,
    }
    assert await inbox(server, query="?device=d1") == expected
    assert await inbox(server, device="d1") == expected
    for query in ("", "?device=d2"):
        assert (await inbox(server, query=query))["items"][2] == {
            **orders,
            **marks,
            "delivered": None,
        }


async def test_it_is_what_hello_and_the_operators_are_told(server: Server) -> None:
    for channel, count in [("all", 2), ("user:alice", 3), ("user:alice:orders", 4), ("news", 5)]:
        epoch = await publish(server, channel, count)
    await mark(server, "user:alice", f"{server.hub.log.heads['user:alice'].epoch}.2")
    await mark(server, "news", f"{epoch}.1")
    assert unread(await inbox(server)) == {"all": 0, "user:alice": 1, "user:alice:orders": 4}
    await publish(server, "all", 3)
    page = await inbox(server)
    assert (unread(page), page["unread"]) == (
        {"all": 3, "user:alice": 1, "user:alice:orders": 4},
        8,
    )
    async with server.socket("/v1/ws?channels=news", token=server.token()) as socket:
        heads = (await socket.expect("hello"))["heads"]
    user = await server.ask("GET", "/v1/users/alice", token=KEY)
    by_operator = {each["channel"]: each["unread"] for each in user.json["channels"]}
    told = {channel: head["unread"] for channel, head in heads.items()}
    assert told == by_operator == {**unread(page), "news": 4}


async def test_pages_follow_each_other_and_the_first_has_the_sum(server: Server) -> None:
    names = [f"user:alice:{number}" for number in range(5)]
    for name in reversed(names):
        await publish(server, name, 2)
    await publish(server, "user:alice", 1)
    found: list[str] = []
    query, sums = "?limit=2", []
    while True:
        page = await inbox(server, query=query)
        found += unread(page)
        sums.append(page["unread"])
        if page["next"] is None:
            break
        assert len(page["items"]) == 2
        query = f"?limit=2&next={page['next']}"
    assert found == ["all", "user:alice", *names]
    assert sums == [11, None, None, None]
    assert (await inbox(server, query="?next=zzz"))["items"] == []


async def test_many_requests_on_one_connection(server: Server) -> None:
    await publish(server, "user:alice", 1)
    async with server.peer() as peer:
        for _ in range(3):
            answer: Answer = await peer.ask("GET", "/v1/inbox", token=server.token())
            assert (answer.status, answer.json["unread"]) == (200, 1)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers.get("connection") != "close"


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "device=a:b", "limit=1&limit=1", f"next={'a' * 1025}"],
)
async def test_parameters_that_are_none(server: Server, query: str) -> None:
    answer = await server.ask("GET", f"/v1/inbox?{query}", token=server.token())
    assert (answer.status, answer.code) == (400, "bad_request")


async def test_a_next_that_is_none(server: Server) -> None:
    answer = await server.ask("GET", f"/v1/inbox?next={'a' * 1025}", token=server.token())
    assert (answer.status, answer.code) == (400, "bad_request")


async def test_who_may_ask(server: Server) -> None:
    assert (await server.ask("GET", "/v1/inbox", token=KEY)).code == "forbidden"
    pinned = server.token(device="d1")
    answer = await server.ask("GET", "/v1/inbox?device=d2", token=pinned)
    assert (answer.status, answer.code) == (403, "forbidden")
    answer = await server.ask("POST", "/v1/inbox", token=server.token(), body=b"{}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, OPTIONS")


async def test_a_token_that_is_revoked_while_the_disk_is_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = server.hub.log.load_marks

    def read_then_revoke(user: str, device: str | None, names: list[str], done: Any) -> None:
        def loaded(marks: dict[str, Marks]) -> None:
            server.hub.access.standing.revoked["user", "alice"] = (9e9, 9e9)
            done(marks)

        real(user, device, names, loaded)

    monkeypatch.setattr(server.hub.log, "load_marks", read_then_revoke)
    answer = await server.ask("GET", "/v1/inbox", token=server.token())
    assert (answer.status, answer.code) == (401, "unauthorized")


async def test_it_needs_no_more_than_one_read_of_the_disk(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        await publish(server, f"user:alice:{number}", 1)
    jobs: list[Any] = []
    read = server.hub.log._read

    def counted(job: Any) -> None:
        jobs.append(job)
        read(job)

    monkeypatch.setattr(server.hub.log, "_read", counted)
    assert (await inbox(server))["unread"] == 50
    assert len(jobs) == 1

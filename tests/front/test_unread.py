"""What is unread at the first sight of a user and later, as a session is told it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.app import KEY, Server, running_server
from tests.support.events import listening
from tests.support.sessions import session


async def told(server: Server, user: str = "alice", **members: Any) -> dict[str, int | None]:
    """What ``hello`` says, by channel."""
    async with server.socket("/v1/ws?channels=news", token=server.token(user, **members)) as socket:
        heads = (await socket.expect("hello"))["heads"]
    return {channel: head["unread"] for channel, head in heads.items()}


async def publish(server: Server, channel: str, count: int) -> str:
    """The cursor of the last."""
    for number in range(count):
        stored = await server.publish(channel, number)
    return f"{stored['epoch']}.{stored['seq']}"


async def of_user(server: Server, user: str = "alice") -> dict[str, int | None]:
    answer = await server.ask("GET", f"/v1/users/{user}", token=KEY)
    return {channel["channel"]: channel["unread"] for channel in answer.json["channels"]}


async def test_at_the_first_sight_inboxes_count_from_their_start_and_all_from_now(
    server: Server,
) -> None:
    for channel in ("all", "user:alice", "user:alice:orders", "news"):
        await publish(server, channel, 5)
    own = {"user:alice": 5, "user:alice:orders": 5}
    # A service that looks is no sight of the user.
    assert await of_user(server) == {"all": 0, **own}
    await publish(server, "all", 1)
    assert await told(server) == {"all": 0, **own, "news": None}
    await publish(server, "all", 2)
    await publish(server, "user:alice", 2)
    assert await told(server) == {"all": 2, "user:alice": 7, "user:alice:orders": 5, "news": None}
    assert await told(server, "bob") == {"all": 0, "user:bob": 0, "news": None}


async def test_it_survives_a_restart(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        await publish(server, "all", 3)
        await told(server)
        await told(server, "bob")
        await publish(server, "all", 2)
        await publish(server, "user:alice", 2)
        token = server.token()
        mark = {"cursor": f"{server.hub.log.heads['all'].epoch}.4"}
        assert (await server.ask("POST", "/v1/channels/all/read", token=token, body=mark)).status
    async with running_server(tmp_path) as server:
        await publish(server, "all", 1)
        assert await told(server) == {"all": 2, "user:alice": 2, "news": None}
        assert await told(server, "bob") == {"all": 3, "user:bob": 0, "news": None}
        assert await told(server, "carol") == {"all": 0, "user:carol": 0, "news": None}


async def test_seen_before_anything_was_sent_to_all(server: Server) -> None:
    assert await told(server) == {"all": 0, "user:alice": 0, "news": None}
    await publish(server, "all", 2)
    assert (await told(server))["all"] == 2


async def test_a_trim_takes_from_what_is_unread_and_a_new_life_counts_anew(server: Server) -> None:
    await publish(server, "all", 2)
    await told(server)
    await publish(server, "all", 5)
    await publish(server, "user:alice", 5)
    for channel, before, unread in [("all", 5, 3), ("user:alice", 4, 2), ("user:alice", 6, 0)]:
        path = f"/v1/channels/{channel}/trim"
        assert (await server.ask("POST", path, token=KEY, body={"before": before})).status == 200
        assert (await told(server))[channel] == unread
    for channel in ("all", "user:alice"):
        assert (await server.ask("DELETE", f"/v1/channels/{channel}", token=KEY)).status == 204
    assert await told(server) == {"all": 0, "user:alice": 0, "news": None}
    for channel in ("all", "user:alice"):
        await publish(server, channel, 2)
    # Who was seen before has missed nothing of the new life; who comes now begins now.
    assert await told(server) == {"all": 2, "user:alice": 2, "news": None}
    assert (await told(server, "bob"))["all"] == 0


async def test_a_poll_of_a_device_is_a_sight_as_well(server: Server) -> None:
    await publish(server, "all", 3)
    token = server.token(device="d1")
    epoch = server.hub.log.heads["all"].epoch
    for body in ({"mine": True}, {"mine": True, "cursors": {"all": f"{epoch}.3"}}):
        assert (await server.ask("POST", "/v1/pull", token=token, body=body)).status == 200
        await publish(server, "all", 1)
    assert (await told(server))["all"] == 2


async def test_subscribed_tells_it_and_so_does_a_new_inbox(server: Server) -> None:
    cursor = await publish(server, "news", 4)
    async with session(server) as socket:
        mark = cursor.replace(".4", ".1")
        await socket.send({"type": "read", "channel": "news", "cursor": mark})
        await socket.send({"type": "subscribe", "channels": {"news": "0", "other": "0"}})
        heads = (await socket.expect("subscribed"))["heads"]
        assert {name: head["unread"] for name, head in heads.items()} == {"news": 3, "other": None}
        await publish(server, "user:alice:orders", 1)
        heads = (await socket.expect("subscribed"))["heads"]
        assert heads["user:alice:orders"]["unread"] == 1


async def test_an_event_stream_tells_the_same_and_a_service_is_told_nothing(server: Server) -> None:
    await publish(server, "user:alice", 2)
    async with listening(server, token=server.token()) as stream:
        heads = (await stream.expect("hello")).data["heads"]
        assert (heads["user:alice"]["unread"], heads["all"]["unread"]) == (2, 0)
    async with server.socket("/v1/ws?channels=user:alice", token=KEY) as socket:
        assert "unread" not in (await socket.expect("hello"))["heads"]["user:alice"]


async def test_an_erased_user_is_seen_for_the_first_time_again(server: Server) -> None:
    await told(server)
    await publish(server, "all", 3)
    assert (await told(server))["all"] == 3
    assert (await server.ask("DELETE", "/v1/users/alice", token=KEY)).status == 200
    assert (await told(server))["all"] == 0

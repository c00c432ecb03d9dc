"""A named inbox comes into being with its first message: who is connected must learn of it."""

from __future__ import annotations

import trio

from pushd.inboxes import Inboxes
from tests.support.app import Server, until


def test_only_named_inboxes_are_learned_and_only_once() -> None:
    inboxes = Inboxes()
    assert inboxes.learn("user:carol") is None
    assert inboxes.learn("news:carol:x") is None
    assert inboxes.learn("user:carol:bills") == "carol"
    assert inboxes.learn("user:carol:bills") is None
    assert inboxes.of("carol") == ["user:carol", "user:carol:bills"]
    assert inboxes.of("dave") == ["user:dave"]


def test_a_deleted_one_is_forgotten_and_can_come_again() -> None:
    inboxes = Inboxes()
    inboxes.learn_all(["user:carol:bills", "user:carol:late", "user:dave"])
    for channel in ("user:carol:bills", "user:carol:other", "user:carol", "user:eve:x", "news"):
        inboxes.forget(channel)
    assert inboxes.of("carol") == ["user:carol", "user:carol:late"]
    inboxes.forget("user:carol:late")
    assert inboxes._named == {}, "nothing stays of users without named inboxes"
    assert inboxes.learn("user:carol:bills") == "carol"


async def test_a_live_session_follows_a_new_inbox(server: Server) -> None:
    async with server.socket(token=server.token("carol")) as socket:
        await socket.expect("hello")
        await server.publish("user:dave:late", 0)
        first = await server.publish("user:carol:late", 1)
        told = await socket.expect("subscribed")
        assert list(told["heads"]) == ["user:carol:late"]
        assert told["heads"]["user:carol:late"]["head"] == first["seq"] == 1
        await server.publish("user:carol:late", 2)
        hint = await socket.expect("hint")
        assert (hint["channel"], hint["seq"]) == ("user:carol:late", 2)


async def test_a_held_multi_pull_is_answered_by_a_new_inbox(server: Server) -> None:
    token = server.token("carol")
    async with server.peer() as peer, trio.open_nursery() as nursery:

        async def publish() -> None:
            await until(lambda: server.hub.pulls.held)
            await server.publish("user:carol:late", 1)

        nursery.start_soon(publish)
        answer = await peer.ask("POST", "/v1/pull", token=token, body={"mine": True, "wait": 60})
    channel = answer.json["channels"]["user:carol:late"]
    assert [message["data"] for message in channel["messages"]] == [1]
    assert not server.hub.pulls.held
    assert not server.hub.fanout.topics

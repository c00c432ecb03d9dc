"""What docs/guide/sending.md promises: nobody asks first who is online, or declares anything."""

from __future__ import annotations

from pathlib import Path

from pushd.settings import Namespace
from tests.support.app import KEY, Server, running_server, until


async def test_sending_to_a_user_who_is_offline_is_the_same_call(server: Server) -> None:
    """Never seen, online, or gone again: the same answer but for ``online``, and it arrives."""
    token = server.token("alice", device="phone")
    body = {"to": {"users": ["alice"]}, "message": {"data": 1}}

    async def send() -> bool:
        answer = await server.ask("POST", "/v1/publish", token=KEY, body=body)
        assert answer.status == 200
        [result] = answer.json["results"]
        assert set(result) == {"channel", "epoch", "seq", "id", "at", "online"}
        return bool(result["online"])

    online = [await send()]
    async with server.socket(token=token) as socket:
        hello = await socket.expect("hello")
        assert hello["heads"]["user:alice"]["head"] == 1
        online.append(await send())
        assert (await socket.expect("hint"))["seq"] == 2
    await until(lambda: not server.hub.sessions.by_id)
    await send()
    assert online == [False, True]
    pulled = (await server.pull("user:alice", token)).json
    assert [each["seq"] for each in pulled["messages"]] == [1, 2, 3]


async def test_a_topic_needs_no_declaration(server: Server) -> None:
    """It is asked for before there is one, and comes into being with its first message."""
    token = server.token("alice", subscribe=["order:*"])
    empty = await server.pull("order:123", token, after=0)
    assert (empty.status, empty.json["messages"]) == (200, [])
    assert server.hub.log.heads == {}, "asking makes nothing"
    async with server.socket("/v1/ws?channels=order:123", token=token) as socket:
        assert "order:123" in (await socket.expect("hello"))["heads"]
        await server.publish("order:123", "paid")
        assert (await socket.expect("hint"))["channel"] == "order:123"
    pulled = await server.pull("order:123", token, after=empty.json["next"])
    assert [each["data"] for each in pulled.json["messages"]] == ["paid"]


async def test_a_broadcast_is_one_message_however_many_users_there_are(server: Server) -> None:
    names = [f"u{number}" for number in range(20)]
    for name in names:
        await server.publish(f"user:{name}", 1)
    before = server.hub.log.statistics().messages
    body = {"to": {"all": True}, "message": {"data": "to all"}}
    assert (await server.ask("POST", "/v1/publish", token=KEY, body=body)).status == 200
    assert server.hub.log.statistics().messages == before + 1
    for name in names:
        pulled = await server.pull("all", server.token(name), last=1)
        assert [each["data"] for each in pulled.json["messages"]] == ["to all"]


async def test_messages_for_those_who_are_online_now(tmp_path: Path) -> None:
    """Whoever is there has it; whoever comes back later begins with what is left, untold."""
    rules = {"typing": Namespace(public=True, ephemeral=True, retention={"messages": 1})}
    async with running_server(tmp_path, namespaces=rules, retention_interval=0.1) as server:
        alice, bob = server.token("alice"), server.token("bob")
        await server.publish("typing:room", 0)
        left_at = (await server.pull("typing:room", bob, after=0)).json["next"]
        async with server.socket("/v1/ws?channels=typing:room", token=alice) as socket:
            await socket.expect("hello")
            for number in range(1, 4):
                stored = await server.publish("typing:room", number)
                assert (await socket.expect("hint"))["seq"] == stored["seq"]
                after = f"{stored['epoch']}.{stored['seq'] - 1}"
                pulled = await server.pull("typing:room", alice, after=after)
                assert [each["data"] for each in pulled.json["messages"]] == [number]
        head = server.hub.log.heads["typing:room"]
        while head.first < head.seq:
            await server.pull("typing:room", bob, last=1)  # until what is old has gone
        late = await server.pull("typing:room", bob, after=left_at)
        assert late.status == 200
        assert [each["data"] for each in late.json["messages"]] == [3]

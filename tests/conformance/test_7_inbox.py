"""Section 7: the inbox, unread, read and delivered apart, receipts."""

from __future__ import annotations

from typing import Any

from tests.conformance.api import KEY, Api, fill


async def inbox(api: Api, token: str) -> dict[str, Any]:
    """Items by channel, without the channel."""
    answer = await api.ask("GET", "/v1/inbox", token=token)
    assert answer.status == 200, answer
    assert answer.json["next"] is None
    items = {item.pop("channel"): item for item in answer.json["items"]}
    assert answer.json["unread"] == sum(item["unread"] for item in items.values())
    return items


async def test_unread_at_the_first_sight(api: Api) -> None:
    await fill(api, 3, "all")
    epoch = await fill(api, 4, "user:alice")
    token = api.server.token("alice", device="d1")
    items = await inbox(api, token)
    assert list(items) == ["all", "user:alice"]
    assert items["all"]["unread"] == 0
    head = {"epoch": epoch, "first": 1, "head": 4}
    assert items["user:alice"] == {**head, "delivered": None, "read": None, "unread": 4}
    await fill(api, 2, "all")
    assert (await inbox(api, token))["all"]["unread"] == 2
    async with api.socket(token=token) as socket:
        heads = (await socket.expect("hello"))["heads"]
        assert {name: head["unread"] for name, head in heads.items()} == {"all": 2, "user:alice": 4}


async def test_read_and_delivered_are_two_things(api: Api) -> None:
    epoch = await fill(api, 4, "user:alice")
    token = api.server.token("alice", device="d1")
    body = {"cursor": f"{epoch}.3"}
    path = "/v1/channels/user:alice/read"
    assert (await api.ask("POST", path, token=token, body=body)).status == 204
    item = (await inbox(api, token))["user:alice"]
    assert (item["delivered"], item["read"], item["unread"]) == (None, f"{epoch}.3", 1)
    cursors = {"cursors": {"user:alice": f"{epoch}.2"}}
    assert (await api.ask("POST", "/v1/ack", token=token, body=cursors)).status == 204
    item = (await inbox(api, token))["user:alice"]
    assert (item["delivered"], item["read"], item["unread"]) == (f"{epoch}.2", f"{epoch}.3", 1)
    for seq, delivered in [(2, {"d1": f"{epoch}.2"}), (3, {})]:
        path = f"/v1/channels/user:alice/receipts?seq={seq}"
        [receipt] = (await api.ask("GET", path, token=KEY)).json["items"]
        assert receipt == {"user": "alice", "delivered": delivered, "read": f"{epoch}.3"}


async def test_an_own_message_is_read_and_the_other_devices_are_told(api: Api) -> None:
    await fill(api, 3)
    token = api.server.token("alice", subscribe=["news"], publish=["news"])
    async with api.socket("/v1/ws?channels=news", token=token) as socket:
        assert (await socket.expect("hello"))["heads"]["news"]["unread"] is None
        path, body = "/v1/channels/news/messages", {"data": 4}
        at = (await api.ask("POST", path, token=token, body=body)).json
        cursor = f"{at['epoch']}.4"
        assert await socket.expect("read") == {"type": "read", "channel": "news", "cursor": cursor}
    async with api.socket("/v1/ws?channels=news", token=token) as socket:
        assert (await socket.expect("hello"))["heads"]["news"]["unread"] == 0


async def test_an_inbox_is_of_a_user(api: Api) -> None:
    answer = await api.ask("GET", "/v1/inbox", token=KEY)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert (await api.ask("GET", "/v1/inbox")).status == 401

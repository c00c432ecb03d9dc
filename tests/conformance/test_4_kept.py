"""Section 4, what is kept: trimmed, redacted, deleted; and retries that come late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pushd.settings import Namespace
from tests.conformance.api import KEY, Answer, Api, fill, seqs, serving

NEWS = "/v1/channels/news"


async def trim(api: Api, before: int, channel: str = "news") -> Any:
    path = f"/v1/channels/{channel}/trim"
    answer = await api.ask("POST", path, token=KEY, body={"before": before})
    assert answer.status == 200
    return answer.json


async def retry(api: Api, data: Any) -> Answer:
    body = {"data": data, "id": "x"}
    return await api.ask("POST", f"{NEWS}/messages", token=KEY, body=body)


async def test_what_was_trimmed(api: Api) -> None:
    epoch = await fill(api, 5)
    before = await api.pull("news", after=f"{epoch}.3")
    assert (before.json["first"], seqs(before)) == (1, [4, 5])
    assert await trim(api, 4) == {"channel": "news", "epoch": epoch, "first": 4, "head": 5}
    assert seqs(await api.pull("news", after=0)) == [4, 5]
    after = await api.pull("news", after=f"{epoch}.3")
    assert (after.json["first"], seqs(after)) == (4, [4, 5]), "no answer of before"
    assert (await api.pull("news", after=f"{epoch}.2")).code == "expired"
    assert await trim(api, 2) == {"channel": "news", "epoch": epoch, "first": 4, "head": 5}
    assert seqs(await api.pull("news", after=0)) == [4, 5], "what is gone stays gone"
    assert (await api.pull("news", after=f"{epoch}.2")).code == "expired"
    await trim(api, 6)
    empty = (await api.pull("news", after=0)).json
    assert (empty["first"], empty["head"], empty["messages"]) == (6, 5, [])
    assert (await api.publish("news", 6))["seq"] == 6


async def test_where_old_messages_are_not_missed(tmp_path: Path, kept: bool) -> None:
    async with serving(tmp_path, kept, namespaces={"typing": Namespace(ephemeral=True)}) as api:
        epoch = await fill(api, 5, "typing:1")
        await trim(api, 4, "typing:1")
        assert seqs(await api.pull("typing:1", after=f"{epoch}.1")) == [4, 5]
        assert (await api.pull("typing:1", after=f"{epoch}.9")).code == "cursor_ahead"


async def test_what_was_redacted(api: Api) -> None:
    await api.publish("news", 1)
    at = await api.publish("news", "secret", id="x", type="t", sender="bob")
    await api.publish("news", 3)
    await api.pull("news", after=0)
    done = await api.ask("DELETE", f"{NEWS}/messages/2", token=KEY)
    assert done.status == 204
    answers = [
        await api.pull("news", after=0),
        await api.pull("news", last=3),
        await api.ask("POST", "/v1/pull", token=KEY, body={"cursors": {"news": "0"}}),
    ]
    for answer in answers:
        body = answer.json if "messages" in answer.json else answer.json["channels"]["news"]
        assert [message["data"] for message in body["messages"]] == [1, None, 3]
        assert body["messages"][1] == {
            "seq": 2,
            "id": "x",
            "type": "redacted",
            "sender": "bob",
            "at": at["at"],
            "data": None,
        }
    body = {"data": "secret", "id": "x", "type": "t", "sender": "bob"}
    again = await api.ask("POST", f"{NEWS}/messages", token=KEY, body=body)
    assert (again.status, again.json["seq"]) == (200, 2), "a late retry brings nothing back"


async def test_what_was_deleted(api: Api) -> None:
    token = api.server.token("alice", device="phone")
    assert (await retry(api, 1)).status == 201
    epoch = (await api.publish("news", 2))["epoch"]
    await api.pull("news", token, after=f"{epoch}.2")
    assert (await api.ask("DELETE", NEWS, token=KEY)).status == 204
    for cursor in ("0", "head"):
        gone = (await api.pull("news", after=cursor)).json
        assert (gone["epoch"], gone["first"], gone["head"]) == ("none", 1, 0)
        assert (gone["next"], gone["messages"]) == ("none.0", [])
    reset = await api.pull("news", after=f"{epoch}.2")
    assert (reset.code, reset.json["resume"]) == ("epoch_changed", "none.0")
    assert (await api.pull("news", token)).json["epoch"] == "none"
    late = await retry(api, 1)
    assert (late.status, late.json["epoch"], late.json["seq"]) == (200, epoch, 1)
    assert (await retry(api, 2)).code == "conflict"
    assert (await api.pull("news", after=0)).json["epoch"] == "none", "nothing was stored"
    new = await api.publish("news", 1)
    assert new["epoch"] > epoch
    assert new["seq"] == 1
    reset = await api.pull("news", after=f"{epoch}.2")
    assert (reset.code, reset.json["resume"]) == ("epoch_changed", f"{new['epoch']}.0")
    assert (await api.pull("news", token)).code == "epoch_changed", "delivered in the old life"
    assert seqs(await api.pull("news", after="none.0")) == [1]


async def test_a_late_retry_of_what_was_trimmed(api: Api) -> None:
    assert (await retry(api, 1)).status == 201
    await api.publish("news", 2)
    await trim(api, 3)
    assert (await retry(api, 1)).status == 200
    assert (await retry(api, 2)).code == "conflict"
    assert seqs(await api.pull("news", after=0)) == []

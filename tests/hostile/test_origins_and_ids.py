"""Origins that only look right; ids that are used twice for what is not the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hostile.node import Node
from tests.support.app import KEY
from tests.support.http import request

LISTED = "https://app.example.com"
SETTINGS = {"origins": LISTED}

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}

ORIGINS: dict[str, bool] = {
    LISTED: True,
    "null": False,
    "": False,
    "*": False,
    f"{LISTED}.evil.net": False,
    f"{LISTED}:443": False,
    f"{LISTED}:8443": False,
    f"{LISTED}/": False,
    f"{LISTED}@evil.net": False,
    f"{LISTED}, https://evil.net": False,
    "https://evil-app.example.com": False,
    "https://evil.net/https://app.example.com": False,
    "http://app.example.com": False,
    "https://APP.example.com": False,
    "HTTPS://app.example.com": False,
    "https://app.example.com%00": False,
    "https://app.example.co": False,
    "https://appXexample.com": False,
    "https://xn--app.example.com": False,
    "file://": False,
    "https://localhost": True,  # the very host that was asked: a page of this server
    "http://localhost:8080": False,
    "https://localhost.evil.net": False,
}


@pytest.mark.parametrize("origin", ORIGINS)
async def test_the_one_list_of_origins(node: Node, origin: str) -> None:
    """For upgrades, event streams and CORS; a page of the same host needs no CORS."""
    allowed = ORIGINS[origin]
    token = node.token()
    headers = {**UPGRADE, "Origin": origin}
    answer = await node.send(request("GET", f"/v1/ws?token={token}", headers=headers))
    if origin:
        assert answer.status == (101 if allowed else 403), answer
    listed = origin == LISTED
    for method, path in [("GET", "/healthz"), ("GET", "/v1/channels/a/messages?after=0")]:
        data = request(method, path, token=token, headers={"Origin": origin})
        answer = await node.send(data)
        assert answer.status == 200
        assert answer.headers.get("access-control-allow-origin") == (origin if listed else None)
        assert "access-control-allow-credentials" not in answer.headers
    data = request("OPTIONS", "/v1/channels/a/messages", headers={"Origin": origin})
    answer = await node.send(data)
    assert answer.status == (204 if listed else 403)
    assert answer.headers.get("access-control-allow-origin") == (origin if listed else None)
    if not allowed and origin:
        stream = request("GET", "/v1/events", token=token, headers={"Origin": origin})
        assert (await node.send(stream)).status == 403


async def publish(node: Node, channel: str, token: str, **message: Any) -> tuple[int, Any]:
    path = f"/v1/channels/{channel}/messages"
    answer = await node.ask("POST", path, token=token, body=message)
    return answer.status, answer.json


AGAIN: dict[str, tuple[dict[str, Any], int]] = {
    "the same": ({"data": 1}, 200),
    "another body": ({"data": 2}, 409),
    "one that is equal, written otherwise": ({"data": 1.0}, 409),
    "another type": ({"data": 1, "type": "other"}, 409),
    "another sender": ({"data": 1, "sender": "bob"}, 409),
}


@pytest.mark.parametrize("name", AGAIN)
async def test_an_id_names_one_body(node: Node, name: str) -> None:
    message, status = AGAIN[name]
    channel = f"ids:{len(name)}"
    first = (await publish(node, channel, KEY, data=1, id="x"))[1]
    found, answer = await publish(node, channel, KEY, **message, id="x")
    assert found == status
    if status == 200:
        assert answer == {**first, "duplicate": True}
    else:
        assert answer["code"] == "conflict"
    assert (await node.pull(channel, after=0)).json["head"] == 1


async def test_an_id_belongs_to_channel_and_publisher(node: Node) -> None:
    alice, bob = (node.token(user, publish=["ids*"]) for user in ("alice", "bob"))
    seqs = []
    for token, channel in [(KEY, "ids:a"), (KEY, "ids:b"), (alice, "ids:a"), (bob, "ids:a")]:
        status, answer = await publish(node, channel, token, data=1, id="shared")
        assert (status, "duplicate" in answer) == (201, False)
        seqs.append(answer["seq"])
    assert seqs == [1, 1, 2, 3]
    for token in (KEY, alice, bob):
        assert (await publish(node, "ids:a", token, data=1, id="shared"))[0] == 200
        assert (await publish(node, "ids:a", token, data=2, id="shared"))[0] == 409


@pytest.mark.parametrize(
    "id_", ["\u0000", "a b", "'; DROP TABLE ids; --", "é", "e\u0301", "x" * 128]
)
async def test_odd_ids_are_kept_as_they_are(node: Node, id_: str) -> None:
    status, answer = await publish(node, "ids:odd", KEY, data=1, id=id_)
    assert status == 201
    assert answer["id"] == id_
    assert (await publish(node, "ids:odd", KEY, data=1, id=id_))[0] == 200

"""Section 2, ends: for how long a credential counts, and that it shows up in no log."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
import trio

from tests.conformance.api import KEY, SECRET, Answer, Api
from tests.support.app import until

NEWS = "/v1/channels/news/messages"
GRANTS = {"subscribe": ["news", "sport"], "publish": ["news"]}


def claims(**given: Any) -> dict[str, Any]:
    return {"sub": "alice", "exp": int(time.time()) + 60, "pushd": GRANTS, **given}


def signed(**given: Any) -> str:
    return jwt.encode(claims(**given), SECRET, "HS256")


async def test_an_expired_token_counts_nowhere(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was good a moment ago, and is remembered; a held poll decides at its end."""
    clock, late = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + late[0])
    token = signed()
    asked: list[tuple[str, str, Any]] = [
        ("POST", NEWS, {"data": 1}),
        ("POST", "/v1/publish", {"to": {"channels": ["news"]}, "message": {"data": 1}}),
        ("GET", f"{NEWS}?after=0", b""),
        ("GET", f"{NEWS}?last=1", b""),
        ("POST", "/v1/pull", {"cursors": {"news": "0"}}),
        ("POST", "/v1/ack", {"cursors": {"news": "0"}}),
        ("POST", "/v1/channels/news/read", {"cursor": "0"}),
        ("POST", "/v1/call", {"name": "X"}),
    ]
    held: list[Answer] = []

    async def hold(method: str, path: str, body: Any) -> None:
        async with api.line() as line:
            held.append(await line.ask(method, path, token=token, body=body))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, "GET", f"{NEWS}?after=head&wait=30", b"")
        cursors = {"news": "head", "sport": "head"}
        nursery.start_soon(hold, "POST", "/v1/pull", {"cursors": cursors, "wait": 30})
        await until(lambda: len(api.server.hub.pulls.held) == 2)
        late[0] = 60.0
        await api.publish("news", 1)
        await until(lambda: len(held) == 2)
    assert [each.code for each in held] == ["token_expired"] * 2
    for method, path, body in asked:
        for late[0] in (0.0, 60.0):
            answer = await api.ask(method, path, token=token, body=body)
            good = answer.status < 300 or answer.code == "no_handler"
            assert good if not late[0] else answer.code == "token_expired", path
    assert (await api.ask("GET", "/v1/events", token=token)).code == "token_expired"


async def test_at_its_expiry_a_session_refreshes_or_ends(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the wheel looks by then is seen in ``tests/e2e`` and ``tests/ws``."""
    clock, late = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + late[0])
    soon = int(time.time()) + 3600
    async with (
        api.socket(token=signed(exp=soon)) as ends,
        api.socket(token=signed(exp=soon)) as stays,
        api.stream(token=signed(exp=soon)) as events,
    ):
        await ends.expect("hello")
        await events.expect("hello")
        await stays.expect("hello")
        await stays.send({"type": "refresh", "token": signed(exp=soon + 60)})
        assert (await stays.expect("refreshed"))["expires"] == soon + 60
        late[0] = soon - clock() + 1
        for session in list(api.server.hub.sessions.by_id.values()):
            session.expire()
        for bye in (await ends.expect("bye"), (await events.expect("bye")).data):
            assert (bye["code"], bye["reconnect"]) == (4001, False)
        await stays.send({"type": "ping"})
        await stays.expect("pong")


async def test_a_refresh_is_of_the_same_user_and_device(api: Api) -> None:
    async with api.socket(token=signed(device="phone")) as socket:
        await socket.expect("hello")
        for given in ({"sub": "bob"}, {"device": "tablet"}, {"sub": "bob", "device": "phone"}):
            await socket.send({"type": "refresh", "token": signed(**given)})
            assert (await socket.expect("error"))["code"] == "forbidden", given
        for given in ({}, {"device": "phone"}):
            await socket.send({"type": "refresh", "token": signed(**given)})
            await socket.expect("refreshed")


async def test_what_a_new_token_does_not_cover_is_followed_no_more(api: Api) -> None:
    async with api.socket("/v1/ws?channels=news,sport", token=signed()) as socket:
        await socket.expect("hello")
        less = signed(pushd={"subscribe": ["sport"]})
        await socket.send({"type": "refresh", "token": less})
        await socket.expect("refreshed")
        assert (await socket.expect("unsubscribed"))["channels"] == ["news"]
        await api.publish("news", 1)
        await api.publish("sport", 1)
        assert (await socket.expect("hint"))["channel"] == "sport"
        await socket.send({"type": "subscribe", "channels": {"news": "0"}})
        denied = (await socket.expect("subscribed"))["denied"]
        assert denied == [{"channel": "news", "code": "forbidden"}]


async def test_what_is_revoked_ends_at_once_and_comes_no_more(api: Api) -> None:
    token = signed()
    bob = signed(sub="bob")
    cursor = (await api.publish("news", 1))["epoch"] + ".1"
    answers: list[Answer] = []

    async def hold() -> None:
        async with api.line() as line:
            target = f"{NEWS}?after={cursor}&wait=30"
            answers.append(await line.ask("GET", target, token=token))

    async with (
        api.socket(token=token) as socket,
        api.socket(token=bob) as other,
        api.stream(token=token) as events,
        trio.open_nursery() as nursery,
    ):
        await socket.expect("hello")
        await other.expect("hello")
        await events.expect("hello")
        nursery.start_soon(hold)
        await until(lambda: api.server.hub.pulls.held)
        revoked = await api.ask("POST", "/v1/revocations", token=KEY, body={"user": "alice"})
        assert revoked.status == 201
        bye = await socket.expect("bye")
        assert (bye["code"], bye["reconnect"]) == (4001, False)
        assert (await events.expect("bye")).data["code"] == 4001
        await until(lambda: answers)
        await other.send({"type": "ping"})
        await other.expect("pong")
    assert answers[0].code == "unauthorized"
    assert (await api.pull("news", token)).code == "unauthorized"
    assert (await api.ask("POST", NEWS, token=token, body={"data": 1})).code == "unauthorized"
    assert (await api.pull("news", bob)).status == 200


async def test_no_token_is_logged(api: Api) -> None:
    good = signed()
    bad = jwt.encode(claims(), SECRET + "x", "HS256")
    for token in (good, bad):
        await api.pull("news", token)
        await api.ask("GET", f"{NEWS}?after=0&token={token}")
        await api.ask("GET", f"/v1/events?token={token}&device=a%20b")
        await api.ask("GET", "/v1/channels", token=token)
        await api.ask("GET", f"/nowhere?token={token}")
        for target, members in (
            ("/v1/ws", {"token": token}),
            ("/v1/ws", {"header": f"Authorization: Bearer {token}\r\n"}),
            (f"/v1/ws?token={token}", {}),
        ):
            async with api.socket(target, **members) as socket:
                assert (await socket.message())["type"] in ("hello", "bye")
                await socket.send({"type": "refresh", "token": token})
        async with api.socket() as socket:
            await socket.send({"type": "auth", "token": token})
            assert (await socket.message())["type"] in ("hello", "bye")
    assert (await api.ask("POST", "/v1/heartbeat/check", token=KEY)).status == 200
    logged = repr(api.server.log)
    assert "check_heartbeats" in logged, "nothing is seen here"
    for secret in (KEY, good, bad):
        assert secret.rpartition(".")[2] not in logged

"""What becomes of those who are connected when they are revoked, on every kind of connection."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio

from pushd import enforcer, pace
from pushd.errors import Overloaded
from pushd.sessions import Session
from tests.support.app import KEY, SECRET, Server, Socket, running_server, until
from tests.support.events import listening
from tests.support.http import patience, request
from tests.support.websocket import Closed

NEWS = "/v1/channels/news/messages"
AGO = -100


def token(user: str = "alice", issued: float | None = AGO, **claims: Any) -> str:
    """``issued``: seconds from now; None: it does not say."""
    now = time.time()
    made = {"sub": user, "exp": int(now) + 600, "pushd": {"subscribe": ["*"], "publish": ["*"]}}
    if issued is not None:
        made["iat"] = now + issued
    return jwt.encode(made | claims, SECRET, "HS256")


async def revoke(server: Server, kind: str, value: str) -> None:
    """Returns when it is on disk."""
    answer = await server.ask("POST", "/v1/revocations", token=KEY, body={kind: value})
    assert answer.status == 201, answer


async def unrevoke(server: Server, kind: str, value: str) -> None:
    answer = await server.ask("DELETE", f"/v1/revocations?{kind}={value}", token=KEY)
    assert answer.status == 204, answer


async def put_out(socket: Socket) -> None:
    """Told, then closed, both with 4001."""
    bye = await socket.expect("bye")
    assert (bye["code"], bye["reason"], bye["reconnect"]) == (4001, "revoked", False)
    with pytest.raises(Closed) as closed, patience():
        await socket.message()
    assert closed.value.code == 4001


async def status(server: Server, credential: str) -> int:
    return (await server.pull("news", credential, after=0)).status


async def test_sessions_of_a_revoked_user_are_put_out(server: Server) -> None:
    async with (
        server.socket("/v1/ws?channels=news", token=token()) as first,
        server.socket("/v1/ws?channels=news", token=token(issued=None)) as second,
        server.socket("/v1/ws?channels=news", token=token("bob")) as bob,
        listening(server, "channels=news", token=token()) as stream,
        listening(server, "channels=news", token=token("bob")) as bobs_stream,
    ):
        for socket in (first, second, bob):
            await socket.expect("hello")
        for each in (stream, bobs_stream):
            await each.expect("hello")
        await revoke(server, "user", "alice")
        await put_out(first)
        await put_out(second)
        assert (await stream.expect("bye")).data["code"] == 4001
        with pytest.raises(EOFError):
            await stream.event()
        await server.publish("news", 1)
        assert (await bob.expect("hint"))["seq"] == 1
        assert await bobs_stream.hint() == ("news", 1)
        assert set(server.hub.sessions.by_user) == {"bob"}


async def test_a_revoked_user_may_come_again_with_a_new_token(server: Server) -> None:
    old, nameless = token(), token(issued=None)
    await revoke(server, "user", "alice")
    async with server.socket(token=old) as socket:
        assert (await socket.expect("bye"))["code"] == 4001
    assert [await status(server, each) for each in (old, nameless)] == [401, 401]
    new = token(issued=1)
    assert await status(server, new) == 200
    async with server.socket(token=new) as socket:
        await socket.expect("hello")
        await socket.send({"type": "refresh", "token": old})
        assert (await socket.expect("error"))["code"] == "unauthorized"
        await socket.send({"type": "ping"})
        await socket.expect("pong")
    await unrevoke(server, "user", "alice")
    assert [await status(server, each) for each in (old, nameless)] == [200, 200]


async def test_one_token_is_revoked_and_no_other(server: Server) -> None:
    one, two = token(jti="one"), token(jti="two")
    async with (
        server.socket(token=one) as socket,
        server.socket(token=two) as other,
    ):
        await socket.expect("hello")
        await other.expect("hello")
        await revoke(server, "jti", "one")
        await put_out(socket)
        await other.send({"type": "ping"})
        await other.expect("pong")
    assert [await status(server, each) for each in (one, two)] == [401, 200]


async def test_revocations_outlive_the_server_and_end(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        await revoke(server, "user", "alice")
        done = trio.Event()
        server.hub.log.revoke("user", "bob", time.time() - 1, lambda _: done.set())
        await done.wait()
    async with running_server(tmp_path) as server:
        assert [await status(server, token(user)) for user in ("alice", "bob")] == [401, 200]


async def test_kept_alive_connections_notice(server: Server) -> None:
    """The connection remembers who it is, and what that one may read."""
    credential = token(jti="one")
    async with server.peer() as peer, server.peer() as publisher:
        for _ in range(3):
            assert (await peer.ask("GET", f"{NEWS}?after=0", token=credential)).status == 200
        body = {"data": 1}
        assert (await publisher.ask("POST", NEWS, token=credential, body=body)).status == 201
        await revoke(server, "jti", "one")
        for _ in range(2):
            assert (await peer.ask("GET", f"{NEWS}?after=0", token=credential)).code == (
                "unauthorized"
            )
            answer = await publisher.ask("POST", NEWS, token=credential, body=body)
            assert answer.code == "unauthorized"
        await unrevoke(server, "jti", "one")
        assert (await peer.ask("GET", f"{NEWS}?after=0", token=credential)).status == 200


async def test_a_kept_alive_publisher_to_many_is_told(server: Server) -> None:
    credential = token(jti="one")
    body = {"to": {"channels": ["news"]}, "message": {"data": 1}}
    async with server.peer() as publisher:
        answer = await publisher.ask("POST", "/v1/publish", token=credential, body=body)
        assert answer.status == 200
        await revoke(server, "jti", "one")
        answer = await publisher.ask("POST", "/v1/publish", token=credential, body=body)
        assert answer.code == "unauthorized"


POLLS = {
    "one channel": lambda: request("GET", f"{NEWS}?after=head&wait=60", token=token()),
    "several": lambda: request(
        "POST", "/v1/pull", token=token(), body={"cursors": {"news": "head"}, "wait": 60}
    ),
    "mine": lambda: request("POST", "/v1/pull", token=token(), body={"mine": True, "wait": 60}),
}


@pytest.mark.parametrize("poll", POLLS)
async def test_held_polls_end(server: Server, poll: str) -> None:
    async with server.peer() as peer, server.peer() as bobs:
        await peer.write(POLLS[poll]())
        await bobs.write(request("GET", f"{NEWS}?after=head&wait=60", token=token("bob")))
        await until(lambda: len(server.hub.pulls.held) == 2)
        await revoke(server, "user", "alice")
        with patience():
            assert (await peer.answer()).code == "unauthorized"
        assert len(server.hub.pulls.held) == 1
        await server.publish("news", 1)
        assert len((await bobs.answer()).json["messages"]) == 1


@pytest.fixture
async def unhurried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server that ends nobody by itself: what is asked meanwhile is what counts."""

    async def look_through(_: object) -> None:
        pass

    monkeypatch.setattr(enforcer.Enforcer, "_look_through", look_through)
    async with running_server(tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    "asked",
    [
        {"type": "publish", "id": "x", "to": {"channels": ["news"]}, "message": {"data": 1}},
        {"type": "read", "channel": "news", "cursor": "0"},
        {"type": "ack", "cursors": {"news": "0"}},
    ],
    ids=lambda asked: asked["type"],
)
async def test_until_it_is_ended_a_session_may_nothing(
    unhurried: Server, asked: dict[str, Any]
) -> None:
    async with unhurried.socket("/v1/ws?channels=news", token=token()) as socket:
        await socket.expect("hello")
        await revoke(unhurried, "user", "alice")
        await socket.send(asked)
        assert (await socket.expect("error"))["code"] == "unauthorized"
        await socket.send({"type": "subscribe", "channels": {"other": "0"}})
        [denied] = (await socket.expect("subscribed"))["denied"]
        assert denied["code"] == "unauthorized"
    assert unhurried.hub.log.heads == {}


async def test_a_poll_that_ends_by_itself_is_refused(unhurried: Server) -> None:
    async with unhurried.peer() as peer:
        await peer.write(POLLS["one channel"]())
        await until(lambda: len(unhurried.hub.pulls.held) == 1)
        await revoke(unhurried, "user", "alice")
        await unhurried.publish("news", "secret")
        answer = await peer.answer()
        assert answer.code == "unauthorized"
        assert b"secret" not in answer.body


async def test_a_body_of_lines_is_not_published_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backlog is full while its publisher is revoked; then there is room."""
    monkeypatch.setattr("pushd.front.lines.PATIENCE_S", 600.0)
    full = True
    tried = trio.Event()
    submit = server.hub.log.submit_many

    def submit_many(batch: Any) -> None:
        tried.set()
        if full:
            raise Overloaded("full")
        submit(batch)

    monkeypatch.setattr(type(server.hub.log), "submit_many", lambda _, batch: submit_many(batch))
    lines = b'{"channel":"news","data":1}\n' * 250
    headers = {"Content-Type": "application/x-ndjson"}
    async with server.peer() as peer:
        asked = request("POST", "/v1/publish", token=token(), body=lines, headers=headers)
        await peer.write(asked)
        with patience():
            await tried.wait()
        await revoke(server, "user", "alice")
        full = False
        answer = await peer.answer()
    assert answer.status == 200
    results = answer.body.splitlines()
    assert len(results) == 250
    assert all(b'"unauthorized"' in line for line in results)
    assert server.hub.log.heads == {}


async def test_a_large_body_is_not_published_by_who_was_revoked_meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked through in a thread, which takes a while."""
    parse = server.hub.publisher.parse_fanned
    revocation = ("user", "alice"), (time.time(), time.time() + 60)

    def slowly(body: bytes) -> Any:
        server.hub.log.revocations.update([revocation])
        return parse(body)

    monkeypatch.setattr(server.hub.publisher, "parse_fanned", slowly)
    body = {"to": {"channels": ["news"]}, "message": {"data": ["x"] * 15_000}}
    answer = await server.ask("POST", "/v1/publish", token=token(), body=body)
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert server.hub.log.heads == {}


async def test_it_looks_of_its_own_accord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should nobody have told it: whatever is revoked ends within some seconds."""
    monkeypatch.setattr(enforcer, "LOOK_S", 0.05)
    async with running_server(tmp_path) as server, server.socket(token=token()) as socket:
        await socket.expect("hello")
        server.hub.log.revoke("user", "alice", time.time() + 60, lambda _: None)
        await put_out(socket)


async def test_one_that_cannot_be_ended_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running_server(tmp_path, errors_expected=True) as server,
        server.socket(token=token()) as broken,
        server.socket(token=token()) as other,
    ):
        for socket in (broken, other):
            await socket.expect("hello")

        first = next(iter(server.hub.sessions.by_id.values()))
        bye = type(first).bye

        def fail_once(each: Session, *arguments: Any, **named: Any) -> None:
            if each is first:
                raise RuntimeError("a bug")
            bye(each, *arguments, **named)

        monkeypatch.setattr(type(first), "bye", fail_once)
        await revoke(server, "user", "alice")
        await put_out(other)
        assert list(server.hub.sessions.by_id.values()) == [first]


async def test_who_opens_a_session_while_others_are_ended(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Identified before it was revoked, registered after: it is seen, too."""
    identify = server.hub.authenticator.identify
    server.hub.authenticator.standing.revoked = {}

    def late(*given: Any) -> Any:
        identity = identify(*given)
        now = given[1]
        server.hub.access.standing.revoked = {("user", "alice"): (now, now + 60)}
        return identity

    monkeypatch.setattr(type(server.hub.authenticator), "identify", lambda _, *given: late(*given))
    async with server.socket(token=token()) as socket:
        assert (await socket.expect("bye"))["code"] == 4001
    assert server.hub.sessions.by_id == {}


async def test_many_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are looked at in one go, of which half go."""
    monkeypatch.setattr(pace, "TURN_S", 0.0)
    count = 30
    async with (
        running_server(tmp_path, max_connections_per_user=count) as server,
        trio.open_nursery() as nursery,
    ):
        ended = []

        async def stay(user: str) -> None:
            async with server.socket(token=token(user)) as socket:
                await socket.expect("hello")
                if user == "alice":
                    await put_out(socket)
                    ended.append(user)
                else:
                    await socket.message()

        for at in range(count):
            nursery.start_soon(stay, "bob" if at % 2 else "alice")
        await until(lambda: len(server.hub.sessions.by_id) == count)
        await until(lambda: all(each.greeted for each in server.hub.sessions.by_id.values()))
        await revoke(server, "user", "alice")
        await until(lambda: len(ended) == count // 2)
        assert set(server.hub.sessions.by_user) == {"bob"}
        nursery.cancel_scope.cancel()

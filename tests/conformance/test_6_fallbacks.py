"""Section 6: event streams, long-polling alone, and over HTTP what frames do."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.conformance.api import KEY, Answer, Api
from tests.support.app import running_server, until
from tests.support.events import EventStream, listening
from tests.support.http import request
from tests.support.websocket import Closed


async def test_events_are_the_frames_of_a_socket(api: Api) -> None:
    token = api.server.token("alice", device="tv", subscribe=["news"])
    at = await api.publish("news", 1)
    async with api.stream("channels=news,secret", token=token) as events:
        hello = await events.expect("hello")
        assert hello.retry_ms is not None
        assert hello.data["user"] == "alice"
        assert hello.data["device"] == "tv"
        assert hello.data["heads"]["news"]["head"] == 1
        assert hello.data["denied"] == [{"channel": "secret", "code": "forbidden"}]
        await api.publish("news", {"secret": 1})
        hint = await events.expect("hint")
        assert hint.data == {
            "type": "hint",
            "channel": "news",
            "epoch": at["epoch"],
            "seq": 2,
        }


async def test_a_browser_resumes_with_the_last_id(api: Api) -> None:
    await api.publish("news", 1)
    async with api.stream("channels=news,sport") as events:
        await events.expect("hello")
        await api.publish("news", 2)
        assert await events.hint() == ("news", 2)
        last = events.last_id
    assert last
    async with api.stream("channels=news,sport", headers={"Last-Event-ID": last}) as events:
        await events.expect("hello")
        await api.publish("sport", 1)
        assert await events.hint() == ("sport", 1), "the news are known"
    await api.publish("news", 3)
    async with api.stream("channels=news", headers={"Last-Event-ID": last}) as events:
        await events.expect("hello")
        assert await events.hint() == ("news", 3)


async def test_heartbeats_are_events(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, sse_heartbeat=0.05) as server,
        listening(server, token=KEY) as events,
    ):
        assert (await events.event()).type == "hello"
        for _ in range(3):
            assert (await events.event()).type == "heartbeat"


async def test_the_token_may_stand_in_the_address_a_key_may_not(api: Api) -> None:
    token = api.server.token("alice")
    async with api.stream(f"token={token}", token=None) as events:
        assert (await events.expect("hello")).data["user"] == "alice"
    assert (await api.ask("GET", f"/v1/events?token={KEY}")).code == "unauthorized"
    assert (await api.ask("GET", "/v1/events")).code == "unauthorized"


async def test_a_device_with_a_socket_names_the_session_that_it_replaces(api: Api) -> None:
    token = api.server.token("alice", device="phone")
    async with api.socket(token=token) as socket:
        session = (await socket.expect("hello"))["session"]
        assert (await api.ask("GET", "/v1/events", token=token)).code == "conflict"
        other = api.server.token("alice", device="tablet")
        async with api.stream(token=other) as events:
            await events.expect("hello")
        named = f"/v1/events?replaces={session[::-1]}"
        assert (await api.ask("GET", named, token=token)).code == "conflict", "another session"
        async with api.stream(f"replaces={session}", token=token) as events:
            await events.expect("hello")
            bye = await socket.expect("bye")
            assert (bye["code"], bye["reconnect"]) == (1000, False)
            with pytest.raises(Closed) as end:
                await socket.message()
            assert end.value.code == 1000


async def test_of_which_device_a_stream_is(api: Api) -> None:
    token = api.server.token("alice")
    async with api.socket("/v1/ws?device=phone", token=token) as socket:
        await socket.expect("hello")
        answer = await api.ask("GET", "/v1/events?device=phone", token=token)
        assert answer.code == "conflict"
        async with api.stream("device=tablet", token=token) as events:
            assert (await events.expect("hello")).data["device"] == "tablet"
        async with api.stream(token=token) as events:
            assert (await events.expect("hello")).data["device"] is None
    assert (await api.ask("GET", "/v1/events?device=a%20b", token=token)).code == "bad_request"


async def test_a_stream_is_told_what_a_socket_would_be(api: Api) -> None:
    """Read marks of others, new inboxes, and that it is kicked."""
    token = api.server.token("alice", device="tv")
    at = await api.publish("news", 1)
    async with api.stream("channels=news", token=token) as events:
        hello = (await events.expect("hello")).data
        cursor = f"{at['epoch']}.1"
        body = {"cursor": cursor, "device": "phone"}
        unpinned = api.server.token("alice")
        done = await api.ask("POST", "/v1/channels/news/read", token=unpinned, body=body)
        assert done.status == 204
        read = (await events.expect("read")).data
        assert read == {"type": "read", "channel": "news", "cursor": cursor}
        await api.publish("user:alice:orders", 1)
        subscribed = (await events.expect("subscribed")).data
        assert set(subscribed["heads"]) == {"user:alice:orders"}
        await api.publish("user:alice:orders", 2)
        assert await events.hint() == ("user:alice:orders", 2)
        path = f"/v1/sessions/{hello['session']}"
        assert (await api.ask("DELETE", path, token=KEY)).status == 204
        bye = (await events.expect("bye")).data
        assert (bye["code"], bye["reconnect"]) == (4009, False)
        with pytest.raises(EOFError):
            await events.event()


async def test_who_has_a_stream_or_polls_is_online(tmp_path: Path) -> None:
    """For a grace time after, which this server takes as none."""
    graces = {"presence_grace": 0.0, "poll_grace": 0.05}
    async with running_server(tmp_path, **graces) as server:

        async def online() -> bool:
            body = {"to": {"users": ["alice"]}, "message": {"data": 1}}
            answer = await server.ask("POST", "/v1/publish", token=KEY, body=body)
            return bool(answer.json["results"][0]["online"])

        token = server.token("alice")
        async with listening(server, token=token) as events:
            await events.expect("hello")
            assert await online()
        await until(lambda: not server.hub.sessions.by_user)
        assert not await online()
        async with server.peer() as peer:
            body = {"cursors": {"news": "head"}, "wait": 60}
            await peer.write(request("POST", "/v1/pull", token=token, body=body))
            await until(lambda: server.hub.pulls.held)
            assert await online()
        await until(lambda: not server.hub.sessions.by_user)
        assert not await online()


async def test_when_a_browser_opens_its_stream_again(api: Api) -> None:
    """After 2 s, give or take a half, so that they do not come in step."""
    said = set()
    for _ in range(10):
        async with api.server.peer() as peer:
            await peer.write(request("GET", "/v1/events", token=KEY))
            head = await peer.answer(head=True)
            said.add((await EventStream(peer, head).expect("hello")).retry_ms)
    assert all(retry is not None and 1000 <= retry <= 3000 for retry in said), said
    assert len(said) > 3


async def test_at_shutdown_a_stream_says_bye_and_ends(api: Api) -> None:
    async with api.stream() as events:
        await events.expect("hello")
        api.server.stopper.asked.set()
        bye = await events.expect("bye")
        assert (bye.data["code"], bye.data["reconnect"]) == (1012, True)
        with pytest.raises(EOFError):
            await events.event()


async def test_reading_and_calling_over_http(api: Api) -> None:
    token = api.server.token("alice", device="phone")
    at = await api.publish("news", 1)
    cursor = f"{at['epoch']}.1"
    async with api.socket(token=api.server.token("alice", device="tablet")) as socket:
        await socket.expect("hello")
        done = await api.ask("POST", "/v1/channels/news/read", token=token, body={"cursor": cursor})
        assert done.status == 204
        told = await socket.expect("read")
        assert (told["channel"], told["cursor"]) == ("news", cursor)
    ahead = {"cursor": f"{at['epoch']}.9"}
    answer = await api.ask("POST", "/v1/channels/news/read", token=token, body=ahead)
    assert answer.code == "cursor_ahead"
    call = {"name": "X", "data": 1}
    assert (await api.ask("POST", "/v1/call", token=token, body=call)).code == "no_handler"


async def test_who_only_polls_is_told_what_a_session_would_be(api: Api) -> None:
    """``notices``: a read mark that another device sets, while a poll is held and between two."""
    polls = api.server.token("alice", device="poller")
    other = api.server.token("alice", device="other")
    at = await api.publish("news", 1)
    await api.publish("news", 2)
    answers: list[Answer] = []

    async def poll(wait: float) -> None:
        async with api.line() as line:
            body = {"mine": True, "wait": wait}
            answers.append(await line.ask("POST", "/v1/pull", token=polls, body=body))

    async def mark(seq: int) -> None:
        body = {"cursor": f"{at['epoch']}.{seq}"}
        done = await api.ask("POST", "/v1/channels/news/read", token=other, body=body)
        assert done.status == 204

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll, 30)
        await until(lambda: api.server.hub.pulls.held)
        await mark(1)
        await until(lambda: answers)
    notice = {"type": "read", "channel": "news", "cursor": f"{at['epoch']}.1"}
    assert answers[0].json["notices"] == [notice]
    await mark(2)
    await poll(30)
    assert answers[1].json["notices"] == [{**notice, "cursor": f"{at['epoch']}.2"}]
    await poll(0)
    assert answers[2].json["notices"] == [], "each is told once"
    own = {"cursor": f"{at['epoch']}.2"}
    done = await api.ask("POST", "/v1/channels/news/read", token=polls, body=own)
    assert done.status == 204
    await poll(0)
    assert answers[3].json["notices"] == [], "it knows"


async def test_at_shutdown_who_polls_is_told(api: Api) -> None:
    token = api.server.token("alice", device="poller")
    async with api.line() as line, trio.open_nursery() as nursery:
        answers: list[Answer] = []

        async def poll() -> None:
            body = {"mine": True, "wait": 30}
            answers.append(await line.ask("POST", "/v1/pull", token=token, body=body))

        nursery.start_soon(poll)
        await until(lambda: api.server.hub.pulls.held)
        api.server.stopper.asked.set()
        await until(lambda: answers)
    (notice,) = answers[0].json["notices"]
    assert (notice["type"], notice["code"]) == ("bye", 1012)

"""Event streams: hello, then hints that rise, to those who may; and how they begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.core.messages import Draft
from pushd.log import Append, Entry
from tests.support.app import KEY, Server, running_server, until
from tests.support.events import EventStream, listening
from tests.support.http import patience, request
from tests.support.sessions import session


async def test_hello_says_what_it_says_over_a_websocket(server: Server) -> None:
    await server.publish("news", 1)
    token = server.token("alice", device="phone")
    async with (
        server.socket("/v1/ws?channels=news,user:bob", token=token) as socket,
        listening(server, f"channels=news,user:bob&replaces=x&token={server.token()}") as stream,
    ):
        frame = await socket.expect("hello")
        event = await stream.expect("hello")
        differ = {"session", "device", "heartbeat_s"}
        assert {k: v for k, v in event.data.items() if k not in differ} == {
            k: v for k, v in frame.items() if k not in differ
        }
        assert event.data["heartbeat_s"] == 15.0
        assert event.data["denied"] == [{"channel": "user:bob", "code": "forbidden"}]
        assert event.id == f"news={frame['heads']['news']['epoch']}.1"
        assert 1000 <= (event.retry_ms or 0) <= 3000
        sessions = server.hub.sessions.by_user["alice"].values()
        assert [each.transport for each in sessions] == ["websocket", "sse"]


async def test_a_publish_is_hinted_and_can_be_pulled(server: Server) -> None:
    token = server.token("alice")
    async with listening(server, "channels=news", token=token) as stream:
        await stream.expect("hello")
        for number in range(1, 6):
            stored = await server.publish("news", number)
            epoch, seq = stored["epoch"], stored["seq"]
            event = await stream.expect("hint")
            assert event.data == {"type": "hint", "channel": "news", "epoch": epoch, "seq": seq}
            assert event.id == f"news={epoch}.{seq}"
            pulled = await server.pull("news", token, after=f"{epoch}.{seq - 1}")
            assert [each["data"] for each in pulled.json["messages"]] == [number]


async def test_both_transports_follow_one_channel(server: Server) -> None:
    """One pass, two encodings; each learns of each, and nobody of anything twice."""
    token = server.token("alice")
    async with (
        server.socket("/v1/ws?channels=news", token=token) as socket,
        listening(server, "channels=news", token=token) as first,
        listening(server, "channels=news", token=token) as second,
    ):
        await socket.expect("hello")
        for stream in (first, second):
            await stream.expect("hello")
        passes = server.hub.counters.fanout_passes
        for number in range(1, 4):
            await server.publish("news", number)
            assert (await socket.expect("hint"))["seq"] == number
            assert await first.hint() == await second.hint() == ("news", number)
        assert server.hub.counters.fanout_passes == passes + 3
        assert server.hub.counters.hints_sent == 9


async def test_own_channels_and_a_new_inbox(server: Server) -> None:
    async with listening(server, token=server.token("alice")) as stream:
        await stream.expect("hello")
        for channel in ("user:alice", "all", "user:bob", "news"):
            await server.publish(channel, 1)
        assert [await stream.hint(), await stream.hint()] == [("user:alice", 1), ("all", 1)]
        await server.publish("user:alice:orders", 1)
        subscribed = await stream.expect("subscribed")
        assert subscribed.data["heads"]["user:alice:orders"]["head"] == 1
        await server.publish("user:alice:orders", 2)
        assert await stream.hint() == ("user:alice:orders", 2)


async def test_more_inboxes_than_a_session_may_follow(tmp_path: Path) -> None:
    """Half is for those asked for; the rest is said to be there, and pulls bring it."""
    async with running_server(tmp_path, max_channels_per_session=6) as server:
        for number in range(6):
            await server.publish(f"user:alice:{number}", 1)

        def inboxes(names: str) -> set[str]:
            return {f"user:alice:{name}" for name in names}

        for asked, followed in (
            ("news", {"all", "user:alice", "news", *inboxes("012")}),
            ("user:alice:5", {"all", "user:alice", *inboxes("0125")}),
        ):
            async with listening(server, f"channels={asked}", token=server.token()) as stream:
                hello = (await stream.expect("hello")).data
                assert (set(hello["heads"]), hello["more"], hello["denied"]) == (followed, True, [])
        async with listening(server, "channels=a,b,c,d,e", token=server.token("bob")) as stream:
            hello = (await stream.expect("hello")).data
            assert hello["denied"] == [{"channel": "e", "code": "too_large"}]
            assert hello["more"] is False
        answer = await server.ask("POST", "/v1/pull", token=server.token(), body={"mine": True})
        assert len(answer.json["channels"]) == 8


async def test_thousands_of_names_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its answer, but only as many as there could be room for were checked."""
    looked_at: list[str] = []

    def check(name: str) -> str:
        looked_at.append(name)
        return name

    monkeypatch.setattr("pushd.sessions.check_channel", check)
    names = [f"n{number}" for number in range(1000)]
    async with running_server(tmp_path, max_channels_per_session=10) as server:
        query = f"channels={','.join(names * 2)}"
        async with listening(server, query, token=server.token()) as stream:
            hello = (await stream.expect("hello")).data
    assert list(hello["heads"]) == ["all", "user:alice", *names[:8]]
    assert hello["denied"] == [{"channel": each, "code": "too_large"} for each in names[8:]]
    assert hello["more"] is False
    assert len(looked_at) == 2 + 20


async def test_a_service_listens_to_what_it_names(server: Server) -> None:
    async with listening(server, "channels=news", token=KEY) as stream:
        hello = await stream.expect("hello")
        assert (hello.data["user"], list(hello.data["heads"])) == (None, ["news"])
        await server.publish("news", 1)
        assert await stream.hint() == ("news", 1)


async def test_hello_comes_before_all_hints(server: Server) -> None:
    token = server.token("alice")

    async def publish() -> None:
        for number in range(60):
            await server.publish("news", number)

    async def follow() -> None:
        async with listening(server, "channels=news", token=token) as stream:
            seq = (await stream.expect("hello")).data["heads"]["news"]["head"]
            while seq < 60:
                _, newer = await stream.hint()
                assert newer > seq
                seq = newer

    with patience():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            for _ in range(8):
                nursery.start_soon(follow)


async def test_what_is_published_while_it_opens_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look at the channels and hello; also the first message of an inbox."""
    await server.publish("news", 1)
    log, token = server.hub.log, server.token("alice")
    load = log.load_marks

    def slowly(*arguments: Any) -> None:
        new = [Entry(name, Draft(b"2")) for name in ("news", "user:alice:orders")]
        log.submit(Append(new, "service", lambda _: load(*arguments)))

    monkeypatch.setattr(log, "load_marks", slowly)
    async with listening(server, "channels=news", token=token) as stream:
        heads = (await stream.expect("hello")).data["heads"]
        assert (heads["news"]["head"], heads["user:alice:orders"]["head"]) == (2, 1)
        await server.publish("user:alice:orders", 2)
        assert await stream.hint() == ("user:alice:orders", 2)
    async with server.socket("/v1/ws?channels=news", token=token) as socket:
        heads = (await socket.expect("hello"))["heads"]
        assert (heads["news"]["head"], heads["user:alice:orders"]["head"]) == (3, 3)


# -- resuming


async def hints_after_hello(server: Server, last: str | None, token: str) -> list[tuple[str, int]]:
    """What a client that comes back is hinted at once, beside its inbox."""
    headers = {} if last is None else {"Last-Event-ID": last}
    found = []
    async with listening(server, "channels=a,b,c", token=token, headers=headers) as stream:
        await stream.expect("hello")
        mark = ("user:alice", (await server.publish("user:alice"))["seq"])
        while (told := await stream.hint()) != mark:
            found.append(told)
    return [each for each in found if each[0] != "user:alice"]


async def test_what_is_newer_than_the_last_id_is_hinted_at_once(server: Server) -> None:
    token = server.token("alice")
    for channel in "aab":
        await server.publish(channel, 1)
    async with listening(server, "channels=a,b,c", token=token) as stream:
        await stream.expect("hello")
        last = stream.last_id
    assert await hints_after_hello(server, None, token) == [], "hello tells a new one"
    await server.publish("b", 2)
    await server.publish("c", 1)
    assert await hints_after_hello(server, last, token) == [("b", 2), ("c", 1)]
    headers = {"Last-Event-ID": last or ""}
    async with listening(server, "channels=a,b,c", token=token, headers=headers) as stream:
        covers = (await stream.expect("hello")).id
        assert covers is not None
        assert [(await stream.expect("hint")).id for _ in "bc"] == [None, None]
        assert stream.last_id == covers, "it names all of them, so the hints take nothing back"


async def test_what_does_not_fit_into_one_id_resumes_by_its_hints(server: Server) -> None:
    names = [f"{number}{'x' * 250}" for number in range(5)]
    stored = [await server.publish(name, 1) for name in names]
    query, token = f"channels={','.join(names)}", server.token("alice")
    headers = {"Last-Event-ID": "nonsense"}
    async with listening(server, query, token=token, headers=headers) as stream:
        assert (await stream.expect("hello")).id is None
        for name, at in zip(names, stored, strict=True):
            assert (await stream.expect("hint")).id == f"{name}={at['epoch']}.1"


@pytest.mark.parametrize("last", ["", "nonsense", "a=000000000.1", "a=5", "%ff", "x" * 900])
async def test_with_an_id_that_names_nothing_all_is_hinted(server: Server, last: str) -> None:
    await server.publish("a", 1)
    await server.publish("b", 1)
    found = await hints_after_hello(server, last, server.token("alice"))
    assert found == [("a", 1), ("b", 1)]


async def test_names_of_every_script_resume(server: Server) -> None:
    token = server.token("alice")
    name = "%E6%97%A5%E6%9C%AC=%F0%9F%90%A2"  # percent-encoded, with a plain =
    await server.publish(name, 1)
    async with listening(server, f"channels={name}", token=token) as stream:
        await stream.expect("hello")
        await server.publish(name, 2)
        assert await stream.hint() == ("日本=🐢", 2)
        last = stream.last_id or ""
    headers = {"Last-Event-ID": last}
    async with listening(server, f"channels={name}", token=token, headers=headers) as stream:
        await stream.expect("hello")
        await server.publish(name, 3)
        assert await stream.hint() == ("日本=🐢", 3)


# -- who may


async def refusal(server: Server, query: str = "", **members: Any) -> tuple[int, str]:
    answer = await server.ask("GET", f"/v1/events?{query}", **members)
    return answer.status, answer.code


async def test_who_may_not(server: Server) -> None:
    good = server.token("alice")
    pinned = server.token("alice", device="phone")
    assert await refusal(server) == (401, "unauthorized")
    assert await refusal(server, token="wrong") == (401, "unauthorized")
    assert await refusal(server, "token=wrong") == (401, "unauthorized")
    assert await refusal(server, f"token={KEY}") == (401, "unauthorized"), "no keys in addresses"
    assert await refusal(server, f"token={good}", token="wrong") == (401, "unauthorized")
    expired = server.token("alice", ttl_s=-1)
    assert await refusal(server, f"token={expired}") == (401, "token_expired")
    assert await refusal(server, "device=tablet", token=pinned) == (403, "forbidden")
    assert await refusal(server, "device=a%2Fb", token=good) == (400, "bad_request")
    assert await refusal(server, "device=a&device=b", token=good) == (400, "bad_request")
    headers = {"Origin": "https://evil.example"}
    assert await refusal(server, token=good, headers=headers) == (403, "forbidden")
    answer = await server.ask("POST", "/v1/events", token=good)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, OPTIONS")
    assert not server.hub.sessions.by_id


async def test_pages_of_the_list_may_read_it(tmp_path: Path) -> None:
    listed = "https://app.example.com"
    async with running_server(tmp_path, origins=(listed,)) as server:
        headers = {"Origin": listed}
        async with listening(server, token=server.token(), headers=headers) as stream:
            assert stream.head.headers["access-control-allow-origin"] == listed
            assert stream.head.headers["vary"] == "Origin"


async def test_a_device_whose_websocket_lives(server: Server) -> None:
    async with session(server, "alice", device="phone") as socket:
        [live] = server.hub.sessions.by_id
        token = server.token("alice", device="phone")
        answer = await server.ask("GET", "/v1/events", token=token)
        assert (answer.status, answer.code, answer.json["session"]) == (409, "conflict", live)
        other = server.token("alice", device="tablet")
        for query, given in ((f"replaces={live}", other), ("", server.token("bob"))):
            async with listening(server, query, token=given) as stream:
                await stream.expect("hello")
        assert live in server.hub.sessions.by_id, "ended only by its own device"
        async with listening(server, f"replaces={live}", token=token) as stream:
            await stream.expect("hello")
            bye = await socket.expect("bye")
            assert (bye["code"], bye["reconnect"]) == (1000, False)
            await until(lambda: live not in server.hub.sessions.by_id)
            # Pages of one browser share a device, and a browser comes back before the old ends.
            async with listening(server, token=token) as second:
                await second.expect("hello")


async def test_a_websocket_that_is_ending_is_no_obstacle(server: Server) -> None:
    """It has been told; its client may take its time to close, and comes by this way meanwhile."""
    async with session(server, "alice", device="phone") as socket:
        [live] = server.hub.sessions.by_id.values()
        live.bye(1012, "restart")
        async with listening(server, token=server.token("alice", device="phone")) as stream:
            await stream.expect("hello")
        await socket.expect("bye")


async def test_while_the_server_stops_one_is_told_to_come_again(server: Server) -> None:
    server.hub.ready = False
    async with listening(server, token=server.token()) as stream:
        bye = await stream.expect("bye")
        assert (bye.data["code"], bye.data["reason"], bye.data["reconnect"]) == (
            1013,
            "not_ready",
            True,
        )
        assert (bye.retry_ms or 0) >= 1000


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_both_versions_of_http(server: Server, version: str) -> None:
    query = f"channels=news&token={server.token()}"
    async with listening(server, query, version=version) as stream:
        chunked = stream.head.headers.get("transfer-encoding")
        assert chunked == ("chunked" if version == "1.1" else None)
        await stream.expect("hello")
        for number in range(1, 4):
            await server.publish("news", number)
            assert await stream.hint() == ("news", number)


async def test_on_a_connection_that_was_used_before(server: Server) -> None:
    token = server.token()
    async with server.peer() as peer:
        for _ in range(2):
            answer = await peer.ask("GET", "/v1/channels/news/messages?after=0", token=token)
            assert answer.status == 200
        await peer.write(request("GET", "/v1/events?channels=news", token=token))
        stream = EventStream(peer, await peer.answer(head=True))
        await stream.expect("hello")
        await server.publish("news", 1)
        assert await stream.hint() == ("news", 1)

"""Messages to the application: at least once and in order, whatever it does."""

from __future__ import annotations

import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio

from pushd.settings import Namespace
from pushd.telling import backlog as backlog_module
from pushd.telling import messages as messages_module
from pushd.telling import posting
from tests.support.app import KEY, SECRET, Server, running_server, until
from tests.support.application import WEBHOOK_SECRET, Application, Received, Reply, application

CHOSEN = {"orders": Namespace(webhook=True), "user": Namespace(webhook=True)}
EVENTS = ("message.published",)

Handle = Callable[[Received], Awaitable[Reply]]
Place = tuple[str, str, int]  # channel, epoch, seq


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(posting, "LONGEST_DELAY_S", 0.01)
    monkeypatch.setattr(backlog_module, "FIRST_REST_S", 0.01)
    monkeypatch.setattr(backlog_module, "LONGEST_REST_S", 0.05)
    monkeypatch.setattr("pushd.outbound.breaker.FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr("pushd.outbound.breaker.LONGEST_PAUSE_S", 0.02)


@asynccontextmanager
async def telling(data: Path, app: Application, **settings: Any) -> AsyncIterator[Server]:
    given = {"webhook_events": EVENTS, "namespaces": CHOSEN, "webhook_timeout": 60.0, **settings}
    async with running_server(
        data, webhook_url=app.url, webhook_secret=WEBHOOK_SECRET, **given
    ) as server:
        yield server


class Told:
    """What the application has taken: each place with its data, in the order of its coming."""

    def __init__(self) -> None:
        self.posts: list[Received] = []
        self.places: list[Place] = []
        self.data: dict[Place, Any] = {}
        self.resets: list[tuple[str, dict[str, Any]]] = []

    def take(self, received: Received) -> None:
        assert received.is_signed()
        body = received.json
        assert body["type"] == "messages"
        self.posts.append(received)
        for told in body["data"]["channels"]:
            if "reset" in told:
                self.resets.append((told["channel"], told["reset"]))
            for message in told["messages"]:
                place = told["channel"], told["epoch"], message["seq"]
                self.places.append(place)
                self.data[place] = message["data"]

    def seqs(self, channel: str) -> list[int]:
        return [seq for name, _, seq in self.places if name == channel]

    def check_order(self, channel: str, upto: int) -> None:
        """Every message, the first time in order; what comes again is what came before."""
        first_times = list(dict.fromkeys(self.seqs(channel)))
        assert first_times == list(range(1, upto + 1))


@asynccontextmanager
async def taking(
    answer: Callable[[Received], Reply] | None = None,
) -> AsyncIterator[tuple[Application, Told]]:
    """An application that takes what its answer says that it takes."""
    told = Told()

    async def handle(received: Received) -> Reply:
        reply = Reply(204) if answer is None else answer(received)
        if 200 <= reply.status < 300 and reply.raw is None:
            told.take(received)
        return reply

    async with application(handle) as app:
        yield app, told


def knows(app: Application, told: Told, channel: str, upto: int) -> Any:
    return app.until(lambda: upto in told.seqs(channel))


async def test_messages_of_the_chosen_namespaces_are_told_and_no_others(tmp_path: Path) -> None:
    async with taking() as (app, told), telling(tmp_path, app) as server:
        await server.publish("news", 0)
        await server.publish("orders:7", {"item": "tea"}, type="order", id="o-1", sender="alice")
        await server.publish("orders", 2)
        await server.publish("user:alice", 3)
        await app.until(lambda: len(told.places) == 3)
        assert {channel for channel, _, _ in told.places} == {"orders:7", "orders", "user:alice"}
        [first] = [
            each
            for post in told.posts
            for each in post.json["data"]["channels"]
            if each["channel"] == "orders:7"
        ]
        head = server.hub.log.heads["orders:7"]
        assert first == {
            "channel": "orders:7",
            "epoch": head.epoch,
            "messages": [
                {
                    "seq": 1,
                    "id": "o-1",
                    "type": "order",
                    "sender": "alice",
                    "at": head.at,
                    "data": {"item": "tea"},
                }
            ],
        }
        await until(lambda: not server.hub.application.telling.channels_behind)
        metrics = (await server.ask("GET", "/metrics")).body.decode()
        assert "pushd_messages_told_total 3.0" in metrics


async def test_nothing_is_told_that_nobody_asked_for(tmp_path: Path) -> None:
    async with taking() as (app, told), telling(tmp_path, app, webhook_events=()) as server:
        await server.publish("orders", 1)
        assert server.hub.application.telling.messages is None
        assert told.posts == []


async def test_many_messages_come_in_order_and_in_few_requests(tmp_path: Path) -> None:
    async with taking() as (app, told), telling(tmp_path, app) as server:
        await app.stop()  # so that they do not come faster than they are published
        lines = b"".join(b'{"channel":"orders:%d","data":%d}\n' % (n % 3, n) for n in range(3000))
        headers = {"Content-Type": "application/x-ndjson"}
        answer = await server.ask("POST", "/v1/publish", token=KEY, body=lines, headers=headers)
        assert answer.status == 200
        await app.start()
        await app.until(lambda: len(told.places) >= 3000)
    for channel in range(3):
        assert told.seqs(f"orders:{channel}") == list(range(1, 1001))
        data = [told.data[place] for place in told.places if place[0] == f"orders:{channel}"]
        assert data == list(range(channel, 3000, 3))
    assert len(told.posts) < 30
    assert max(len(post.body) for post in told.posts) < 100_000


async def test_a_batch_is_no_larger_than_common_servers_take(tmp_path: Path) -> None:
    """A single message may be; the others go without it."""
    async with taking() as (app, told), telling(tmp_path, app) as server:
        for size in (60_000, 10, 50_000, 50_000, 10):
            await server.publish("orders", "x" * size)
        await knows(app, told, "orders", 5)
    told.check_order("orders", 5)
    assert max(len(post.body) for post in told.posts) < 66_000


async def test_what_was_not_taken_is_told_after_a_restart(tmp_path: Path) -> None:
    refuse = True

    def answer(_: Received) -> Reply:
        return Reply(503) if refuse else Reply(204)

    async with taking(answer) as (app, told):
        async with telling(tmp_path, app) as server:
            for number in range(3):
                await server.publish("orders", number)
                await server.publish(f"orders:{number}", number)
            await app.until(lambda: app.received)
        await app.stop()  # what that server has sent last is not taken
        await app.start()
        refuse = False
        async with telling(tmp_path, app) as server:
            await server.publish("orders", 3)
            await app.until(lambda: len(told.places) == 7)
            await until(lambda: not server.hub.application.telling.channels_behind)
        assert told.seqs("orders") == [1, 2, 3, 4]
        count = len(told.places)
        async with telling(tmp_path, app) as server:
            await server.publish("orders", 4)
            await knows(app, told, "orders", 5)
        assert told.places[count:] == [("orders", told.places[0][1], 5)]


async def test_the_same_again_has_the_same_id(tmp_path: Path) -> None:
    left = 5

    def answer(_: Received) -> Reply:
        nonlocal left
        left -= 1
        return Reply(503) if left >= 0 else Reply(204)

    async with taking(answer) as (app, told), telling(tmp_path, app) as server:
        await server.publish("orders", 1)
        await app.until(lambda: app.received)
        await server.publish("orders", 2)
        await server.publish("orders:2", 2)
        await app.until(lambda: len(told.places) == 3)
    ids = [each.id for each in app.received]
    assert len(set(ids[:6])) == 1, "what comes meanwhile does not change it"
    assert len(set(ids)) == len(told.posts)
    assert told.seqs("orders") == [1, 2]


async def test_an_application_that_is_down_slows_nobody_and_takes_no_memory(
    tmp_path: Path,
) -> None:
    """Its names are kept, its messages are not."""
    async with taking() as (app, told):
        await app.stop()
        async with telling(tmp_path, app) as server:
            for number in range(200):
                await server.publish("orders", number)
            telling_ = server.hub.application.telling
            assert telling_.channels_behind == 1
            stats = (await server.ask("GET", "/v1/stats", token=KEY)).json
            assert stats["telling"]["channels_behind"] == 1
            await app.start()
            await knows(app, told, "orders", 200)
    told.check_order("orders", 200)


async def test_one_bad_message_holds_up_its_channel_only(tmp_path: Path) -> None:
    """And of that, only what comes behind it."""
    poison = True

    def answer(received: Received) -> Reply:
        return Reply(500) if poison and b'"poison"' in received.body else Reply(204)

    async with taking(answer) as (app, told), telling(tmp_path, app) as server:
        await app.stop()  # so that all of them are in one batch first
        for number in range(20):
            await server.publish("orders:bad", "poison" if number == 10 else number)
            await server.publish("orders:good", number)
        await app.start()
        await knows(app, told, "orders:good", 20)
        await knows(app, told, "orders:bad", 10)
        await server.publish("orders:good", 20)
        await knows(app, told, "orders:good", 21)
        assert told.seqs("orders:bad") == list(range(1, 11))
        assert any(each["event"] == "the application refuses messages" for each in server.log)
        poison = False
        await knows(app, told, "orders:bad", 20)
    told.check_order("orders:bad", 20)
    told.check_order("orders:good", 21)


@pytest.mark.parametrize(
    "reply",
    [Reply(302, headers=[("Location", "/")]), Reply(401), Reply(404), Reply(413), Reply(raw=b"?")],
    ids=["302", "401", "404", "413", "garbage"],
)
async def test_only_2xx_is_taken(tmp_path: Path, reply: Reply) -> None:
    left = 4

    def answer(_: Received) -> Reply:
        nonlocal left
        left -= 1
        return reply if left >= 0 else Reply(200, b"whatever")

    async with taking(answer) as (app, told), telling(tmp_path, app) as server:
        for number in range(5):
            await server.publish("orders", number)
            await server.publish("user:alice", number)
        await knows(app, told, "orders", 5)
        await knows(app, told, "user:alice", 5)
    for channel in ("orders", "user:alice"):
        told.check_order(channel, 5)


async def test_what_was_removed_before_it_was_told_is_said(tmp_path: Path) -> None:
    async with taking() as (app, told):
        await app.stop()
        async with telling(tmp_path, app) as server:
            for number in range(5):
                await server.publish("orders", number)
                await server.publish("orders:gone", number)
                await server.publish("orders:again", number)
            body = {"before": 4}
            await server.ask("POST", "/v1/channels/orders/trim", token=KEY, body=body)
            await server.ask("DELETE", "/v1/channels/orders/messages/5", token=KEY)
            for channel in ("orders:gone", "orders:again"):
                await server.ask("DELETE", f"/v1/channels/{channel}", token=KEY)
            await server.publish("orders:again", "new")
            await app.start()
            await app.until(lambda: len(told.places) == 3)
            await until(lambda: not server.hub.application.telling.channels_behind)
    assert told.seqs("orders") == [4, 5]
    assert [told.data[place] for place in told.places if place[0] == "orders"] == [3, None]
    assert [told.data[place] for place in told.places if place[0] == "orders:again"] == ["new"]
    assert sorted(told.resets, key=lambda item: item[0]) == [
        ("orders", {"code": "expired", "skipped": 3}),
        ("orders:again", {"code": "epoch_changed", "skipped": None}),
    ]


async def test_a_window_that_is_held_for_the_slow_is_held_for_the_application(
    tmp_path: Path,
) -> None:
    """Also for one that was never there since the channel began."""
    keep = {"messages": 5}
    chosen = {
        "orders": Namespace(webhook=True, retention=keep, hold={"age_s": 3600.0}),
        "other": Namespace(webhook=True, retention=keep),
    }
    limits = {"retention_interval": 0.02, "write_behind": 0.01, "namespaces": chosen}
    async with taking() as (app, told):
        await app.stop()
        async with telling(tmp_path, app, **limits) as server:
            for channel in ("orders", "other"):
                await server.publish(channel, 0)
            log = server.hub.log
            await until(lambda: not log.statistics().dirty_marks)
            for number in range(1, 50):
                for channel in ("orders", "other"):
                    await server.publish(channel, number)
            await until(lambda: log.heads["other"].first == 46)
            assert log.heads["orders"].first == 1
            await app.start()
            await knows(app, told, "orders", 50)
            await knows(app, told, "other", 50)
            await until(lambda: log.heads["orders"].first == 46)
    told.check_order("orders", 50)
    assert told.seqs("other") == list(range(46, 51))
    assert told.resets == [("other", {"code": "expired", "skipped": 45})]


async def test_what_was_redacted_is_not_told_by_a_second_attempt(tmp_path: Path) -> None:
    told, redacted = Told(), trio.Event()

    async def handle(received: Received) -> Reply:
        if not redacted.is_set():
            await redacted.wait()
            return Reply(503)  # the first attempt: it was under way already
        told.take(received)
        return Reply(204)

    async with application(handle) as app, telling(tmp_path, app) as server:
        await server.publish("orders", "secret")
        await app.until(lambda: app.received)
        assert b"secret" in app.received[0].body
        await server.ask("DELETE", "/v1/channels/orders/messages/1", token=KEY)
        redacted.set()
        await app.until(lambda: told.places)
    assert list(told.data.values()) == [None]


async def test_a_namespace_that_is_chosen_begins_now_and_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    async with taking() as (app, told):
        async with telling(tmp_path, app, namespaces={}) as server:
            for number in range(3):
                await server.publish("orders", number)
        async with telling(tmp_path, app) as server:
            await server.publish("orders", 3)
            await server.publish("orders:new", 0)
            await app.until(lambda: len(told.places) == 2)
            await until(lambda: not server.hub.application.telling.channels_behind)
        assert told.seqs("orders") == [4]
        assert told.seqs("orders:new") == [1]
        # Left out for a while, and chosen again: nothing is skipped.
        other = {"other": Namespace(webhook=True)}
        async with telling(tmp_path, app, namespaces=other) as server:
            await server.publish("orders", 4)
            await server.publish("orders:other", 0)
        async with telling(tmp_path, app) as server:
            await app.until(lambda: len(told.places) == 4)
        assert told.seqs("orders") == [4, 5]
        assert told.seqs("orders:other") == [1]


async def test_how_far_the_application_is_can_be_seen_and_not_claimed(tmp_path: Path) -> None:
    """Its marks are those of a device; no token can be of its user."""
    async with taking() as (app, told), telling(tmp_path, app) as server:
        stored = await server.publish("orders", 1)
        await app.until(lambda: told.places)
        await until(lambda: not server.hub.application.telling.channels_behind)
        answer = await server.ask("GET", "/v1/channels/orders/receipts?seq=1", token=KEY)
        assert answer.json["items"] == [
            {
                "user": ":webhook",
                "delivered": {"messages": f"{stored['epoch']}.1"},
                "read": None,
            }
        ]
        claims = {"sub": ":webhook", "device": "messages", "exp": int(time.time()) + 60}
        token = jwt.encode(claims, SECRET, "HS256")
        answer = await server.ask("POST", "/v1/ack", token=token, body={"cursors": {}})
        assert answer.status == 401


async def test_a_channel_that_cannot_be_read_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pushd.errors import Overloaded
    from pushd.telling.portions import Portions

    real, broken = Portions.read, True

    async def read(self: Portions, channel: str, *rest: Any) -> Any:
        if broken and channel == "orders:bad":
            raise Overloaded("Messages cannot be read.")
        return await real(self, channel, *rest)

    monkeypatch.setattr(Portions, "read", read)
    async with taking() as (app, told), telling(tmp_path, app) as server:
        await server.publish("orders:bad", 1)
        await server.publish("orders:good", 1)
        await knows(app, told, "orders:good", 1)
        broken = False
        await knows(app, told, "orders:bad", 1)


async def test_a_fault_of_ours_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = True
    real = messages_module.envelope

    def envelope(*arguments: Any) -> bytes:
        nonlocal fail
        if fail:
            fail = False
            raise ZeroDivisionError
        return real(*arguments)

    monkeypatch.setattr(messages_module, "envelope", envelope)
    monkeypatch.setattr(messages_module, "AFTER_A_FAULT_S", 0.001)
    async with taking() as (app, told), telling(tmp_path, app, errors_expected=True) as server:
        await server.publish("orders", 1)
        await knows(app, told, "orders", 1)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_the_application_does(tmp_path: Path, seed: int) -> None:
    """It refuses, breaks, hangs and restarts at random, and pushd is restarted, too."""
    choose = random.Random(seed)
    calm = False

    def answer(_: Received) -> Reply:
        if calm or choose.random() < 0.5:
            return Reply(204)
        return choose.choice([Reply(500), Reply(503), Reply(429), Reply(400), Reply(raw=b"")])

    count = {f"orders:{n}": 0 for n in range(4)}
    async with taking(answer) as (app, told):
        for _ in range(3):
            async with telling(tmp_path, app) as server:
                for _ in range(40):
                    channel = choose.choice(sorted(count))
                    await server.publish(channel, count[channel])
                    count[channel] += 1
                    if choose.random() < 0.05:
                        await app.stop()
                        await app.start()
        calm = True
        async with telling(tmp_path, app) as server:
            await until(lambda: not server.hub.application.telling.channels_behind)
    for channel, upto in count.items():
        told.check_order(channel, upto)
        data = {place[2]: value for place, value in told.data.items() if place[0] == channel}
        assert data == {seq: seq - 1 for seq in range(1, upto + 1)}
    assert re.fullmatch(r"msgs_[0-9a-f]{32}", told.posts[0].id)

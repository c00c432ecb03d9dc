"""Requests to the application: over real sockets, whatever it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
import trio

from pushd.metrics import Counters
from pushd.outbound import CircuitOpen, Endpoint, NoAnswer, Signer, keys_of, new_id
from pushd.outbound import endpoint as module
from pushd.outbound.breaker import OPENS_AFTER
from tests.support.application import (
    WEBHOOK_SECRET,
    Application,
    Received,
    Reply,
    application,
    say_ok,
)
from tests.support.http import patience

WITHIN_S = 50.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.001)
    # How long a connection is kept: nobody closes one while the machine is busy elsewhere.
    monkeypatch.setattr("pushd.outbound.client.KEEP_S", 60.0)


@asynccontextmanager
async def endpoint_of(url: str, **options: Any) -> AsyncIterator[Endpoint]:
    async with trio.open_nursery() as nursery:
        made = Endpoint("webhook", url, keys_of(WEBHOOK_SECRET), Counters(), **options)
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_each_request_is_signed_and_connections_are_kept() -> None:
    async with application() as app, endpoint_of(app.url) as endpoint:
        for number in range(5):
            answer = await endpoint.post(b'{"n":%d}' % number, id_=f"m{number}", within_s=WITHIN_S)
            assert (answer.status, answer.body) == (200, b"{}")
    assert [each.json["n"] for each in app.received] == list(range(5))
    assert [each.id for each in app.received] == [f"m{number}" for number in range(5)]
    assert all(each.is_signed() for each in app.received)
    assert not any(each.is_signed("another secret") for each in app.received)
    assert {each.target for each in app.received} == {"/hooks/pushd"}
    assert {each.headers["content-type"] for each in app.received} == {"application/json"}
    assert app.connections == 1


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of the Standard Webhooks specification."""
    [key] = keys_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = dict(
        Signer([key]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_keys_sign_side_by_side_while_one_is_replaced() -> None:
    new, old = (dict(Signer([key]).headers("m", 1, b"x")) for key in (b"new", b"old"))
    both = dict(Signer([b"new", b"old"]).headers("m", 1, b"x"))
    wanted = [each["webhook-signature"] for each in (new, old)]
    assert both["webhook-signature"].split(" ") == wanted
    assert "new" not in repr(Signer([b"new"]))


async def fail_times(
    count: int, reply: Reply, then: Reply | None = None
) -> Callable[[Received], Any]:
    left = count

    async def handle(_: Received) -> Reply:
        nonlocal left
        left -= 1
        return reply if left >= 0 else then or Reply(200, {"at": "last"})

    return handle


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(502, b"<html>"),
        Reply(503, headers=[("Retry-After", "0")]),
        Reply(429),
        Reply(raw=b""),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        Reply(raw=b"SSH-2.0-OpenSSH\r\n"),
    ],
    ids=["500", "502", "503", "429", "closed", "cut", "no-http"],
)
async def test_what_fails_is_tried_again_with_the_same_id(reply: Reply) -> None:
    async with application(await fail_times(2, reply)) as app, endpoint_of(app.url) as endpoint:
        answer = await endpoint.post(b"{}", id_=new_id(), within_s=WITHIN_S)
    assert (answer.status, answer.body) == (200, b'{"at": "last"}')
    assert len(app.received) == 3
    assert len({each.id for each in app.received}) == 1
    assert all(each.is_signed() for each in app.received)


@pytest.mark.parametrize("status", [200, 204, 301, 302, 400, 401, 403, 404, 410])
async def test_any_other_answer_is_the_callers_to_judge(status: int) -> None:
    """A redirect as well: it is not followed."""

    async def handle(_: Received) -> Reply:
        return Reply(status, headers=[("Location", "/elsewhere")])

    async with application(handle) as app, endpoint_of(app.url) as endpoint:
        assert (await endpoint.post(b"{}", id_="m", within_s=WITHIN_S)).status == status
    assert [each.target for each in app.received] == ["/hooks/pushd"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"x" * 1001), "more than 1000 bytes"),
        (Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001), "more than 1000 bytes"),
        (Reply(200, b"x", [("Content-Encoding", "gzip")]), "the answer is compressed"),
        (Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000), "no proper HTTP"),
        (Reply(raw=b"HTTP/1.1 200 OK\r\n" * 3000 + b"\r\n"), "no proper HTTP"),
    ],
    ids=["huge", "huge-unsaid", "packed", "huge-head", "garbage"],
)
async def test_answers_that_are_none(reply: Reply, reason: str) -> None:
    async def handle(_: Received) -> Reply:
        return reply

    async with application(handle) as app, endpoint_of(app.url, max_answer=1000) as endpoint:
        with pytest.raises(NoAnswer, match=reason):
            await endpoint.post(b"{}", id_="m", within_s=WITHIN_S, tries=1)


async def test_a_kept_connection_that_was_closed_meanwhile_costs_no_attempt() -> None:
    async with application() as app, endpoint_of(app.url) as endpoint:
        for number in range(3):
            await endpoint.post(b"{}", id_=f"m{number}", within_s=WITHIN_S, tries=1)
            await app.stop()
            await app.start()
    assert [each.id for each in app.received] == ["m0", "m1", "m2"]


async def test_a_hanging_application_ends_with_the_deadline_and_its_connection_is_closed() -> None:
    async def handle(_: Received) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with application(handle) as app, endpoint_of(app.url, attempt_s=0.3) as endpoint:
        with pytest.raises(NoAnswer, match=r"no whole answer within 0\.3 s"):
            await endpoint.post(b"{}", id_="m", within_s=WITHIN_S, tries=2)
        with pytest.raises(NoAnswer):
            await endpoint.post(b"{}", id_="m", within_s=0.5, tries=1000)
        with patience():
            while len(app.received) < 2:  # the machine may have been slower than that
                with pytest.raises(NoAnswer):
                    await endpoint.post(b"{}", id_="m", within_s=0.5, tries=1)
    used = [each.connection for each in app.received]
    assert len(set(used)) == len(used), "none of them was used again"


async def test_no_more_connections_than_allowed() -> None:
    go = trio.Event()

    async def handle(_: Received) -> Reply:
        await go.wait()
        return Reply(200)

    async with (
        application(handle) as app,
        endpoint_of(app.url, max_connections=3) as endpoint,
        trio.open_nursery() as nursery,
    ):
        for number in range(10):
            nursery.start_soon(ask, endpoint, f"m{number}")
        await app.until(lambda: len(app.received) == 3)
        await trio.testing.wait_all_tasks_blocked()
        assert app.connections == 3
        go.set()
    assert (app.connections, app.most_at_once) == (3, 3)
    assert {each.id for each in app.received} == {f"m{number}" for number in range(10)}


async def ask(endpoint: Endpoint, id_: str) -> None:
    with patience():
        await endpoint.post(b"{}", id_=id_, within_s=WITHIN_S)


async def test_a_caller_who_leaves_harms_no_later_request() -> None:
    async def handle(received: Received) -> Reply:
        if received.id == "left":
            await trio.sleep_forever()
        return Reply(200, {"id": received.id})

    async with application(handle) as app, endpoint_of(app.url, max_connections=1) as endpoint:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, endpoint, "left")
            await app.until(lambda: app.received)
            nursery.cancel_scope.cancel()
        answer = await endpoint.post(b"{}", id_="next", within_s=WITHIN_S)
    assert answer.body == b'{"id": "next"}'


async def failing(endpoint: Endpoint, times: int) -> list[str]:
    reasons = []
    for _ in range(times):
        with pytest.raises(NoAnswer) as failed:
            await endpoint.post(b"{}", id_="m", within_s=WITHIN_S, tries=1)
        reasons.append(type(failed.value).__name__)
    return reasons


async def test_the_circuit_opens_tells_so_and_closes_by_a_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pushd.outbound.breaker.FIRST_PAUSE_S", 0.01)
    async with application() as app, endpoint_of(app.url) as endpoint:
        await app.stop()
        with structlog.testing.capture_logs() as told:
            reasons = await failing(endpoint, OPENS_AFTER)
            assert reasons == ["NoAnswer"] * OPENS_AFTER
            assert endpoint.is_open
            assert endpoint.state()["reason"]
            await app.start()
            with patience():
                while endpoint.is_open:
                    try:
                        await endpoint.post(b"{}", id_="m", within_s=WITHIN_S)
                    except CircuitOpen as refused:
                        await trio.sleep(refused.retry_after_s)
        assert endpoint.state() == {
            "host": f"127.0.0.1:{app.port}",
            "circuit": "closed",
            "reason": None,
        }
    assert [each["event"] for each in told] == [
        "does not answer: circuit open",
        "answers again: circuit closed",
    ]
    assert WEBHOOK_SECRET not in str(told)


async def test_while_it_is_open_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushd.outbound.breaker.FIRST_PAUSE_S", 600.0)
    async with application() as app, endpoint_of(app.url) as endpoint:
        await app.stop()
        await failing(endpoint, OPENS_AFTER)
        await app.start()
        assert await failing(endpoint, 20) == ["CircuitOpen"] * 20
        assert app.received == []


async def test_an_error_of_the_application_opens_nothing() -> None:
    """One request that makes it fail must not cut everybody else off."""

    async def handle(received: Received) -> Reply:
        return Reply(500 if received.id == "m" else 200)

    async with application(handle) as app, endpoint_of(app.url) as endpoint:
        assert await failing(endpoint, OPENS_AFTER * 2) == ["NoAnswer"] * OPENS_AFTER * 2
        assert not endpoint.is_open
        assert (await endpoint.post(b"{}", id_="good", within_s=WITHIN_S)).status == 200


async def test_an_application_that_waits_to_be_asked_later_is_asked_later() -> None:
    """Retry-After: beyond the deadline it is not even waited for."""

    async def handle(_: Received) -> Reply:
        return Reply(503, headers=[("Retry-After", "3600")])

    async with application(handle) as app, endpoint_of(app.url) as endpoint:
        with patience(), pytest.raises(NoAnswer, match="status 503"):
            await endpoint.post(b"{}", id_="m", within_s=60)
    assert len(app.received) == 1


async def test_interim_answers_are_passed_over() -> None:
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3
    raw += b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    async def handle(_: Received) -> Reply:
        return Reply(raw=raw)

    async with application(handle) as app, endpoint_of(app.url) as endpoint:
        assert (await endpoint.post(b"{}", id_="m", within_s=WITHIN_S)).body == b"{}"


async def test_a_second_answer_to_one_request_is_nobodys() -> None:
    """What comes after an answer, unasked, must not be taken for the answer to the next one."""
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    async def handle(received: Received) -> Reply:
        if received.id == "first":
            return Reply(raw=one + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        return Reply(200, b"good")

    async with application(handle) as app, endpoint_of(app.url) as endpoint:
        await endpoint.post(b"{}", id_="first", within_s=WITHIN_S)
        assert (await endpoint.post(b"{}", id_="next", within_s=WITHIN_S)).body == b"good"


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushd.outbound.client.KEEP_S", 0.01)
    gone = trio.Event()

    class Watching(Application):
        async def _serve(self, stream: trio.SocketStream) -> None:
            await super()._serve(stream)
            gone.set()

    async with trio.open_nursery() as nursery:
        app = Watching(nursery, say_ok)
        await app.start()
        async with endpoint_of(app.url) as endpoint:
            await endpoint.post(b"{}", id_="m", within_s=WITHIN_S)
            with patience():
                await gone.wait()
        nursery.cancel_scope.cancel()


async def test_waiting_for_a_connection_is_not_the_applications_fault() -> None:
    go = trio.Event()

    async def handle(_: Received) -> Reply:
        await go.wait()
        return Reply(200)

    async with (
        application(handle) as app,
        endpoint_of(app.url, max_connections=1) as endpoint,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(ask, endpoint, "first")
        await app.until(lambda: app.received)
        for number in range(OPENS_AFTER):
            with pytest.raises(NoAnswer, match="connections are taken"):
                await endpoint.post(b"{}", id_=f"m{number}", within_s=0.001)
        assert not endpoint.is_open
        go.set()
    assert [each.id for each in app.received] == ["first"]

"""Tokens that somebody made up: the application is not flooded, and the log tells nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from pushd.hook.hook import TELL_S
from tests.support.app import KEY, Server, until
from tests.support.application import WEBHOOK_SECRET, Reply
from tests.support.events import listening
from tests.support.http import patience, request
from tests.support.logins import COOKIE, TOKEN, WAYS, Logins, logins, serving

PATH = "/v1/channels/news/messages?after=0"


@pytest.fixture
async def known() -> AsyncIterator[Logins]:
    async with logins() as made:
        yield made


async def test_refusals_of_one_address(tmp_path: Path, known: Logins) -> None:
    """Then it is told to wait, on every way in; who is known goes on, and keys are no matter."""
    limits = {"auth_refusals_per_address": 5, "trusted_proxies": ()}
    async with serving(tmp_path, known, **limits) as server, server.peer() as peer:
        assert (await server.pull("news", TOKEN, after=0)).status == 200
        statuses = []
        for number in range(50):
            answer = await peer.ask("GET", PATH, token=f"made-up-{number}")
            statuses.append(answer.status)
        assert statuses == [401] * 5 + [429] * 45
        assert answer.code == "rate_limited"
        assert int(answer.headers["retry-after"]) >= 1
        assert len(known.asked) == 1 + 5
        async with server.socket(token="made-up") as socket:
            bye = await socket.expect("bye")
            assert (bye["code"], bye["reason"]) == (4029, "rate_limited")
            assert bye["retry_after_ms"] >= 1000
        async with listening(server, token="made-up") as stream:
            event = await stream.expect("bye")
            assert (event.data["code"], event.data["reason"]) == (4029, "rate_limited")
        for good in (TOKEN, server.token(), KEY):
            assert (await server.pull("news", good, after=0)).status == 200
        known.clock.now += 60 / 5 + 1  # the odd one, when some time has passed
        for status in (401, 429):
            assert (await server.pull("news", f"later-{status}", after=0)).status == status
        assert len(known.asked) == 1 + 6


async def test_a_crowd_of_strangers(tmp_path: Path, known: Logins) -> None:
    """So many at one time, and so many a second; all others come again, none is called wrong."""
    known.go = trio.Event()
    limits = {"auth_requests": 3, "auth_requests_per_second": 10, "max_handshakes": 1000}
    async with serving(tmp_path, known, **limits) as server, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(server.peer()) for _ in range(30)]
        for number, peer in enumerate(peers):
            await peer.write(request("GET", PATH, token=f"made-up-{number}"))
        await until(lambda: server.hub.counters.errors["not_ready"] == 20)
        assert server.hub.hook.asking == 10
        known.go.set()
        statuses = [(await peer.answer()).status for peer in peers]
        assert sorted(statuses) == [401] * 10 + [503] * 20
        assert known.app is not None
        assert known.app.most_at_once <= 3
        assert server.hub.hook.asking == 0


async def test_who_waits_is_not_asked_about_once_others_were_refused(
    tmp_path: Path, known: Logins
) -> None:
    known.go = trio.Event()
    limits = {"auth_requests": 1, "auth_refusals_per_address": 3, "trusted_proxies": ()}
    async with serving(tmp_path, known, **limits) as server, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(server.peer()) for _ in range(20)]
        for number, peer in enumerate(peers):
            await peer.write(request("GET", PATH, token=f"made-up-{number}"))
        await until(lambda: server.hub.hook.asking == 20)
        known.go.set()
        statuses = [(await peer.answer()).status for peer in peers]
        assert sorted(statuses) == [401] * 3 + [429] * 17
        assert len(known.asked) == 3


async def test_the_circuit_opens_and_closes(tmp_path: Path, known: Logins) -> None:
    known.reply = Reply(503)
    async with serving(tmp_path, known, auth_requests_per_second=100_000) as server:
        for number in range(12):
            answer = await server.pull("news", f"token-{number}", after=0)
            assert (answer.status, answer.code) == (503, "not_ready")
            assert int(answer.headers["retry-after"]) >= 1
        assert len(known.asked) < 12, "five in a row, then it is left alone"
        stats = await server.ask("GET", "/v1/stats", token=KEY)
        assert stats.json["application"]["auth"]["circuit"] != "closed"
        known.reply = None
        with patience():
            while (await server.pull("news", TOKEN, after=0)).status != 200:
                await trio.sleep(0.05)


async def test_the_circuit_opens_for_an_application_that_hangs(
    tmp_path: Path, known: Logins
) -> None:
    known.go = trio.Event()
    async with serving(tmp_path, known, auth_request_timeout=0.05) as server:
        for number in range(10):
            assert (await server.pull("news", f"token-{number}", after=0)).status == 503
        assert len(known.asked) < 10
        stats = await server.ask("GET", "/v1/stats", token=KEY)
        assert stats.json["application"]["auth"]["circuit"] != "closed"


async def test_who_does_not_get_a_turn_comes_again(tmp_path: Path, known: Logins) -> None:
    """One at a time, and it takes its time: the circuit stays closed."""
    known.go = trio.Event()
    async with (
        serving(tmp_path, known, auth_requests=1, auth_request_timeout=0.5) as server,
        AsyncExitStack() as stack,
    ):
        peers = [await stack.enter_async_context(server.peer()) for _ in range(8)]
        for number, peer in enumerate(peers):
            await peer.write(request("GET", PATH, token=f"token-{number}"))
        assert {(await peer.answer()).status for peer in peers} == {503}
        assert len(known.asked) < 8
        assert server.hub.hook.asking == 0
        known.go.set()


async def test_what_it_answers_is_told_without_repeating_it_often(
    tmp_path: Path, known: Logins
) -> None:
    known.reply = Reply(200, {"user": "a:b", "ttl": 60})
    async with serving(tmp_path, known) as server:
        for number in range(5):
            assert (await server.pull("news", f"token-{number}", after=0)).status == 503
        told = [
            each for each in server.log if each["event"] == "an answer of auth_url is of no use"
        ]
        assert len(told) == 1
        assert server.hub.counters.auth_unusable == 5
        asked = len(known.asked)
        assert (await server.pull("news", "token-1", after=0)).status == 503
        assert len(known.asked) == asked, "it is not asked the same again at once"
        known.clock.now += TELL_S
        for again in (1, 2):
            assert (await server.pull("news", f"again-{again}", after=0)).status == 503
        assert sum(each["event"] == told[0]["event"] for each in server.log) == 2


@pytest.mark.parametrize("reply", [None, Reply(401), Reply(503), Reply(200, b"{")])
async def test_neither_log_nor_answer_tells_tokens_or_cookies(
    tmp_path: Path, known: Logins, reply: Reply | None
) -> None:
    known.reply = reply
    secrets = (TOKEN, COOKIE.partition("=")[2], WEBHOOK_SECRET)
    async with serving(tmp_path, known) as server:
        for name, way in WAYS.items():
            if "address" not in name and (reply is None or "held" not in name):
                await way(server, TOKEN, {"Cookie": COOKIE})
        answer = await server.ask("GET", PATH, token=TOKEN, headers={"Cookie": COOKIE})
        said = answer.text + answer.body
        text = str(server.log)
        shown = repr(server.hub.settings)
    for secret in secrets:
        assert secret not in text
        assert secret.encode() not in said
    assert WEBHOOK_SECRET not in shown


async def test_what_is_counted(tmp_path: Path, known: Logins) -> None:
    async with serving(tmp_path, known) as server:
        for token in (TOKEN, TOKEN, "made-up", "made-up"):
            await server.pull("news", token, after=0)
        text = (await server.ask("GET", "/metrics")).body.decode()
    found = {
        name: float(value) for name, value in re.findall(r"(?m)^(pushd_auth_\w+) (\S+)$", text)
    }
    assert found["pushd_auth_asked_total"] == 2
    assert found["pushd_auth_known_total"] == 2
    assert found["pushd_auth_refused_total"] == 1
    assert found["pushd_auth_unusable_total"] == 0
    assert found["pushd_auth_identities"] == 1
    assert found["pushd_auth_questions"] == 0


async def test_a_server_without_the_hook(server: Server) -> None:
    """As ever: what is no key and no JWT is refused, whatever cookies there are."""
    for name, way in WAYS.items():
        said = await way(server, "opaque", {"Cookie": COOKIE, "Origin": "http://localhost"})
        assert said == "unauthorized", name
    assert server.hub.hook.asking == 0

"""A follower against a real server, with a proxy between them that does what networks do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

import pushd.testing
from pushd.auth import mint_token
from pushd.client import (
    BadAnswer,
    Client,
    FollowOptions,
    MemoryCursors,
    Received,
    RetryPolicy,
    Status,
)
from pushd.client.credential import expiry_of
from pushd.client.ladder import TransportKind
from pushd.errors import TokenExpired
from tests.client.proxies import Proxy, is_stream, is_upgrade, proxied, status, without_hints
from tests.support.app import running_server, until
from tests.support.server import ServerProcess, free_port
from tests.support.wire import KEY

# A machine that is busy ends no session: only where a peer vanishes is a pong missed soon.
QUICK = {"ack_after_s": 0.05, "pong_s": 600.0, "wait_s": 5.0}
SOON = {"pong_s": 0.5}
PATIENCE_S = 180.0


@pytest.fixture
async def node() -> AsyncIterator[pushd.testing.Node]:
    """Beats and advises fast: a fault is noticed within a second or two."""
    async with pushd.testing.server(
        heartbeat_interval="1s", pull_interval="1s", sse_heartbeat="1s"
    ) as node:
        yield node


@pytest.fixture
async def proxy(node: pushd.testing.Node) -> AsyncIterator[Proxy]:
    async with proxied(node.port) as proxy:
        yield proxy


class Watch:
    """Takes a follower's events and lets a test wait for what they say."""

    def __init__(self) -> None:
        self.data: list[Any] = []
        self.seen: list[Status] = []
        self.changed = trio.Event()

    def take(self, event: object) -> None:
        if isinstance(event, Received):
            self.data.append(event.data)
        if isinstance(event, Status):
            self.seen.append(event)
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, *data: Any) -> None:
        with trio.fail_after(PATIENCE_S):
            while self.data[-len(data) :] != list(data):
                await self.changed.wait()

    async def status(self, kind: str, detail: str = "") -> None:
        """One of this kind, since the last one that was waited for."""
        with trio.fail_after(PATIENCE_S):
            while not any(each.kind == kind and detail in each.detail for each in self.seen):
                await self.changed.wait()
        self.seen.clear()


@asynccontextmanager
async def watching(client: Client, *channels: str, **given: Any) -> AsyncIterator[Watch]:
    options = FollowOptions(**{**QUICK, **given.pop("options", {})})
    watch = Watch()

    async def run() -> None:
        async for event in client.follow(*channels, options=options, **given):
            watch.take(event)

    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield watch
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def publisher(node: pushd.testing.Node) -> AsyncIterator[Any]:
    async with node.service() as service:

        async def publish(*data: Any) -> None:
            for each in data:
                await service.publish("news", each)

        yield publish


def alice(node: pushd.testing.Node, proxy: Proxy) -> Client:
    return Client(proxy.url, node.token("alice"), device="phone")


KINDS = pytest.mark.parametrize("kind", ["websocket", "sse"])
NAMES = {"websocket": "WebSocket", "sse": "event stream"}


@KINDS
async def test_a_cut_connection_is_made_again(
    node: pushd.testing.Node, proxy: Proxy, kind: TransportKind
) -> None:
    async with publisher(node) as publish, watching(
        alice(node, proxy), "news", after="0", options={"transports": (kind,)}
    ) as watch:  # fmt: skip
        await watch.status("live", NAMES[kind])
        await publish(1)
        await watch.until(1)
        for number in range(2, 5):
            proxy.cut()
            await publish(number)
            await watch.until(number)
            await watch.status("live")
    assert watch.data == [1, 2, 3, 4], "each once"


# With a kernel that still takes what comes, and as of a machine without power.
HOWS = pytest.mark.parametrize("how", [Proxy.freeze, Proxy.vanish], ids=["frozen", "gone"])


@KINDS
@HOWS
async def test_a_peer_that_vanished_without_a_word_is_noticed(
    node: pushd.testing.Node, proxy: Proxy, kind: TransportKind, how: Callable[[Proxy], None]
) -> None:
    async with publisher(node) as publish, watching(
        alice(node, proxy), "news", after="0", options={"transports": (kind,), **SOON}
    ) as watch:  # fmt: skip
        await watch.status("live", NAMES[kind])
        how(proxy)
        await publish(1)
        await watch.status("lost", "no pong" if kind == "websocket" else "nothing was heard")
        await watch.status("live", NAMES[kind])
        await watch.until(1)


@HOWS
async def test_a_held_poll_whose_server_vanished_is_asked_again(
    node: pushd.testing.Node,
    proxy: Proxy,
    how: Callable[[Proxy], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pushd.client.transport._PULL_ANSWER_S", 0.5)
    options = {"transports": (), "wait_s": 1.0}
    async with publisher(node) as publish, watching(
        alice(node, proxy), "news", after="0", options=options
    ) as watch:  # fmt: skip
        await publish(1)
        await watch.until(1)
        how(proxy)
        await publish(2)
        await watch.status("retrying", "did not answer in time")
        await watch.until(1, 2)


def swallow_the_next_answer(proxy: Proxy, how: Callable[[Proxy], None]) -> None:
    """And with it the connection that brings it."""
    passes = proxy.thin

    def swallow(_data: bytes) -> bytes:
        how(proxy)
        proxy.thin = passes
        return b""

    proxy.thin = swallow


@HOWS
async def test_a_publish_into_the_void_is_sent_again(
    node: pushd.testing.Node, proxy: Proxy, how: Callable[[Proxy], None]
) -> None:
    def more_time(*_: object) -> None:
        """What goes out after the loss arrives, however long that takes."""
        object.__setattr__(retries, "answer_s", PATIENCE_S)

    retries = RetryPolicy(answer_s=PATIENCE_S, on_retry=more_time)
    async with Client(proxy.url, node.key, retries=retries) as client:
        first = await client.publish("news", 1)
        how(proxy)  # the kept connection
        object.__setattr__(retries, "answer_s", 0.5)
        second = await client.publish("news", 2)
        assert retries.answer_s == PATIENCE_S, "it was lost"
    assert (first.seq, second.seq) == (1, 2)
    assert not second.duplicate


@HOWS
async def test_a_publish_whose_answer_vanished_is_sent_again_and_stored_once(
    node: pushd.testing.Node, proxy: Proxy, how: Callable[[Proxy], None]
) -> None:
    """The client cannot tell that the server has it, and need not."""
    retries = RetryPolicy(answer_s=0.5, give_up_s=PATIENCE_S)
    async with node.service() as service, Client(proxy.url, node.key, retries=retries) as client:
        first = await client.publish("news", 1)
        swallow_the_next_answer(proxy, how)
        second = await client.publish("news", 2)
        results = [each async for each in client.publish_lines([("news", {"data": 3})])]
        page = await service.pull("news", after="0")
    assert (first.seq, second.seq) == (1, 2)
    assert second.duplicate, "only its answer was lost"
    assert [result.published and result.published.seq for result in results] == [3]
    assert [message.data for message in page.messages] == [1, 2, 3]


async def test_without_a_single_hint_the_interval_finds_everything(
    node: pushd.testing.Node, proxy: Proxy
) -> None:
    proxy.thin = without_hints
    async with publisher(node) as publish, watching(alice(node, proxy), "news", after="0") as watch:
        await watch.status("live")
        for number in range(3):
            await publish(number)
            await watch.until(number)


async def test_channels_beyond_what_a_session_follows_come_without_hints() -> None:
    """The user's own take room, too: of 128 that are named a session has not all."""
    names = ["a", "b", "c"]
    async with (
        pushd.testing.server(max_channels_per_session=3, pull_interval="1s") as node,
        node.service() as service,
        watching(node.client("alice"), *names, after="0") as watch,
    ):
        await watch.status("live")
        for name in names:
            await service.publish(name, name)
        with trio.fail_after(PATIENCE_S):
            while sorted(watch.data) != names:
                await watch.changed.wait()


async def test_where_no_websocket_gets_through_the_event_stream_does(
    node: pushd.testing.Node, proxy: Proxy
) -> None:
    proxy.instead = lambda head: status(403, "Forbidden") if is_upgrade(head) else None
    async with publisher(node) as publish, watching(alice(node, proxy), "news", after="0") as watch:
        await watch.status("live", "event stream")
        await publish(1)
        await watch.until(1)


async def test_where_neither_does_polls_are_held_and_better_times_noticed(
    node: pushd.testing.Node, proxy: Proxy
) -> None:
    refused = status(501, "Not Implemented")
    proxy.instead = lambda head: refused if is_upgrade(head) or is_stream(head) else None
    async with publisher(node) as publish, watching(alice(node, proxy), "news", after="0") as watch:
        await watch.status("polling", "501")
        for number in range(3):
            await publish(number)
            await watch.until(number)
        proxy.instead = lambda _head: None
        await watch.status("live", "WebSocket")
        await publish(9)
        await watch.until(9)


async def test_the_session_of_a_vanished_websocket_is_replaced(
    node: pushd.testing.Node, proxy: Proxy
) -> None:
    """The server believes that the WebSocket lives, and would refuse the stream of its device."""
    async with watching(alice(node, proxy), "news", after="0", options=SOON) as watch:
        await watch.status("live", "WebSocket")
        proxy.instead = lambda head: status(403, "Forbidden") if is_upgrade(head) else None
        proxy.freeze()
        await watch.status("lost", "no pong")
        await watch.status("live", "event stream")
    assert any(is_stream(head) and b"replaces=" in head for head in proxy.heads)


async def test_retry_after_is_obeyed(node: pushd.testing.Node, proxy: Proxy) -> None:
    busy = status(503, "Busy", "Retry-After: 1\r\n")
    asked: list[float] = []

    def instead(head: bytes) -> bytes | None:
        if not head.startswith(b"POST /v1/pull") or len(asked) >= 2:
            return None
        asked.append(trio.current_time())
        return busy

    proxy.instead = instead
    async with publisher(node) as publish, watching(alice(node, proxy), "news", after="0") as watch:
        await publish(1)
        await watch.status("retrying")
        await watch.status("recovered")
        await watch.until(1)
    assert all(after - before >= 1 for before, after in pairwise(asked))


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"


@pytest.mark.parametrize("said", [status(404, "Not Found"), status(403, "No"), PAGE])
async def test_what_a_proxy_says_meanwhile_is_not_the_end(
    node: pushd.testing.Node, proxy: Proxy, said: bytes
) -> None:
    """While its server is away, a proxy may answer 404, or with a page for people."""
    async with publisher(node) as publish, watching(alice(node, proxy), "news", after="0") as watch:
        await publish(1)
        await watch.until(1)
        proxy.instead = lambda _head: said
        proxy.cut()
        await watch.status("retrying")
        await publish(2)
        proxy.instead = lambda _head: None
        await watch.until(2)


@pytest.mark.parametrize("after", [None, "0"])
async def test_what_is_no_server_of_ours_from_the_start_is_told(
    node: pushd.testing.Node, proxy: Proxy, after: str | None
) -> None:
    proxy.instead = lambda _head: PAGE

    async def follow() -> None:
        async with alice(node, proxy) as client:
            async for _ in client.follow("news", after=after):
                pass

    with pytest.raises(BadAnswer), trio.fail_after(PATIENCE_S):
        await follow()


async def test_publishing_through_a_bad_line_stores_once(
    node: pushd.testing.Node, proxy: Proxy
) -> None:
    """The first answers are lost: the same id goes out again."""
    lost = 3

    def thin(data: bytes) -> bytes:
        nonlocal lost
        if data.startswith(b"HTTP/1.1 20") and lost:
            lost -= 1
            proxy.cut()
            return b""
        return data

    proxy.thin = thin
    policy = RetryPolicy(base_s=0.01)
    async with Client(proxy.url, node.key, retries=policy) as client:
        done = await client.publish("news", "once")
    assert (done.seq, done.duplicate) == (1, True)


async def test_a_token_function_keeps_the_session_beyond_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's clock is far ahead: each token has two seconds left when it comes."""
    made: list[str] = []

    async with running_server(tmp_path) as server, proxied(server.port) as proxy:

        async def token() -> str:
            made.append(server.token("alice", ttl_s=3600 * (1 + len(made))))
            return made[-1]

        client = Client(proxy.url, token, device="phone")
        monkeypatch.setattr(
            client._http.credential, "_now", lambda: (expiry_of(made[-1]) or 0.0) - 2.0
        )
        async with watching(client, "news", after="0") as watch:
            await watch.status("live")
            [session] = server.hub.sessions.of_user("alice")
            assert session.identity.expires is not None
            for count in (2, 3):
                before = session.identity.expires
                await until(lambda before=before: session.identity.expires > before)
                await server.publish("news", count)
                await watch.until(count)
            assert watch.seen == [], "one session all the time"
            assert [*server.hub.sessions.of_user("alice")] == [session]
            assert sum(is_upgrade(head) for head in proxy.heads) == 1


@KINDS
async def test_an_expired_token_without_a_function_ends_it(
    node: pushd.testing.Node, proxy: Proxy, kind: TransportKind
) -> None:
    options = FollowOptions(transports=(kind,), **QUICK)

    async def follow() -> None:
        async with Client(proxy.url, node.token("alice", ttl_s=2)) as client:
            async for _ in client.follow("news", options=options):
                pass

    with pytest.raises(TokenExpired), trio.fail_after(PATIENCE_S):
        await follow()


async def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Nothing is lost and nothing comes twice, whichever moment it dies at."""
    store = MemoryCursors()
    policy = RetryPolicy(give_up_s=60, base_s=0.05, cap_s=0.5)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ServerProcess(tmp_path, pull_interval="1s"))
        url = "http://{}:{}".format(*server.address)
        service = await stack.enter_async_context(Client(url, KEY, retries=policy))
        client = Client(url, server.token("alice", subscribe=("*",)))
        watch = await stack.enter_async_context(watching(client, "news", after="0", store=store))
        await watch.status("live")
        for number in range(1, 61):
            await service.publish("news", number)
            if number % 20 == 0:
                await server.kill()
                await server.start()
        await watch.until(60)
        await watch.status("live")
    assert watch.data == list(range(1, 61))
    assert store.cursors["news"].endswith(".60")


async def test_a_planned_restart_on_the_same_address(tmp_path: Path) -> None:
    """A goodbye, then nobody there for a moment, then the same server."""
    settings = {"heartbeat_interval": "1s", "pull_interval": "1s"}
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}", token_of_alice(), device="phone")
    async with watching(client, "user:alice") as watch:
        await watch.status("retrying", "No server answers")
        for life in range(3):
            async with pushd.testing.server(tmp_path, port=port, **settings) as node:
                await watch.status("live")
                async with node.service() as service:
                    await service.publish("user:alice", life)
                await watch.until(life)
            await watch.status("lost", "restart")
    assert watch.data == [0, 1, 2]


def token_of_alice() -> str:
    return mint_token(pushd.testing.SECRET, "alice")

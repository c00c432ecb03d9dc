"""Where cursors are kept: files that are whole, and followers that go on where they were."""

from __future__ import annotations

import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pushd.client import FileCursors, MemoryCursors, Placed, Received
from pushd.client.ladder import TransportKind
from pushd.client.problems import Unreachable
from pushd.errors import BadSetting
from tests.client.fakes import EPOCH, FakeServer, data, following, take
from tests.support.steps import recorded


@pytest.fixture
async def server() -> FakeServer:
    return FakeServer()


async def test_a_file_keeps_them_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cursors.json"
    store = FileCursors(path)
    assert await store.load(["a"]) == {}
    await store.save({"a": f"{EPOCH}.1", "b": "none.0"})
    await store.save({"a": f"{EPOCH}.2"})
    again = FileCursors(path)
    assert await again.load(["a", "b", "c"]) == {"a": f"{EPOCH}.2", "b": "none.0"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path], "no draft is left"


async def test_a_file_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileCursors(tmp_path / "cursors.json")
    steps = recorded(monkeypatch)
    await store.save({"a": f"{EPOCH}.1"})
    (draft,) = {step.split(" -> ")[0] for step in steps if step.endswith(" -> cursors.json")}
    assert draft != "cursors.json"
    assert steps == [f"sync {draft}", f"{draft} -> cursors.json", f"sync {tmp_path.name}"]
    await store.save({"a": f"{EPOCH}.1"})
    assert len(steps) == 3, "what is there already is not written"


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"cursors":{"a":"41"}}',
                                     b'{"cursors":{},"version":2}'])  # fmt: skip
async def test_another_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(BadSetting, match="other"):
        await FileCursors(path).load(["a"])
    with pytest.raises(BadSetting):
        await FileCursors(path).save({"a": f"{EPOCH}.1"})
    assert path.read_bytes() == content


async def test_a_follower_goes_on_after_what_was_processed(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    store = MemoryCursors()
    server.publish("a", 1, 2, 3)
    async with following(server, {"a": "0"}, store=store) as events:
        assert await data(events, 2) == [1, 2]
    assert store.cursors == {"a": f"{EPOCH}.1"}, "the second was not processed"
    async with following(server, {"a": "0"}, store=store) as events:
        assert await data(events, 2) == [2, 3], "the store beats 'after'"


@pytest.mark.parametrize("kinds", [("websocket",), ()], ids=["hints", "polls"])
async def test_ones_own_channels_go_on_after_the_store_as_well(
    autojump_clock: MockClock, server: FakeServer, kinds: tuple[TransportKind, ...]
) -> None:
    """Only the server can name them, and it knows nothing of a client without a device."""
    store = MemoryCursors()
    server.own = ["all", "user:alice"]
    server.publish("all", 1)
    server.publish("user:alice", 2)

    async def after(
        begin: dict[str, str], count: int, store: MemoryCursors | None = store, **given: Any
    ) -> list[object]:
        async with following(
            server, begin, mine=True, store=store, transports=kinds, **given
        ) as events:
            found = await data(events, count)
            with trio.move_on_after(60):
                found.append(await anext(events))
        return found

    assert await after({"all": "0"}, 2) == [1, 2]
    server.publish("all", "while it was down")
    server.publish("user:alice", 3)
    assert sorted(map(str, await after({}, 2))) == ["3", "while it was down"]
    own = {"all": f"{EPOCH}.1", "user:alice": f"{EPOCH}.1"}
    for kept in (MemoryCursors(), None):
        assert sorted(map(str, await after({}, 2, kept, own=own))) == ["3", "while it was down"]
    later = dict.fromkeys(own, f"{EPOCH}.2")
    found = await after({}, 2, MemoryCursors(own), own=later)
    assert sorted(map(str, found)) == ["3", "while it was down"], "the store beats 'after'"


async def test_a_hint_for_a_channel_that_waits_for_the_store_is_remembered(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    class Slow(MemoryCursors):
        async def load(self, channels: Collection[str]) -> Mapping[str, str]:
            if channels == ["user:alice"]:
                server.publish("user:alice", "meanwhile")
                await trio.sleep(1)
            return await super().load(channels)

    server.own = ["user:alice"]
    store = Slow({"user:alice": "none.0"})
    async with following(server, [], mine=True, store=store) as events:
        assert await data(events, 1) == ["meanwhile"]
        assert trio.current_time() < 5, "before the interval"


async def test_saves_are_batched(autojump_clock: MockClock, server: FakeServer) -> None:
    saved: list[Mapping[str, str]] = []

    class Store(MemoryCursors):
        async def save(self, cursors: Mapping[str, str]) -> None:
            saved.append(dict(cursors))
            await super().save(cursors)

    server.publish("a", *range(10))
    async with following(server, {"a": "0"}, store=Store()) as events:
        await data(events, 10)
        with trio.move_on_after(100):
            await anext(events)
    assert saved == [{"a": f"{EPOCH}.10"}]


async def test_at_most_once_is_saved_before_it_is_given(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    store = MemoryCursors()
    server.publish("a", 1, 2, 3)
    async with following(server, {"a": "0"}, store=store, at_most_once=True, limit=2) as events:
        assert await data(events, 1) == [1]
        assert store.cursors == {"a": f"{EPOCH}.2"}
        await trio.sleep(10)
        assert await data(events, 1) == [2]
        await trio.sleep(10)
        assert store.cursors == {"a": f"{EPOCH}.2"}, "never back"
    async with following(server, {"a": "0"}, store=store, at_most_once=True) as events:
        assert await data(events, 1) == [3]


async def test_at_most_once_with_the_server_waits_for_its_word(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    server.hello["device"] = "d"
    server.ack_error = Unreachable("down")
    server.publish("a", 1)
    async with following(server, {"a": "0"}, at_most_once=True, has_device=True) as events:
        with trio.move_on_after(30):
            while not isinstance(event := await anext(events), Received):
                pass
            raise AssertionError(event)
        server.ack_error = None
        assert await data(events, 1) == [1]
    assert server.acks[-1][1] == {"a": f"{EPOCH}.1"}


@pytest.mark.parametrize("method", ["load", "save"])
async def test_what_a_store_raises_comes_out(
    autojump_clock: MockClock, server: FakeServer, method: str
) -> None:
    class Broken(MemoryCursors):
        async def load(self, channels: Collection[str]) -> Mapping[str, str]:
            if method == "load":
                raise KeyError("table")
            return {}

        async def save(self, cursors: Mapping[str, str]) -> None:
            raise KeyError("table")

    server.publish("a", 1)

    async def follow() -> None:
        async with following(server, {"a": "0"}, store=Broken()) as events:
            while True:
                await anext(events)

    with pytest.raises(KeyError, match="table"):
        await follow()


async def test_a_new_place_is_saved_although_nothing_came(
    autojump_clock: MockClock, server: FakeServer
) -> None:
    """Else what comes while it is away would not be followed the next time."""
    store = MemoryCursors()
    server.publish("a", 1)
    async with following(server, ["a"], store=store) as events:
        assert await take(events, 1, Placed) == [Placed("a", f"{EPOCH}.1")]
        with trio.move_on_after(5):
            while True:
                await anext(events)
    assert store.cursors == {"a": f"{EPOCH}.1"}

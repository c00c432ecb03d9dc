"""pushd.testing: what an application's tests get."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import structlog
import trio

import pushd.testing
from pushd.client import Placed, Received
from pushd.errors import BadSetting, Forbidden, TooLarge
from tests.support.server import free_port


async def test_publish_pull_and_follow_as_user_and_service() -> None:
    async with (
        pushd.testing.server() as node,
        node.client("alice", device="phone") as alice,
        node.service() as service,
    ):
        first = await service.publish("user:alice", {"n": 1})
        assert (await alice.pull("user:alice", after="0")).messages[0].data == {"n": 1}
        assert [item.channel for item in await service.channels()] == ["user:alice"]
        with pytest.raises(Forbidden):
            await alice.publish("news", "may not")
        with trio.fail_after(180):
            async for event in alice.follow("user:alice"):
                if isinstance(event, Received):
                    break
            assert isinstance(event, Received)
            assert event.cursor == f"{first.epoch}.1"


async def test_a_directory_outlives_its_server(tmp_path: Path) -> None:
    port = free_port()
    async with pushd.testing.server(tmp_path, port=port) as node, node.service() as service:
        await service.publish("news", "kept")
    async with pushd.testing.server(tmp_path, port=port) as again:
        assert again.url == node.url
        async with again.service() as service:
            assert [m.data for m in (await service.pull("news", after="0")).messages] == ["kept"]


async def test_several_at_once_know_nothing_of_each_other() -> None:
    async with (
        pushd.testing.server() as one,
        pushd.testing.server() as two,
        one.service() as service,
        two.service() as other,
    ):
        await service.publish("news", 1)
        assert await other.channels() == []


async def test_settings_are_written_as_in_the_file() -> None:
    public = {"news": {"public": True}}
    async with pushd.testing.server(max_body="1KiB", namespaces=public, path_prefix="/p") as node:
        assert node.url.endswith("/p")
        async with node.service() as service:
            with pytest.raises(TooLarge):
                await service.publish("news", "x" * 3000)
        async with node.client("alice", subscribe=()) as alice:
            with trio.fail_after(180):
                assert isinstance(await anext(alice.follow("news")), Placed)


@pytest.mark.parametrize(
    "settings", [{"max_bodi": 1}, {"max_body": "many"}, {"listen": "0.0.0.0:1"}]
)
async def test_what_is_no_setting(settings: dict[str, object]) -> None:
    with pytest.raises(BadSetting):
        async with pushd.testing.server(**settings):  # type: ignore[arg-type]
            raise AssertionError("served")


@pytest.mark.usefixtures("own_logging")
async def test_signals_and_logging_stay_the_applications() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with pushd.testing.server():
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert not structlog.is_configured()


async def test_an_error_of_the_body_comes_out_alone() -> None:
    with pytest.raises(ZeroDivisionError):
        async with pushd.testing.server():
            raise ZeroDivisionError


async def test_a_group_of_the_body_comes_out_as_it_was() -> None:
    raised = ExceptionGroup("two at once, or one", [ZeroDivisionError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with pushd.testing.server() as node, node.client("alice"):
            raise raised
    assert caught.value.args == raised.args


async def test_cancelling_the_body_ends_the_server() -> None:
    port = free_port()
    with trio.CancelScope() as scope:
        async with pushd.testing.server(port=port) as node, node.service() as service:
            await service.publish("news", 1)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    async with pushd.testing.server(port=port):
        pass

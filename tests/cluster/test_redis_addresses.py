"""All the ways to reach Redis, and the least that its user must be allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio

from pushd.cluster.bus.address import RedisAddress
from pushd.cluster.bus.bus import Bus
from pushd.cluster.bus.commands import RedisAway
from pushd.cluster.bus.texts import Hint, OwnerRecord
from pushd.core.nodes import NodeRecord
from pushd.errors import BadSetting
from pushd.settings.cluster import OptionalRedis
from tests.cluster.test_registry import Live, Registry, RollCall, Told
from tests.support.buses import Member, make, running, until
from tests.support.redis import PATIENCE, RedisServer, SentinelServer

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


async def told(sender: Member, hearer: Member, seq: int) -> None:
    with trio.fail_after(PATIENCE):
        while hearer.heads().get("c") != ("e", seq):
            sender.bus.publish_hints(Hint("g", seq, False, [("c", "e", seq)]))
            await trio.sleep(0.05)


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as redis:
        async with running(f"unix://{redis.socket}?db=1", "a", "b") as (a, b):
            await told(a, b, 1)
            await until(lambda: a.bus.marker)
        assert await redis.run("DBSIZE") == 0  # it is in the other one


async def test_over_tls_both_sides_show_a_certificate(tmp_path: Path) -> None:
    async with RedisServer(tmp_path, tls=True) as redis:
        async with running(redis.url, "a", "b") as (a, b):
            await told(a, b, 1)
        lacks = redis.url.partition("&ssl_certfile")[0]
        system = redis.url.partition("?")[0]
        plain = redis.url.replace("rediss:", "redis:").partition("?")[0]
        for url in (lacks, system, plain):
            async with running(url, "c", connected=False) as (c,):
                await until(lambda c=c: c.bus.state.error)
                assert c.gaps == 0
                assert url is not system or "CERTIFICATE_VERIFY_FAILED" in c.bus.state.error


async def test_over_sentinels_to_who_rules_now(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path / "first") as first,
        RedisServer(tmp_path / "next", "--replicaof", "127.0.0.1", str(first.port)) as second,
    ):
        with trio.fail_after(PATIENCE):
            while (await second.run("INFO", "replication")).get("master_link_status") != "up":
                await trio.sleep(0.1)
        async with SentinelServer(tmp_path / "sentinel", first) as sentinel:
            with trio.fail_after(PATIENCE):
                while not await sentinel.run("SENTINEL", "REPLICAS", sentinel.service):
                    await trio.sleep(0.1)
            away = "sentinel://127.0.0.1:1,"
            url = sentinel.url.replace("sentinel://", away) + "?socket_timeout=20"
            async with running(url, "a", "b") as (a, b):
                await told(a, b, 1)
                await first.kill()
                await sentinel.notice_losses()
                await until(lambda: a.losses and b.losses)
                await until(lambda: a.gaps > 1 and b.gaps > 1)
                await told(a, b, 2)
                assert (await second.run("ROLE"))[0] in (b"master", "master")
                # A node still talks to one that ruled, and is refused: it asks anew.
                losses = a.losses
                await second.run("REPLICAOF", "127.0.0.1", "1")
                await until(lambda: a.losses > losses)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://h?decode_responses=yes", "decode_responses"),
        ("redis://h?protocol=3", "protocol"),
        ("redis://h?socket_timeout=soon", "socket_timeout"),
        ("unix:///s?ssl_ca_certs=x", "ssl_ca_certs"),
        ("redis://h?ssl_ca_certs=x", "ssl_ca_certs"),
        ("http://h", "scheme"),
        ("sentinel://h", "service"),
        ("sentinel://h:port/s", "port"),
        ("redis://:secret@h?what=1", "what"),
        ("redis://:secret/word@h", "%2f"),
        ("redis://:secret?word@h", "%3f"),
        ("redis://:secret#word@h", "%23"),
    ],
)
def test_an_address_that_is_none(url: str, why: str) -> None:
    with pytest.raises(BadSetting) as caught:
        RedisAddress(url, 1.0)
    assert why in caught.value.detail.lower()
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:p%40ss@h:1/2?socket_timeout=9", "redis://user:***@h:1/2"),
        ("sentinel://:word@a:1,b/s/3?tls=yes&sentinel_password=x", "sentinel://:***@a:1,b/s/3"),
        ("unix://:word@/run/redis.sock?db=4", "unix://:***@/run/redis.sock"),
        ("redis://user:pass:word@h:1/0", "redis://user:***@h:1/0"),
        ("redis://:pass@word@h:1", "redis://:***@h:1"),
        ("redis://h/0?password=pass@word", "redis://***"),
    ],
)
def test_what_is_secret_is_not_shown(url: str, shown: str) -> None:
    address = RedisAddress(url, 1.0)
    assert address.shown == OptionalRedis().show(url) == shown
    assert address.timeout_s == (9.0 if "timeout" in url else 1.0)


def rights() -> list[str]:
    """As the documentation has them, without user and password."""
    [line] = re.findall(r"^ACL SETUSER pushd (.*)$", OPERATIONS.read_text("utf-8"), re.MULTILINE)
    words = str(line).split()
    assert words[:2] == ["on", ">PASSWORD"]
    return [word.replace("pushd:*", "t:*") for word in words[2:]]


def allowed() -> set[str]:
    return {word[1:] for word in rights() if word.startswith("+")}


def everything(bus: Bus) -> None:
    """What a node does, so that each command is used."""
    bus.book.describe = lambda: NodeRecord(bus.node, "edge", "", "1", 0.0, 0, 0, 0, 0.0, "g")


async def test_the_documented_rights_are_enough_and_all_are_used(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as redis, trio.open_nursery() as nursery:
        url = await redis.add_user("node", "word", *rights())
        await redis.run("CONFIG", "RESETSTAT")
        member, edge_bus, live, seen = Member(make(url, "owner")), make(url, "edge"), Live(), Told()
        registry = Registry(edge_bus, live, live.happenings)  # type: ignore[arg-type]
        other = Member(edge_bus)
        call = RollCall(member.bus, seen)
        for each in (member.bus, edge_bus):
            everything(each)
        async with trio.open_nursery() as nodes:
            for run in (member.bus.run, edge_bus.run, registry.run, call.run):
                await nodes.start(run)
            session = live.open("ann", "all")
            member.bus.announce(OwnerRecord("owner", "http://o", "1", 0.0))
            await until(lambda: session.id in seen.live and other.bus.owner())
            live.close(session)
            await until(lambda: not seen.live)
            await redis.run("SADD", "t:nodes", "ghost")
            await until(lambda: other.owners)
            await told(member, other, 1)
            assert len(await member.bus.nodes()) == 2
            with trio.fail_after(PATIENCE):
                while await redis.run("SISMEMBER", "t:nodes", "ghost"):
                    await trio.sleep(0.01)
            await until(lambda: member.bus._owner._there)  # else it does not take it away
            assert member.bus.state.error == other.bus.state.error == ""
            for command in (("GET", "x:owner"), ("FLUSHALL",), ("PUBLISH", "x:hints", "")):
                with pytest.raises(RedisAway, match="permissions"):
                    await member.bus.ask(command)
            nodes.cancel_scope.cancel()
        assert await redis.run("KEYS", "t:*") == [b"t:marker"]
        used = {
            name.removeprefix("cmdstat_")
            for name, said in (await redis.run("INFO", "commandstats")).items()
            if said["calls"] > said["rejected_calls"]
        }
        assert allowed() <= used
        nursery.cancel_scope.cancel()


async def test_a_right_that_is_missing_is_said(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as redis:
        url = await redis.add_user("node", "word", *rights(), "-set")
        async with running(url, "a") as (a,):
            await until(lambda: "permissions" in a.bus.state.error)
            assert a.bus.state.connected
            assert "'set'" in a.bus.state.error

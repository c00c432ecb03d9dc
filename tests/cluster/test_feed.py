"""What the owner tells other nodes: changes since a version, and all there is, in pages."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pushd.answers import answer_of
from pushd.cluster.bus.texts import SessionRecord
from pushd.cluster.owner import feeding, snapshot
from pushd.cluster.owner import owner as owners
from pushd.cluster.owner.remote import RemoteSessions
from pushd.cluster.wire import PATH, Bye, FeedAsk, ReadMark
from pushd.core.journal import Journal
from pushd.errors import NotFound
from pushd.log import Log
from tests.support.app import KEY, running_server, until
from tests.support.asking import CLUSTER_KEY, Asking, Copy, asking, body
from tests.support.http import Peer


async def test_what_has_changed_since_a_version(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        begun = (await edge.feed()).version
        nothing = await edge.feed(begun)
        assert (nothing.version, nothing.heads, nothing.more) == (begun, [], False)
        for number in range(3):
            await edge.server.publish("news", number)
        stored = await edge.server.publish("other")
        feed = await edge.feed(begun)
        assert [(head.channel, head.seq) for head in feed.heads] == [("news", 3), ("other", 1)]
        assert feed.heads[1].epoch == stored["epoch"]
        assert (await edge.feed(feed.version)).heads == []
        assert (await edge.feed(begun)).heads == feed.heads  # asked again: told again
        assert feed.generation == edge.generation


async def test_everything_else_that_changes(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        log, server = edge.server.hub.log, edge.server
        for number in range(4):
            await server.publish("news", number)
        gone = await server.publish("gone")
        begun = (await edge.feed()).version
        await answer_of(partial(log.trim, "news", 3))
        await answer_of(partial(log.redact, "news", 4))
        await answer_of(partial(log.delete, "gone"))
        await answer_of(partial(log.change_members, "team", ["ann", "bob"], []))
        await answer_of(partial(log.change_members, "team", ["cid"], ["bob"]))
        await answer_of(partial(log.revoke, "user", "eve", 4e9))
        await answer_of(partial(log.revoke, "jti", "token", 4e9))
        await answer_of(partial(log.unrevoke, "jti", "token"))
        edge.owner.bye(Bye("", "eve", 4001, "kicked", reconnect=False))
        feed = await edge.feed(begun)
        [head] = feed.heads
        assert (head.channel, head.first, head.seq, head.redactions) == ("news", 3, 4, 1)
        assert [(each.channel, each.epoch) for each in feed.ended] == [("gone", gone["epoch"])]
        assert [(each.group, each.joined, each.left) for each in feed.members] == [
            ("team", {"ann": 0}, ["bob"]),
            ("team", {"cid": 0}, ["bob"]),
        ]
        assert [(each.kind, each.value, each.until) for each in feed.revoked] == [
            ("user", "eve", 4e9),
            ("jti", "token", 0.0),
        ]
        assert [(bye.user, bye.code) for bye in feed.byes] == [("eve", 4001)]


async def test_read_marks_are_told_once_by_their_newest(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        server = edge.server
        begun = (await edge.feed()).version
        stored = [await server.publish("news", number) for number in range(2)]
        for number, each in enumerate(stored, begun + 3):
            body = {"cursor": f"{each['epoch']}.{each['seq']}", "device": f"d{each['seq']}"}
            path = "/v1/channels/news/read"
            answer = await server.ask("POST", path, token=server.token(), body=body)
            assert answer.status == 204
            await until(partial(reached, edge, number))  # else only the higher one is told
        last = f"{stored[1]['epoch']}.2"
        assert (await edge.feed(begun)).reads == [ReadMark("alice", "news", last, "d2")]


def reached(edge: Asking, version: int) -> bool:
    return edge.owner.journal.version == version


async def test_a_version_that_is_not_known_asks_for_the_snapshot(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        edge.owner.journal.floor = 1
        edge.owner.journal.version = 5
        for after in (0, 6):
            assert (await edge.feed(after)).reset
        assert not (await edge.feed(5)).reset


@pytest.mark.parametrize("seed", range(6))
async def test_a_snapshot_and_what_has_changed_since_are_exact(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes between two pages, and whatever the edge knew before."""
    monkeypatch.setattr(feeding, "PAGE", 3)
    monkeypatch.setattr(owners, "MEMBERS", 2)
    pick = random.Random(seed)
    async with asking(tmp_path) as edge:
        for _ in range(40):
            await change(edge, pick)
        for _ in range(4):
            copy, page = Copy(), None
            while True:
                feed = await edge.feed(page=page)
                assert len(feed.heads) + len(feed.revoked) <= 3
                copy.take(feed)
                for _ in range(pick.randrange(3)):
                    await change(edge, pick)
                page = feed.page
                if page is None:
                    break
            for _ in range(6):
                await catch_up(edge, copy)
                copy.assert_is(edge.owner, edge.server)
                for _ in range(pick.randrange(8)):
                    await change(edge, pick)


async def catch_up(edge: Asking, copy: Copy) -> None:
    more = True
    while more:
        feed = await edge.feed(copy.version)
        assert not feed.reset
        copy.take(feed)
        more = feed.more


async def change(edge: Asking, pick: random.Random) -> None:
    """One thing, as an administrator or a publisher does it."""
    log = edge.server.hub.log
    channel = pick.choice(["a", "b", "c", "group:g", "group:h"])
    group, users = pick.choice("gh"), pick.sample("uvwxyz", pick.randrange(1, 6))
    changes: list[Any] = [
        partial(log.change_members, group, users, []),
        partial(log.change_members, group, [], users),
        partial(log.delete, channel),
        partial(log.revoke, "user", pick.choice("uvw"), 4e9 + pick.randrange(9)),
        partial(log.unrevoke, "user", pick.choice("uvw")),
        partial(log.delete_group, group),
        *[None] * 5,
    ]
    chosen = pick.choice(changes)
    if chosen is None:
        await edge.server.publish(channel, pick.randrange(9))
    else:
        try:
            await answer_of(chosen)
        except NotFound:
            return
    if channel in log.heads and pick.random() < 0.2:
        await answer_of(partial(log.trim, channel, log.heads[channel].seq))


async def test_pages_of_a_large_group_and_many_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "PAGE", 10)
    async with asking(tmp_path) as edge:
        server, log = edge.server, edge.server.hub.log
        for name, count in (("large", 25), ("small", 7), ("smaller", 2)):
            users = [f"u{number}" for number in range(count)]
            await answer_of(partial(log.change_members, name, users, []))
        await answer_of(partial(log.revoke, "user", "eve", 4e9))
        for number in range(12):
            await server.publish(f"c{number}")
        copy, page, pages = Copy(), None, 0
        while pages == 0 or page is not None:
            feed = await edge.feed(page=page)
            again = await edge.feed(page=page)  # its answer was lost
            assert feed == again
            copy.take(feed)
            parts = [len(each.joined) for each in feed.members]
            assert sum(parts) + len(feed.heads) + len(feed.revoked) <= 10
            page, pages = feed.page, pages + 1
        copy.assert_is(edge.owner, server)
        assert pages == 6  # a group that fits into one is not divided


async def test_who_leaves_between_two_pages_hides_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "PAGE", 10)
    async with asking(tmp_path) as edge:
        change_members = partial(edge.server.hub.log.change_members, "large")
        users = [f"u{number}" for number in range(25)]
        await answer_of(partial(change_members, users, []))
        copy = Copy()
        feed = await edge.feed()
        copy.take(feed)
        await answer_of(partial(change_members, [], users[:9]))
        while feed.page is not None:
            feed = await edge.feed(page=feed.page)
            copy.take(feed)
        await catch_up(edge, copy)
        copy.assert_is(edge.owner, edge.server)


async def test_edges_that_begin_together_read_the_same_snapshot_and_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "PAGE", 2)
    now = [0.0]
    async with asking(tmp_path) as edge:
        feeder = edge.owner.served.feeder
        monkeypatch.setattr(feeder._snapshots, "_clock", lambda: now[0])
        for number in range(5):
            await edge.server.publish(f"c{number}")
        first = await edge.feed()
        assert await edge.feed() == first
        now[0] += snapshot.SHARED_S + 1
        other = await edge.feed()
        assert other.page != first.page
        assert len(feeder._snapshots) == 2
        now[0] += snapshot.KEPT_S - 1
        assert (await edge.feed(page=other.page)).heads
        assert (await edge.feed(page=first.page)).reset
        for _ in range(9):
            now[0] += snapshot.SHARED_S + 1
            await edge.feed()
        assert len(feeder._snapshots) == snapshot.MOST_LISTINGS
        assert (await edge.feed(page=other.page)).reset


async def test_a_snapshot_that_the_journal_cannot_complete_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "PAGE", 2)
    monkeypatch.setattr(owners, "Journal", lambda: Journal(4))
    async with asking(tmp_path) as edge:
        for number in range(5):
            await edge.server.publish(f"c{number}")
        first = await edge.feed()
        for _ in range(4):
            await edge.server.publish("c0")
        assert (await edge.feed(page=first.page)).heads
        await edge.server.publish("c0")
        assert (await edge.feed(page=first.page)).reset


@pytest.mark.parametrize("page", ["", "1", "x.0.0.0", "1.0.-1.0", "1.0.0.0.0", "é"])
async def test_a_page_that_there_never_was(page: str, tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        await edge.feed()
        answer = await edge.ask("feed", FeedAsk(edge.generation, edge.node, None, page))
        assert (answer.status, answer.code) == (400, "bad_request")


# Hints


async def test_a_commit_makes_one_hint_and_names_its_heads(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        to = {"to": {"channels": ["a", "b", "c"]}, "message": {"data": 1}}
        answer = await edge.server.ask("POST", "/v1/publish", token=KEY, body=to)
        await until(lambda: edge.hints)
        [hint] = edge.hints
        heads = [(each["channel"], each["epoch"], each["seq"]) for each in answer.json["results"]]
        assert sorted(hint.heads) == heads
        assert (hint.generation, hint.control, hint.nodes) == (edge.generation, False, [])
        assert hint.version == edge.owner.journal.version


async def test_what_is_no_message_is_control(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        log = edge.server.hub.log
        await edge.server.publish("news")
        changes: list[Any] = [
            partial(log.redact, "news", 1),
            partial(log.trim, "news", 2),
            partial(log.change_members, "team", ["ann"], []),
            partial(log.revoke, "user", "eve", 4e9),
            partial(log.delete, "news"),
        ]
        await until(lambda: edge.hints)
        for change_ in changes:
            edge.hints.clear()
            await answer_of(change_)
            await until(lambda: edge.hints)
            assert [hint.control for hint in edge.hints] == [True]
        edge.hints.clear()
        edge.owner.bye(Bye("s1", "", 4001, "kicked", reconnect=False))
        await until(lambda: edge.hints)
        assert edge.hints[0].control


async def test_what_comes_in_one_turn_of_the_loop_makes_one_hint(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        for session in ("s1", "s2"):
            edge.owner.bye(Bye(session, "", 4001, "kicked", reconnect=False))
        await until(lambda: edge.hints)
        assert len(edge.hints) == 1


async def test_a_read_mark_is_soon_told_where_the_user_is(tmp_path: Path) -> None:
    """And makes no hint for anybody else."""
    async with asking(tmp_path) as edge:
        remote = RemoteSessions(edge.server.hub, edge.owner.bye)
        now = time.time()
        remote.opened(SessionRecord("s1", "edge-7", "ann", None, "ws", "::1", now, now))
        for user in ("bob", "ann"):
            edge.owner.read(user, "news", "0mwq4qggt.1", None, None)
        await until(lambda: edge.hints)
        assert [(hint.nodes, hint.control, hint.heads) for hint in edge.hints] == [
            (["edge-7"], False, [])
        ]
        edge.hints.clear()
        edge.owner.read("bob", "news", "0mwq4qggt.2", None, None)
        await edge.server.publish("news")
        await until(lambda: edge.hints)
        assert [hint.heads[0][0] for hint in edge.hints] == ["news"]


async def test_what_is_just_due_hurries_nobody(tmp_path: Path) -> None:
    """Retention, and channels of sessions that have ended: with the next question."""
    async with asking(tmp_path, retention_messages=3, retention_interval=0.05) as edge:
        log = edge.server.hub.log
        before = (await edge.feed()).version
        for number in range(5):
            await edge.server.publish("news", number)
        told = body("session:s1")
        told.entries[0].lives = True
        await edge.append("b1", told)
        await until(lambda: log.heads["news"].first == 3)  # it may have looked at four of them
        await answer_of(partial(log.discard, ["session:s1"]))
        await edge.server.publish("last")
        await until(lambda: any(hint.heads[-1:] == [last(log)] for hint in edge.hints))
        assert not any(hint.control for hint in edge.hints)
        feed = await edge.feed(before)
        assert [each.channel for each in feed.ended] == ["session:s1"]
        assert {head.channel: head.first for head in feed.heads} == {"news": 3, "last": 1}


def last(log: Log) -> tuple[str, str, int]:
    return ("last", log.heads["last"].epoch, 1)


async def test_more_heads_than_a_hint_names_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "MOST_HEADS", 2)
    async with asking(tmp_path) as edge:
        to = {"to": {"channels": ["a", "b", "c"]}, "message": {"data": 1}}
        await edge.server.ask("POST", "/v1/publish", token=KEY, body=to)
        await until(lambda: edge.hints)
        assert [(len(hint.heads), hint.control) for hint in edge.hints] == [(2, True)]


async def test_who_takes_hints_may_fail(tmp_path: Path) -> None:
    async with asking(tmp_path, errors_expected=True) as edge:

        def fail(_: object) -> None:
            raise RuntimeError("no Redis")

        edge.owner.on_hints = fail
        await edge.server.publish("news")
        await until(lambda: any("hint" in each["event"] for each in edge.server.log))
        edge.owner.on_hints = edge.hints.append
        await edge.server.publish("news")
        await until(lambda: edge.hints)


# Who may ask


async def test_only_nodes_may_ask(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        body = FeedAsk(edge.generation, edge.node)
        for token, status in ((KEY, 403), (edge.server.token(), 403), ("nobody", 401)):
            assert (await edge.ask("feed", body, token)).status == status
        assert (await edge.server.ask("POST", PATH + "feed", body=b"{}")).status == 401
        answer = await edge.server.ask("GET", PATH + "feed", token=edge.token())
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert (await edge.ask("feed", b"[1")).status == 400
        assert (await edge.ask("feed", b"{}")).status == 400


async def test_another_generation_is_told_which_it_is(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        stale = edge.tokens.mint("another", 1e9)
        assert (await edge.ask("feed", FeedAsk("another", edge.node), stale)).status == 401
        for token in (None, outdated(edge)):
            answer = await edge.ask("feed", FeedAsk("another", edge.node), token)
            assert (answer.status, answer.code) == (409, "conflict")
            assert answer.json["generation"] == edge.generation


def outdated(edge: Asking) -> str:
    """A good token, for a generation that is over."""
    return edge.tokens.mint("another", time.time())


async def test_a_node_pulls_what_only_one_user_reads(tmp_path: Path) -> None:
    """The same pull as everybody's, with the increments of any channel."""
    async with asking(tmp_path) as edge:
        for channel in ("user:ann", "group:team", "news"):
            await edge.server.publish(channel, channel)
        body = {"cursors": dict.fromkeys(("user:ann", "group:team", "news"), "0")}
        answer = await edge.server.ask("POST", "/v1/pull", token=edge.token(), body=body)
        assert answer.status == 200
        pulled = answer.json["channels"]
        assert {name: each["messages"][0]["data"] for name, each in pulled.items()} == {
            name: name for name in body["cursors"]
        }
        refused = await edge.server.ask("POST", "/v1/pull", token=outdated(edge), body=body)
        assert (refused.status, refused.json["generation"]) == (409, edge.generation)


async def test_generations_rise_with_each_life_of_the_owner(tmp_path: Path) -> None:
    generations = []
    for _ in range(3):
        async with asking(tmp_path) as edge:
            generations.append(edge.generation)
            note = partial(edge.server.hub.log.write_note, "generation")
            if len(generations) == 1:  # its clock was an hour ahead
                ahead = "0" + "z" * 8 + edge.generation[9:]
                await answer_of(partial(note, ahead))
    assert generations[0] < generations[1] < generations[2]
    assert generations[1] > "0" + "z" * 8


async def test_without_a_cluster_there_is_no_such_route(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        answer = await server.ask("POST", PATH + "feed", token=KEY, body=b"{}")
        assert answer.status == 404


async def test_large_bodies_are_taken_of_nodes_only(tmp_path: Path) -> None:
    async with asking(tmp_path) as edge:
        large = b'{"generation":"%s","node":"n"%s}' % (
            edge.generation.encode(),
            b" " * 4_000_000,
        )
        assert (await edge.ask("feed", large)).status == 200
        async with await Peer.open(("127.0.0.1", edge.server.port)) as peer:
            refused = await peer.ask("POST", PATH + "feed", token=KEY, body=large[:200_000])
            assert refused.status == 413
        assert CLUSTER_KEY not in str(edge.server.log)

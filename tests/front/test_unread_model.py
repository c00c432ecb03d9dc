"""Unread against a model that knows each message by itself: whatever is published, read, trimmed,
deleted, erased, restarted or restored, by users who come, join and leave when they like."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pushd.log.tools.restore import adopt
from tests.support.app import KEY, Server, running_server
from tests.support.groups import join, leave

USERS = ["alice", "bob"]
CHANNELS = ["all", "user:alice", "user:bob", "group:team", "news"]
USER, CHANNEL = st.sampled_from(USERS), st.sampled_from(CHANNELS)
PUBLISH = st.tuples(st.just("publish"), CHANNEL, st.sampled_from([None, *USERS]), st.integers(1, 3))
STEPS = st.lists(
    st.one_of(
        PUBLISH,
        PUBLISH,
        st.tuples(st.just("come"), USER, st.sampled_from(["session", "inbox", "poll"])),
        st.tuples(st.just("join"), USER),
        st.tuples(st.just("leave"), USER),
        st.tuples(st.just("read"), USER, CHANNEL, st.integers(1, 6)),
        st.tuples(st.just("trim"), CHANNEL, st.integers(1, 7)),
        st.tuples(st.just("delete"), CHANNEL),
        st.tuples(st.just("erase"), USER),
        st.tuples(st.just("restart"), st.booleans()),
    ),
    min_size=15,
    max_size=40,
)


@dataclass
class Model:
    """``kept``: the seqs of each channel's life. ``unread``: those of them, by user and channel.
    ``counts``: who was seen, for ``all``; who marked ``news``; who is a member of the group."""

    kept: dict[str, list[int]] = field(default_factory=dict)
    head: dict[str, int] = field(default_factory=dict)
    unread: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    counts: set[tuple[str, str]] = field(default_factory=set)

    def publish(self, channel: str, by: str | None) -> None:
        seq = self.head[channel] = self.head.get(channel, 0) + 1
        self.kept.setdefault(channel, []).append(seq)
        for user in USERS:
            if channel not in ("all", "group:team") or (user, channel) in self.counts:
                self.unread.setdefault((user, channel), set()).add(seq)
        if by is not None and self.may_read(by, channel):
            self.read(by, channel, seq)

    def may_read(self, user: str, channel: str) -> bool:
        own = ("all", f"user:{user}", "news")
        return channel in own or (channel == "group:team" and (user, channel) in self.counts)

    def read(self, user: str, channel: str, upto: int) -> None:
        self.come(user) if channel == "all" else self.counts.add((user, channel))
        left = self.unread.get((user, channel), set())
        self.unread[user, channel] = {seq for seq in left if seq > upto}

    def come(self, user: str) -> None:
        self.counts.add((user, "all"))

    def join(self, user: str) -> None:
        self.counts.add((user, "group:team"))

    def leave(self, user: str) -> None:
        self.counts.discard((user, "group:team"))
        self.unread.pop((user, "group:team"), None)

    def trim(self, channel: str, before: int) -> None:
        self.kept[channel] = [seq for seq in self.kept[channel] if seq >= before]

    def delete(self, channel: str) -> None:
        self.kept.pop(channel, None)
        self.head.pop(channel, None)
        for user in USERS:
            self.unread.pop((user, channel), None)

    def erase(self, user: str) -> None:
        self.delete(f"user:{user}")
        self.counts -= {(user, channel) for channel in CHANNELS}
        self.unread.pop((user, "all"), None)
        self.unread.pop((user, "group:team"), None)
        self.unread[user, "news"] = set(self.kept.get("news", []))

    def count(self, user: str, channel: str) -> int | None:
        if channel in ("news", "group:team") and (user, channel) not in self.counts:
            return None
        if channel == "news" and channel not in self.head:
            return None  # what was marked in a life shows again in the next one
        left = self.unread.get((user, channel), set())
        return len(left.intersection(self.kept.get(channel, [])))

    def of(self, user: str) -> dict[str, int | None]:
        """Of what ``hello`` has, when ``news`` is asked for."""
        return {name: self.count(user, name) for name in CHANNELS if self.may_read(user, name)}


class World:
    """The server and the model side by side."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.model = Model()
        self.server: Server

    async def run(self, steps: list[Any]) -> None:
        while steps:
            async with running_server(self.directory) as self.server:
                adopts = await self._until_restart(steps)
            if adopts:
                adopt(self.directory / "log")

    async def _until_restart(self, steps: list[Any]) -> bool:
        while steps:
            what, *how = steps.pop(0)
            if what == "restart":
                await self._check()
                return bool(how[0])
            await getattr(self, what)(*how)
            await self._check()
        return False

    def token(self, user: str) -> str:
        grants = {"subscribe": ["news"], "publish": ["news", "all", "user:*", "group:*"]}
        return self.server.token(user, device="d", **grants)

    async def publish(self, channel: str, by: str | None, count: int) -> None:
        for number in range(count):
            path = f"/v1/channels/{channel}/messages"
            token = KEY if by is None else self.token(by)
            answer = await self.server.ask("POST", path, token=token, body={"data": number})
            assert answer.status == 201, answer
            self.model.publish(channel, by)

    async def come(self, user: str, how: str) -> None:
        token = self.token(user)
        if how == "session":
            async with self.server.socket("/v1/ws?channels=news", token=token) as socket:
                heads = (await socket.expect("hello"))["heads"]
            told = {channel: head["unread"] for channel, head in heads.items()}
            assert told == self.model.of(user)
        elif how == "inbox":
            answer = await self.server.ask("GET", "/v1/inbox", token=token)
            told = {item["channel"]: item["unread"] for item in answer.json["items"]}
            assert {**told, "news": self.model.count(user, "news")} == self.model.of(user)
            assert answer.json["unread"] == sum(told.values())
        else:
            body = {"mine": True}
            answer = await self.server.ask("POST", "/v1/pull", token=token, body=body)
            assert answer.status == 200
        self.model.come(user)

    async def read(self, user: str, channel: str, upto: int) -> None:
        """Beyond the head or before what is kept, and in channels of others, nothing is marked."""
        head = self.server.hub.log.heads.get(channel)
        epoch = "000000001" if head is None else head.epoch
        path = f"/v1/channels/{channel}/read"
        body = {"cursor": f"{epoch}.{upto}"}
        answer = await self.server.ask("POST", path, token=self.token(user), body=body)
        may = self.model.may_read(user, channel)
        there = head is not None and head.first - 1 <= upto <= head.seq
        assert answer.status == (403 if not may else 204 if there else 410)
        if answer.status == 204:
            self.model.read(user, channel, upto)

    async def join(self, user: str) -> None:
        await join(self.server, "team", user)
        self.model.join(user)

    async def leave(self, user: str) -> None:
        await leave(self.server, "team", user)
        self.model.leave(user)

    async def trim(self, channel: str, before: int) -> None:
        path = f"/v1/channels/{channel}/trim"
        answer = await self.server.ask("POST", path, token=KEY, body={"before": before})
        if answer.status == 200:
            self.model.trim(channel, before)

    async def delete(self, channel: str) -> None:
        await self.server.ask("DELETE", f"/v1/channels/{channel}", token=KEY)
        self.model.delete(channel)

    async def erase(self, user: str) -> None:
        assert (await self.server.ask("DELETE", f"/v1/users/{user}", token=KEY)).status == 200
        self.model.erase(user)

    async def _check(self) -> None:
        """What an operator is told, which is no sight of the user."""
        for user in USERS:
            answer = await self.server.ask("GET", f"/v1/users/{user}", token=KEY)
            told = {each["channel"]: each["unread"] for each in answer.json["channels"]}
            expected = self.model.of(user)
            for channel in CHANNELS:
                count = expected.get(channel)
                if channel in told:
                    assert told[channel] == count, (user, expected)
                else:  # it has no messages, or no marks
                    assert not count, (user, expected)


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(STEPS)
def test_unread_is_what_a_count_of_the_messages_says(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(World(Path(directory)).run, list(steps))

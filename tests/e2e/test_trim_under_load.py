"""Channels are trimmed, redacted, deleted and made again under fifty clients that pull them.

Every answer is the exact slice of what was published or a typed reset; nothing is refused, nothing
hangs, and nothing is told that was gone before it was asked for.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.log import Log
from tests.support.app import KEY, Server, running_server
from tests.support.changes import delete, redact, trim
from tests.support.changing import Truth
from tests.support.http import Answer, Peer

CHANNELS = ("a", "b", "c", "d", "e", "f")
KINDS = ("messages", "empty", "redacted", "expired", "epoch_changed")
LINES = 20  # of one publish
LONGEST_S = 300.0  # a bound for machines that are busy, not an expectation
PAUSE_S = 0.002  # of a publisher, so that the pulls have the greater part


class Load:
    """Everybody who works on the node, and what they know."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.truth = Truth()
        self.random = random.Random(seed)
        self.over = False
        self.ended = trio.Event()  # after ``over``: the channels are as they stay
        self.histories = 0
        self.numbers = 0

    @property
    def log(self) -> Log:
        return self.server.hub.log

    def has_seen_all(self) -> bool:
        return self.histories > 100 and all(self.truth.counts[kind] for kind in KINDS)

    # -- publishing and changing

    async def publish(self, peer: Peer, channels: list[str]) -> None:
        """A line for each; the results are what the answers are held against."""
        numbers = range(self.numbers, self.numbers + len(channels))
        self.numbers += len(channels)
        lines = [
            json.dumps({"channel": channel, "data": number})
            for channel, number in zip(channels, numbers, strict=True)
        ]
        answer = await peer.ask(
            "POST",
            "/v1/publish",
            token=KEY,
            body="\n".join(lines).encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert answer.status == 200, answer
        for number, line in zip(numbers, answer.body.splitlines(), strict=True):
            stored = json.loads(line)
            self.truth.published[stored["channel"], stored["epoch"], stored["seq"]] = number

    async def publisher(self) -> None:
        async with self.server.peer() as peer:
            while not self.over:
                await self.publish(peer, self.random.choices(CHANNELS, k=LINES))
                await trio.sleep(PAUSE_S)

    async def administrators(self, trims: int) -> None:
        async with trio.open_nursery() as nursery:
            for channel in CHANNELS:
                nursery.start_soon(self.administrator, channel, -(-trims // len(CHANNELS)))
        self.over = True
        async with self.server.peer() as peer:
            await self.publish(peer, list(CHANNELS))  # for those who wait
        self.ended.set()

    async def administrator(self, channel: str, trims: int) -> None:
        """Trims; a redaction every fifth, a deletion every twentieth time.

        So many, and on until everything has been seen: who is how fast, the machine decides.
        """
        async with self.server.peer() as peer:
            for turn in itertools.count():
                if turn >= trims and self.has_seen_all():
                    return
                if channel not in self.log.heads:
                    await self.publish(peer, [channel] * LINES)
                await self.trim(channel)
                if turn % 5 == 0:
                    await self.redact(channel)
                if turn % 20 == 0:
                    at = await delete(self.log, channel)
                    self.truth.deleted(channel, at.epoch)

    async def trim(self, channel: str) -> None:
        head = self.log.heads[channel]
        forward = self.random.choice([1, 2, 5, 20, 50, 1000])
        at = await trim(self.log, channel, min(head.first + forward, head.seq + 1))
        self.truth.trimmed(channel, at.epoch, at.first)

    async def redact(self, channel: str) -> None:
        head = self.log.heads[channel]
        if head.first <= head.seq:
            seq = self.random.randint(head.first, head.seq)
            at = await redact(self.log, channel, seq)
            self.truth.redacted(channel, at.epoch, seq)

    # -- pulling

    async def pull(
        self, peer: Peer, token: str, channel: str, cursor: str, limit: int, wait: int = 0
    ) -> tuple[str, bool]:
        """The cursor to go on from, and whether there is more."""
        asked = self.truth.asked()
        path = f"/v1/channels/{channel}/messages?after={cursor}&limit={limit}&wait={wait}"
        answer = await peer.ask("GET", path, token=token)
        assert answer.status in (200, 410), answer
        follows = self.truth.check(channel, cursor, limit, answer.json, asked)
        return follows, answer.status == 410 or answer.json["more"]

    def old_cursor(self, channel: str) -> str:
        cursors = self.truth.cursors.get(channel)
        return self.random.choice(cursors) if cursors else "0"

    async def follower(self, user: str) -> None:
        """Held on one kept connection, always going on from the last cursor, to the very end."""
        token, channel = self.server.token(user), self.random.choice(CHANNELS)
        cursor = "0"
        async with self.server.peer() as peer:
            while not self.over:
                cursor, _ = await self.pull(peer, token, channel, cursor, 100, wait=60)
            # Else a channel that was deleted last may not have begun again yet.
            await self.ended.wait()
            more = True
            while more:
                cursor, more = await self.pull(peer, token, channel, cursor, 100)
        assert cursor.partition(".")[0] == self.log.heads[channel].epoch

    async def wanderer(self, user: str) -> None:
        """Asks for old windows of any size on one kept connection."""
        token = self.server.token(user)
        async with self.server.peer() as peer:
            while not self.over:
                channel = self.random.choice(CHANNELS)
                limit = self.random.choice([1, 7, 1000])
                await self.pull(peer, token, channel, self.old_cursor(channel), limit)

    async def visitor(self, user: str) -> None:
        """A connection for each pull, from the start."""
        token = self.server.token(user)
        while not self.over:
            async with self.server.peer() as peer:
                channel = self.random.choice(CHANNELS)
                await self.pull(peer, token, channel, "0", self.random.choice([1, 1000]))

    async def historian(self, user: str) -> None:
        """Reads backwards, for which there is no reset."""
        token = self.server.token(user)
        async with self.server.peer() as peer:
            while not self.over:
                channel, last = self.random.choice(CHANNELS), self.random.choice([1, 30, 1000])
                asked = self.truth.asked()
                path = f"/v1/channels/{channel}/messages?last={last}"
                answer = await peer.ask("GET", path, token=token)
                if answer.status == 503:
                    continue  # redactions overtook all its reads: it is asked to come again
                assert answer.status == 200, answer
                self.histories += 1
                self.truth.check_history(channel, last, answer.json, asked)

    async def collector(self, user: str) -> None:
        """All channels at once, held; now and then from old cursors."""
        token = self.server.token(user)
        cursors = {channel: self.old_cursor(channel) for channel in CHANNELS}
        async with self.server.peer() as peer:
            while not self.over:
                cursors = await self.collect(peer, token, cursors)
                if self.random.random() < 0.3:
                    channel = self.random.choice(CHANNELS)
                    cursors[channel] = self.old_cursor(channel)

    async def collect(self, peer: Peer, token: str, cursors: dict[str, str]) -> dict[str, str]:
        # From the start it is held as well, so that a trim meanwhile resets it.
        cursors = {name: "none.0" if text == "0" else text for name, text in cursors.items()}
        asked = self.truth.asked()
        body = {"cursors": cursors, "limit": 50, "wait": 60}
        answer: Answer = await peer.ask("POST", "/v1/pull", token=token, body=body)
        assert answer.status == 200, answer
        follows = {}
        for channel, entry in answer.json["channels"].items():
            assert "error" not in entry, entry
            found: Any = entry.get("reset", entry)
            follows[channel] = self.truth.check(channel, cursors[channel], 50, found, asked)
        return follows


# What is pulled comes from memory and the disk, from memory, from the disk alone.
@pytest.mark.parametrize(
    ("trims", "tail_cache", "tail_messages"),
    [(1000, 1 << 16, 40), (200, 1 << 26, 20_000), (200, 0, 0)],
    ids=["both", "memory", "disk"],
)
async def test_every_answer_is_the_exact_slice_or_a_reset(
    tmp_path: Path, trims: int, tail_cache: int, tail_messages: int
) -> None:
    async with running_server(
        tmp_path, tail_cache=tail_cache, tail_messages=tail_messages, retention_messages=None
    ) as server:
        load = Load(server, seed=tail_cache)
        clients: list[tuple[int, Callable[[str], Awaitable[None]]]] = [
            (15, load.follower),
            (15, load.wanderer),
            (4, load.visitor),
            (4, load.historian),
            (12, load.collector),
        ]
        with trio.fail_after(LONGEST_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load.administrators, trims)
                for _ in range(2):
                    nursery.start_soon(load.publisher)
                for count, client in clients:
                    for number in range(count):
                        nursery.start_soon(client, f"{client.__name__}-{number}")
        load.truth.check_all()
        assert load.has_seen_all()
        assert not server.hub.pulls.held

"""Clients of the chat, each in its own way: all must end with exactly what they may see."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
import trio

from tests.support.chat import CHANNEL, Chat
from tests.support.ledger import History, Ledger, Page
from tests.support.server import ServerProcess
from tests.support.wire import ConnectionLost, Http

POLL_S = 60  # how long a poll waits (48 at least): far longer than any pause of the replay


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client behaves. ``pause``: up to so many seconds between an answer and the next pull;
    ``restless``: it hangs up after every so many pulls, roughly; ``limit``: messages per pull."""

    pause: float = 0.0
    restless: int = 0
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Stage:
    """What all clients of one replay share."""

    server: ServerProcess
    chat: Chat
    ledger: Ledger
    marks_survive: bool  # the server is not killed, so it forgets no mark


class Follower(ABC):
    """Follows the channel and its user's inbox until it has everything, across any failure."""

    is_prompt = True  # it pulls as soon as it is told to, unless its manner is slow

    def __init__(self, stage: Stage, user: str, seed: int, manner: Manner) -> None:
        self.server = stage.server
        self.chat = stage.chat
        self.ledger = stage.ledger
        self.user = user
        self.manner = manner
        self.rng = random.Random(seed)
        self.history = History(user)
        self.channels = [CHANNEL, f"user:{user}"]
        self.cursors: dict[str, str] = {}
        self.device = f"device-{seed}"
        self.token = self.server.token(user, device=self.device, subscribe=(CHANNEL,))
        self.pulls = 0
        self.moved = trio.Event()
        self._until_restless = self._patience()

    async def run(self) -> None:
        """Until it has everything. Whatever breaks, it comes back when the server serves."""
        while not self.has_all():
            await self.server.up()
            try:
                await self.connected()
            except ConnectionLost:
                self._until_restless = self._patience()

    @abstractmethod
    async def connected(self) -> None:
        """One life of its connections; ends by ConnectionLost, or when it has everything."""

    def has_all(self) -> bool:
        return all(self.lacks(channel) == 0 for channel in self.channels)

    async def reach(self, counts: Mapping[str, int]) -> None:
        """Wait until it has so many messages of its channels."""
        while any(self.history.count(name) < counts.get(name, 0) for name in self.channels):
            await self.moved.wait()

    def lacks(self, channel: str) -> int:
        return len(self.chat.expected(channel)) - self.history.count(channel)

    async def pull(
        self, http: Http, channel: str, wait: float = 0, atleast: int | None = None
    ) -> Page:
        """One pull from the cursor. Raises ConnectionLost, also when it hangs up itself."""
        after = self.cursors.get(channel, "0")
        target = f"/v1/channels/{quote(channel, safe='')}/messages"
        target += f"?after={after}&limit={self.manner.limit}&wait={wait}"
        target += "" if atleast is None else f"&atleast={atleast}"
        answer = await http.get(target, self.token)
        page = self.ledger.read(answer.ok())
        self.process(page, after)
        await self.rest()
        return page

    def process(self, page: Page, after: str | None) -> None:
        self.history.process(page, after)
        self.cursors[page.channel] = page.next
        self.moved.set()
        self.moved = trio.Event()
        assert self.lacks(page.channel) >= 0, f"{self.user} got too many from {page.channel}"

    async def rest(self) -> None:
        """Slow clients are slow, restless ones hang up: between two pulls, or anywhere."""
        self.pulls += 1
        if self.manner.pause:
            await trio.sleep(self.manner.pause * self.rng.random())
        if self.manner.restless:
            self._until_restless -= 1
            if self._until_restless <= 0:
                raise ConnectionLost("it felt like it")

    def _patience(self) -> int:
        return self.rng.randint(1, 2 * self.manner.restless + 1)

    def check(self) -> None:
        self.history.check(self.chat, self.channels)


class Poller(Follower):
    """Two held GETs, one per channel. A restless one leaves them in the middle of the wait."""

    async def connected(self) -> None:
        lost = False
        try:
            async with trio.open_nursery() as nursery:
                for channel in self.channels:
                    nursery.start_soon(self._follow, channel, nursery.cancel_scope)
        except* ConnectionLost:
            # Whichever was lost: the other one's poll was given up while it was held.
            lost = True
        if lost:
            raise ConnectionLost("one of two")

    async def _follow(self, channel: str, both: trio.CancelScope) -> None:
        async with await self.server.http() as http:
            while self.lacks(channel):
                page = await self.pull(http, channel, POLL_S)
                assert page.messages or channel != CHANNEL, "a poll was forgotten until its end"
        if self.has_all():
            both.cancel()


class MultiPoller(Follower):
    """One held POST for everything; what is its own it need not name."""

    async def connected(self) -> None:
        async with await self.server.http() as http:
            while not self.has_all():
                asked = {CHANNEL: self.cursors.get(CHANNEL, "0"), **self.cursors}
                body = {"cursors": asked, "mine": True, "limit": self.manner.limit, "wait": POLL_S}
                answer = await http.post("/v1/pull", body, self.token)
                parts = msgspec.json.decode(answer.ok(), type=dict[str, msgspec.Raw])
                pages = msgspec.json.decode(parts["channels"], type=dict[str, msgspec.Raw])
                assert set(pages) == {"all", *self.channels}
                before = sum(map(self.lacks, self.channels))
                for channel in self.channels:
                    page = self.ledger.read(bytes(pages[channel]))
                    self.process(page, asked.get(channel))
                assert sum(map(self.lacks, self.channels)) < before, "a poll was forgotten"
                await self.rest()


class Forgetful(Follower):
    """Keeps no cursor: it acks what it has processed, and asks for what the server says is next.

    Where the server may be killed it does so with its inbox only: a mark that is lost makes a
    device's next pull the first one, which begins an inbox at its start, but a topic at its head.
    """

    is_prompt = False  # it asks in turns

    def __init__(self, stage: Stage, user: str, seed: int, manner: Manner) -> None:
        super().__init__(stage, user, seed, manner)
        self.history = History(user, repeats=not stage.marks_survive)
        self._kept = {CHANNEL: not stage.marks_survive, f"user:{user}": False}

    async def connected(self) -> None:
        async with await self.server.http() as http:
            while not self.has_all():
                for channel in self.channels:
                    if self.lacks(channel):
                        await self._pull_next(http, channel)

    async def _pull_next(self, http: Http, channel: str) -> None:
        target = f"/v1/channels/{quote(channel, safe='')}/messages"
        target += f"?limit={self.manner.limit}&wait=0.2"
        after = self.cursors.get(channel, "0") if self._kept[channel] else None
        if after is None and channel not in self.history.seen:
            after = "0"
        answer = await http.get(target if after is None else f"{target}&after={after}", self.token)
        page = self.ledger.read(answer.ok())
        self.process(page, after)
        if page.messages:
            answer = await http.post("/v1/ack", {"cursors": {channel: page.next}}, self.token)
            assert answer.status == 204, answer
        await self.rest()

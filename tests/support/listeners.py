"""Clients with a WebSocket: hints tell them when to pull, and nothing else does."""

from __future__ import annotations

import trio

from tests.support.chat import CHANNEL
from tests.support.followers import Follower
from tests.support.websocket import Closed, WebSocket
from tests.support.wire import ConnectionLost, Http

# A percent-encoded channel list: '#' would end the path.
TARGET = f"/v1/ws?channels={CHANNEL.replace('#', '%23')}"


class Listener(Follower):
    """Pulls over HTTP when a hint is ahead of its cursor; never by the clock.

    So a single hint that is lost for good would leave it waiting for ever.
    """

    async def connected(self) -> None:
        heads: dict[str, tuple[str, int]] = {}
        news = [trio.Event()]
        lost = False
        try:
            async with await WebSocket.open(self.server.address) as socket:
                await self.enter(socket)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, socket, heads, news)
                    await self._pull_all(heads, news)
                    nursery.cancel_scope.cancel()
                await socket.leave()
        except* (ConnectionLost, Closed):
            lost = True
        if lost:
            raise ConnectionLost("the socket or the pulls")

    async def enter(self, socket: WebSocket) -> None:
        await socket.upgrade(TARGET, token=self.token)

    async def _listen(
        self, socket: WebSocket, heads: dict[str, tuple[str, int]], news: list[trio.Event]
    ) -> None:
        hello = await socket.message()
        assert hello["type"] == "hello", hello
        assert hello["denied"] == []
        assert set(hello["heads"]) == {"all", *self.channels}
        for channel, head in hello["heads"].items():
            self._told(heads, channel, head["epoch"], head["head"])
        news[0].set()
        while True:
            await self.before_reading()
            frame = await socket.message()
            assert frame["type"] in ("hint", "bye"), frame
            if frame["type"] == "hint":
                self._told(heads, frame["channel"], frame["epoch"], frame["seq"])
                news[0].set()

    async def before_reading(self) -> None:
        """A deaf one lets frames pile up here."""

    def _told(self, heads: dict[str, tuple[str, int]], channel: str, epoch: str, seq: int) -> None:
        """Hints never go down within a session and epoch."""
        self.ledger.told(channel, epoch, seq)
        before = heads.get(channel)
        assert before is None or (epoch, seq) >= before or before[0] == "none", (channel, before)
        heads[channel] = (epoch, seq)

    async def _pull_all(self, heads: dict[str, tuple[str, int]], news: list[trio.Event]) -> None:
        async with await self.server.http() as http:
            while not self.has_all():
                await news[0].wait()
                news[0] = trio.Event()
                for channel in self.channels:
                    await self._catch_up(http, channel, heads)

    async def _catch_up(self, http: Http, channel: str, heads: dict[str, tuple[str, int]]) -> None:
        while self.history.count(channel) < (told := heads[channel][1]):
            page = await self.pull(http, channel, atleast=told)
            assert page.head >= told, "a hint ran ahead of the log"


class LateToken(Listener):
    """Brings its token in the first frame, as a browser may."""

    async def enter(self, socket: WebSocket) -> None:
        await socket.upgrade(TARGET)
        await socket.send({"type": "auth", "token": self.token})


class DeafListener(Listener):
    """Lets its socket lie for a while again and again, then reads all that has come meanwhile."""

    deaf_from = 0.0
    is_prompt = False

    async def before_reading(self) -> None:
        if trio.current_time() >= self.deaf_from:
            await trio.sleep(self.rng.random())
            self.deaf_from = trio.current_time() + self.rng.random()

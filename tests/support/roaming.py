"""Clients of several nodes, who go elsewhere when one does not answer; and those who publish."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Self
from urllib.parse import quote

import msgspec
import trio

from tests.support.cluster import Cluster, Node
from tests.support.histories import Acked, Sent
from tests.support.wire import KEY, Answer, ConnectionLost, Http

PATIENCE_S = 20.0  # then a client goes elsewhere: the node hangs, or the machine is very busy
BREATH_S = 0.1
UNKNOWN = frozenset({429, 500, 502, 503, 504})


class Away(Exception):
    """The node does not answer, or says that it cannot serve this now."""


class Roamer:
    """Holds one connection to one of its nodes at a time."""

    def __init__(self, cluster: Cluster, name: str, nodes: Sequence[str]) -> None:
        self.cluster = cluster
        self.name = name
        self.rng = random.Random(name)
        self.refused = 0  # answers 5xx
        self.away = 0  # attempts that came to nothing
        self._nodes = itertools.cycle(nodes)
        self._http: Http | None = None
        self.node: Node = cluster.nodes[next(self._nodes)]

    async def ask(self, method: str, target: str, credential: str, value: object = None) -> Answer:
        """Raises Away; the next attempt is made at the next node."""
        body = b"" if value is None else msgspec.json.encode(value)
        try:
            with trio.fail_after(PATIENCE_S):
                if self._http is None:
                    self._http = await self.node.http()
                answer = await self._http.request(method, target, credential, body)
        except (ConnectionLost, OSError, trio.TooSlowError) as error:
            raise self.turned_away(str(error)) from None
        if answer.status in UNKNOWN:
            self.refused += 1
            assert answer.status != 503 or b"retry-after:" in answer.head.lower(), answer
            raise self.turned_away(answer.body.decode())
        return answer

    def turned_away(self, why: str) -> Away:
        self.away += 1
        self.hang_up()
        return Away(why)

    def hang_up(self) -> None:
        """The next request goes to the next node."""
        if self._http is not None:
            self._http.close()
        self._http = None
        self.node = self.cluster.nodes[next(self._nodes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    async def rest(self) -> None:
        await trio.sleep(BREATH_S * (0.5 + self.rng.random()))


class Gate:
    """Publishers pass while it is open; ``shut`` waits until none is inside."""

    def __init__(self) -> None:
        self._open = trio.Event()
        self._open.set()
        self._inside = 0
        self._left = trio.Event()

    async def __aenter__(self) -> None:
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1
        self._left.set()
        self._left = trio.Event()

    async def shut(self) -> None:
        self._open = trio.Event()
        while self._inside:
            await self._left.wait()

    def open(self) -> None:
        self._open.set()


class Publisher(Roamer):
    """One message after the other, each with its id until it is acked."""

    def __init__(
        self, cluster: Cluster, name: str, nodes: Sequence[str], channels: Sequence[str]
    ) -> None:
        super().__init__(cluster, name, nodes)
        self.acked = 0
        self._channels = channels

    async def run(self, gate: Gate) -> None:
        with self:
            for number in itertools.count():
                async with gate:
                    await self.publish(self.rng.choice(self._channels), f"{self.name}-{number}")
                await trio.sleep(0.02 * self.rng.random())

    async def publish(self, channel: str, id_: str) -> None:
        target = f"/v1/channels/{quote(channel, safe='')}/messages"
        self.cluster.history.append(Sent(channel, id_))
        while True:
            try:
                answer = await self.ask("POST", target, KEY, {"data": {"of": id_}, "id": id_})
            except Away:
                await self.rest()
                continue
            result = msgspec.json.decode(answer.ok())
            number = (result["epoch"], result["seq"])
            self.cluster.history.append(Acked(channel, id_, number, trio.current_time()))
            self.acked += 1
            return


class Careless(Publisher):
    """Gives no ids and tries nothing twice: what becomes of an attempt that fails is unknown, but
    it is never there twice."""

    async def publish(self, channel: str, id_: str) -> None:
        target = f"/v1/channels/{quote(channel, safe='')}/messages"
        self.cluster.history.append(Sent(channel, id_))
        try:
            answer = await self.ask("POST", target, KEY, {"data": {"of": id_}})
        except Away:
            await self.rest()
            return
        result = msgspec.json.decode(answer.ok())
        number = (result["epoch"], result["seq"])
        self.cluster.history.append(Acked(channel, result["id"], number, trio.current_time()))
        self.acked += 1

"""What goes on in a cluster while things break: some publish, some follow, and all is checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import trio

from tests.support.cluster import EAST, EDGES, NAMES, OWNER, WEST, Cluster
from tests.support.histories import Number, Quiet, Retained
from tests.support.historycheck import Checker
from tests.support.ledger import decode_page
from tests.support.readers import Listener, MultiPoller, Poller, Reader, decode_stale
from tests.support.roaming import Away, Careless, Gate, Publisher, Roamer

HEAL_S = 90.0  # a bound for machines that are busy; what is promised is 30
ROOMS = ("room:1", "room:2")


class Load:
    """Publishers at each node, and readers spread over all of them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.gate = Gate()
        kinds: list[tuple[type[Reader], str, tuple[str, ...]]] = [
            (Poller, "anna", (EAST, OWNER, WEST)),
            (MultiPoller, "ben", (WEST, EAST)),
            (MultiPoller, "cleo", (EAST,)),
            (Listener, "dora", (EAST, WEST, OWNER)),  # its home, then where it pulls
            (Listener, "emil", (WEST, EAST, WEST)),
            (Listener, "fay", (OWNER, EAST)),
        ]
        self.readers = [
            kind(cluster, name, nodes, (*ROOMS, f"user:{name}")) for kind, name, nodes in kinds
        ]
        self.channels = [*ROOMS, *(f"user:{reader.name}" for reader in self.readers)]
        ways = {"p-owner": (OWNER,), "p-east": (EAST, WEST), "p-west": (WEST, EAST)}
        self.publishers = [
            Publisher(cluster, name, nodes, self.channels) for name, nodes in ways.items()
        ]
        self.publishers.append(Careless(cluster, "careless", (EAST, WEST), self.channels))
        self._checker = Checker()
        self._checked = 0

    @property
    def acked(self) -> int:
        return sum(publisher.acked for publisher in self.publishers)

    @property
    def listeners(self) -> list[Listener]:
        return [reader for reader in self.readers if isinstance(reader, Listener)]

    # -- to wait for -----------------------------------------------------------------------------

    async def more(self, acks: int = 20) -> None:
        """Until so many more are acked."""
        wanted = self.acked + acks
        await until(lambda: self.acked >= wanted, f"{acks} more acks")

    async def without_owner(self) -> None:
        """Until each edge says that it has not heard of the owner for a while: by then all that
        the owner had answered has come to whoever asked."""
        for node in EDGES:
            with trio.fail_after(HEAL_S), Roamer(self.cluster, f"asks {node}", (node,)) as asking:
                while not asking.refused:
                    with suppress(Away):
                        target = f"/v1/channels/{quote(ROOMS[0], safe='')}/messages?after=head"
                        answer = await asking.ask("GET", target, self._key)
                        if decode_stale(answer.ok()).stale:
                            break
                    await asking.rest()

    # -- at the end of a round ---------------------------------------------------------------------

    async def settle(self) -> float:
        """All is checked, when all had time to heal. Seconds until everybody had everything."""
        began = trio.current_time()
        with trio.fail_after(HEAL_S):
            await self.gate.shut()
        heads = {channel: await self._retain(OWNER, channel) for channel in self.channels}
        with trio.move_on_after(HEAL_S):
            for reader in self.readers:
                while any(reader.cursors.get(name) != heads[name] for name in reader.channels):
                    await reader.moved.wait()
        took = trio.current_time() - began
        for node in (EAST, WEST):
            for channel in self.channels:
                await self._retain(node, channel, heads[channel])
        self.cluster.history.append(Quiet(tuple(reader.name for reader in self.readers)))
        self.check()
        self.gate.open()
        return took

    def check(self) -> None:
        for event in self.cluster.history[self._checked :]:
            self._checker.see(event)
        self._checked = len(self.cluster.history)
        faults = self._checker.faults
        assert not faults, "\n".join(f"{kind}: {what}" for kind, what in faults[:10])

    async def _retain(self, node: str, channel: str, wanted: Number | None = None) -> Number:
        """All that is kept of the channel, as the node has it; it is given time to hear of all."""
        found: Retained | None = None
        with trio.move_on_after(HEAL_S), Roamer(self.cluster, f"all of {node}", (node,)) as asking:
            while True:
                with suppress(Away):
                    found = await self._read_all(asking, channel)
                    number = (found.epoch, len(found.entries))
                    if wanted is None or number == wanted:
                        break
                await asking.rest()
        assert found is not None, f"{node} answers nothing about {channel}"
        self.cluster.history.append(found)
        return number

    async def _read_all(self, asking: Roamer, channel: str) -> Retained:
        target, credential = f"/v1/channels/{quote(channel, safe='')}/messages", self._key
        entries: list[tuple[int, str]] = []
        datas: set[bytes] = set()
        cursor, more, epoch = "0", True, ""
        while more:
            answer = await asking.ask("GET", f"{target}?limit=1000&after={cursor}", credential)
            page = decode_page(answer.ok())
            entries += [(message.seq, message.id) for message in page.messages]
            datas.update(bytes(message.data) for message in page.messages)
            cursor, more, epoch = page.next, page.more, page.epoch
        assert len(datas) == len(entries), f"{channel}: something was stored twice"
        return Retained(asking.node.name, channel, epoch, tuple(entries))

    @property
    def _key(self) -> str:
        return self.cluster.owner.secrets[0]


async def until(condition: Callable[[], bool], what: str) -> None:
    """For what nobody tells: bounded."""
    with trio.move_on_after(HEAL_S):
        while not condition():
            await trio.sleep(0.03)
        return
    raise AssertionError(f"waited in vain for {what}")


@asynccontextmanager
async def under_load(cluster: Cluster) -> AsyncIterator[Load]:
    load = Load(cluster)
    async with trio.open_nursery() as nursery:
        for reader in load.readers:
            nursery.start_soon(reader.run)
        for publisher in load.publishers:
            nursery.start_soon(publisher.run, load.gate)
        await load.more(len(NAMES) * 10)
        await until(lambda: all(each.sessions for each in load.listeners), "all who listen")
        yield load
        nursery.cancel_scope.cancel()

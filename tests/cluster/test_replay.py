"""The chat is replayed over three nodes: each of 40 clients connects now here, now there."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any, cast

import trio

from tests.support.chat import Chat, load_chat
from tests.support.cluster import Cluster, running_cluster
from tests.support.ledger import Ledger
from tests.support.publishers import BatchPublisher
from tests.support.replay import bounded, check_all, make_followers
from tests.support.server import ServerProcess
from tests.support.wire import Http

WHOLE = "PUSHD_ROUNDS" in os.environ
MESSAGES = 6000  # of the 56,035 that the whole has


class Anywhere:
    """As one server, to whoever asks: every connection goes to the next node."""

    def __init__(self, cluster: Cluster) -> None:
        self._nodes = itertools.cycle(cluster.nodes.values())
        self._cluster = cluster

    @property
    def address(self) -> tuple[str, int]:
        return next(self._nodes).address

    async def http(self) -> Http:
        return await next(self._nodes).http()

    async def up(self) -> None:
        """All of them always are."""

    def token(self, *args: Any, **named: Any) -> str:
        return self._cluster.owner.token(*args, **named)


def part_of(chat: Chat, count: int) -> Chat:
    part = Chat(users=chat.users, sent=chat.sent[:count])
    for sent in part.sent:
        part.truth.setdefault(sent.channel, []).append(sent)
    return part


async def test_everybody_ends_with_exactly_what_it_may_see(tmp_path: Path) -> None:
    chat, ledger = load_chat() if WHOLE else part_of(load_chat(), MESSAGES), Ledger()
    async with running_cluster(tmp_path) as cluster:
        server = cast(ServerProcess, Anywhere(cluster))
        # A mark that one node was told of may be a moment old at another: as after a kill.
        followers = make_followers(server, chat, ledger, killed=True)
        publisher = BatchPublisher(server, ledger, batch=200, careless=10)
        with bounded(followers):
            async with trio.open_nursery() as nursery:
                for follower in followers:
                    nursery.start_soon(follower.run)
                nursery.start_soon(publisher.run, chat.sent)
        assert ledger.duplicates > 0
        chat.users = [user for user in chat.users if f"user:{user}" in chat.truth]
        await check_all(server, chat, ledger, followers)

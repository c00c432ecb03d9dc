"""The replay again, with the server killed by SIGKILL on the way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import trio

from tests.support.chat import Chat, Sent, load_chat
from tests.support.ledger import Ledger
from tests.support.publishers import BatchPublisher, publish_singly
from tests.support.replay import (
    bounded,
    check_all,
    check_channels,
    check_heads,
    make_followers,
)
from tests.support.server import ServerProcess

KILLS = 5
SINGLES = 3


async def kill_again_and_again(
    server: ServerProcess, publisher: BatchPublisher, ledger: Ledger, total: int
) -> None:
    """Spread over the run, each at some moment of a batch's life; once also while it starts."""
    rng = random.Random(9)
    for number in range(1, KILLS + 1):
        await publisher.progress.reach(total * number // (KILLS + 1))
        await trio.sleep(rng.uniform(0, 0.03))
        await server.kill()
        if number == 3:
            await server.start_in_vain(rng.uniform(0.2, 0.6))
        await server.start(quietly=True)
        await check_heads(server, ledger)
        server.announce()


def singles(channel: str, chat: Chat, enough: trio.Event) -> Iterator[Sent]:
    """Messages for as long as the replay runs; what was begun belongs to the truth."""
    truth = chat.truth.setdefault(channel, [])
    while not enough.is_set():
        truth.append(Sent(channel, f"single-{len(truth)}", "single", b'{"n":%d}' % len(truth)))
        yield truth[-1]


async def test_five_kills_lose_nothing_and_number_nothing_twice(tmp_path: Path) -> None:
    replayed, ledger = load_chat(), Ledger()
    chat = Chat(replayed.users, replayed.sent, dict(replayed.truth))
    channels = [f"single:{number}" for number in range(SINGLES)]
    enough = trio.Event()
    async with ServerProcess(tmp_path, hint_interval="150ms") as server:
        followers = make_followers(server, chat, ledger, killed=True)
        publisher = BatchPublisher(server, ledger, batch=200, careless=25)
        with bounded(followers):
            async with trio.open_nursery() as nursery:
                for follower in followers:
                    nursery.start_soon(follower.run)
                for channel in channels:
                    messages = singles(channel, chat, enough)
                    nursery.start_soon(publish_singly, server, ledger, messages)
                nursery.start_soon(kill_again_and_again, server, publisher, ledger, len(chat.sent))
                await publisher.run(chat.sent)
                enough.set()
            server.terminate()
            assert await server.ended() == 0
            await server.start()  # from here on everything comes from the disk
            await check_channels(server, chat, ledger, channels)
            await check_all(server, chat, ledger, followers)

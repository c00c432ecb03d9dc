"""The chat is replayed while 40 clients follow it, each in its own way."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import trio

from tests.support.chat import CHANNEL, Chat, load_chat
from tests.support.followers import Follower
from tests.support.ledger import Ledger
from tests.support.publishers import BatchPublisher
from tests.support.replay import bounded, check_all, make_followers
from tests.support.server import ServerProcess

BURSTS = 30


async def publish_in_bursts(
    publisher: BatchPublisher, chat: Chat, followers: list[Follower]
) -> None:
    """After each burst it waits for the prompt ones: no later hint makes up for a lost one."""
    prompt = [
        follower for follower in followers if follower.is_prompt and not follower.manner.pause
    ]
    counts: Counter[str] = Counter()
    size = len(chat.sent) // BURSTS + 1
    for first in range(0, len(chat.sent), size):
        burst = chat.sent[first : first + size]
        await publisher.run(burst)
        counts.update(sent.channel for sent in burst)
        for follower in prompt:
            await follower.reach(counts)


async def check_privacy(server: ServerProcess, chat: Chat) -> None:
    """Nobody reads another one's inbox, nor the channel without a token for it."""
    rng = random.Random(3)
    async with await server.http() as http:
        for user in rng.sample(chat.users, 50):
            other = rng.choice([name for name in chat.users if name != user])
            for channel in (f"user:{other}", CHANNEL):
                target = f"/v1/channels/{quote(channel, safe='')}/messages?after=0"
                answer = await http.get(target, server.token(user))
                assert (answer.status, answer.json()["code"]) == (403, "forbidden")


async def test_everybody_ends_with_exactly_what_it_may_see(tmp_path: Path) -> None:
    """The server keeps little in memory, so that the slow ones are served from the disk."""
    chat, ledger = load_chat(), Ledger()
    async with ServerProcess(tmp_path, tail_messages="300") as server:
        followers = make_followers(server, chat, ledger)
        publisher = BatchPublisher(server, ledger, batch=200, careless=25)
        with bounded(followers):
            async with trio.open_nursery() as nursery:
                for follower in followers:
                    nursery.start_soon(follower.run)
                await publish_in_bursts(publisher, chat, followers)
            assert ledger.duplicates > 0
            await check_all(server, chat, ledger, followers)
            await check_privacy(server, chat)

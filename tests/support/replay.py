"""A whole replay: who follows, how it ends, and what must be true of all of it then."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import trio

from tests.support.chat import Chat
from tests.support.followers import Follower, Forgetful, Manner, MultiPoller, Poller, Stage
from tests.support.ledger import History, Ledger, Page
from tests.support.listeners import DeafListener, LateToken, Listener
from tests.support.server import ServerProcess
from tests.support.wire import KEY, Http

LONGEST_S = 400.0  # a bound for machines that are busy, not an expectation
FOLLOWERS = 40

CALM = Manner()
SLOW = Manner(pause=0.4)
RESTLESS = Manner(restless=5)
RESTLESS_AND_SLOW = Manner(pause=0.2, restless=3)
SMALL_BITES = Manner(limit=333)

# Ten ways to follow, four users each: half of them with a WebSocket.
WAYS: list[tuple[Callable[..., Follower], Manner]] = [
    (Listener, CALM),
    (Listener, RESTLESS),
    (LateToken, SLOW),
    (DeafListener, SMALL_BITES),
    (DeafListener, RESTLESS_AND_SLOW),
    (Poller, CALM),
    (Poller, RESTLESS_AND_SLOW),
    (MultiPoller, RESTLESS),
    (MultiPoller, SLOW),
    (Forgetful, RESTLESS),
]


def make_followers(
    server: ServerProcess, chat: Chat, ledger: Ledger, *, killed: bool = False
) -> list[Follower]:
    """Among those who are addressed most, and some of the rest (whose inbox may stay empty)."""
    rng = random.Random(40)
    by_inbox = sorted(chat.users, key=lambda user: -len(chat.expected(f"user:{user}")))
    chosen = by_inbox[: FOLLOWERS // 2] + rng.sample(by_inbox[FOLLOWERS:], FOLLOWERS // 2)
    rng.shuffle(chosen)
    stage = Stage(server, chat, ledger, marks_survive=not killed)
    followers = []
    for seed, user in enumerate(chosen):
        make, manner = WAYS[seed % len(WAYS)]
        followers.append(make(stage, user, seed, manner))
    return followers


@contextmanager
def bounded(followers: list[Follower]) -> Iterator[None]:
    """Fails after LONGEST_S; whatever fails, says who had not everything by then."""
    try:
        with trio.fail_after(LONGEST_S):
            yield
    except BaseException as error:
        for follower in followers:
            lacks = {channel: follower.lacks(channel) for channel in follower.channels}
            if any(lacks.values()):
                error.add_note(f"{type(follower).__name__} {follower.user} lacks {lacks}")
        raise


async def check_all(
    server: ServerProcess, chat: Chat, ledger: Ledger, followers: list[Follower]
) -> None:
    """Everybody has exactly what it may see, and so has everybody who was not there."""
    for follower in followers:
        follower.check()
    await check_inboxes(server, chat, ledger)
    ledger.check(chat)
    ledger.check_lives()


async def check_inboxes(server: ServerProcess, chat: Chat, ledger: Ledger) -> None:
    """Every user of the chat pulls its inbox; many have nothing in it."""
    async with await server.http() as http:
        for user in chat.users:
            history, inbox = History(user), f"user:{user}"
            count = len(chat.expected(inbox))  # of which a node that follows may have heard of less
            await _pull_to_end(http, ledger, inbox, history, server.token(user), count)
            history.check(chat, [inbox])


async def check_channels(
    server: ServerProcess, chat: Chat, ledger: Ledger, channels: list[str]
) -> None:
    """What a service pulls of these is all that was published to them."""
    async with await server.http() as http:
        for channel in channels:
            history = History("service")
            await _pull_to_end(http, ledger, channel, history, KEY)
            history.check(chat, [channel])


async def pull_everything(server: ServerProcess, channel: str, ledger: Ledger) -> list[Page]:
    """All there is, to be looked at."""
    async with await server.http() as http:
        return await _pull_to_end(http, ledger, channel, History("service"), KEY)


async def _pull_to_end(
    http: Http, ledger: Ledger, channel: str, history: History, credential: str, atleast: int = 0
) -> list[Page]:
    target = f"/v1/channels/{quote(channel, safe='')}/messages?limit=1000&"
    target += f"atleast={atleast}&after=" if atleast else "after="
    pages: list[Page] = []
    cursor, more = "0", True
    while more:
        page = ledger.read((await http.get(target + cursor, credential)).ok())
        history.process(page, cursor)
        pages.append(page)
        cursor, more = page.next, page.more
    return pages


async def check_heads(server: ServerProcess, ledger: Ledger) -> None:
    """After a crash: no head may be below what was told or acked before it."""
    async with await server.http() as http:
        for channel in dict.fromkeys(channel for channel, _ in ledger.heads):
            target = f"/v1/channels/{quote(channel, safe='')}/messages?after=head"
            page = ledger.read((await http.get(target)).ok())
            told = ledger.heads.get((channel, page.epoch), 0)
            assert page.head >= told, f"{channel} is at {page.head}, {told} was told"

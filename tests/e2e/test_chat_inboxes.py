"""A chat is replayed while its users come online in turn: every addressed line is in an inbox, and
what each is told to be unread is what was counted beside the server."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.chat import ChatLine, Sent, chat_file, load_lines, made_up_lines, user_id
from tests.support.ledger import Ledger
from tests.support.publishers import BatchPublisher
from tests.support.server import ServerProcess
from tests.support.visitors import GROUP, Stage, Visitor

PORTIONS = 12
REAL = "the whole real chat, for who names it: PUSHD_CHAT_DATA=FILE"


def messages_of(lines: list[ChatLine]) -> Iterator[Sent]:
    """Each to the group, and to the inbox of whom it addresses."""
    for number, line in enumerate(lines):
        data = msgspec.json.encode({"text": line.text})
        for channel in [GROUP] if line.to is None else [GROUP, f"user:{user_id(line.to)}"]:
            yield Sent(channel, f"m{number}", user_id(line.user), data)


def users_of(lines: list[ChatLine]) -> list[str]:
    names = [name for line in lines for name in (line.user, line.to) if name is not None]
    users = list(dict.fromkeys(map(user_id, names)))
    random.Random(9).shuffle(users)
    return users


class Replay:
    """Portion after portion is published; after each, others come for the first time."""

    def __init__(self, stage: Stage, lines: list[ChatLine]) -> None:
        self.stage = stage
        self.sent = list(messages_of(lines))
        waiting = users_of(lines)
        size = -(-len(waiting) // (PORTIONS - 1))
        self.arrivals = [waiting[at : at + size] for at in range(0, len(waiting), size)]
        self.there: list[Visitor] = []
        self.rng = random.Random(3)

    async def portion(self, number: int, publisher: BatchPublisher) -> None:
        size = -(-len(self.sent) // PORTIONS)
        portion = self.sent[number * size : (number + 1) * size]
        await publisher.run(portion)
        self.stage.total.update(sent.channel for sent in portion)
        body = {"to": {"all": True}, "message": {"data": number}}
        (await self.stage.http.post("/v1/publish", body)).ok()
        self.stage.total["all"] += 1

    async def come_and_read(self, number: int) -> None:
        for user in self.arrivals[number] if number < len(self.arrivals) else []:
            visitor = Visitor(self.stage, user, seed=len(self.there))
            if self.rng.random() < 0.5:
                await visitor.join()
            await visitor.come()
            await visitor.read_some()
            self.there.append(visitor)
        for visitor in self.rng.sample(self.there, len(self.there) // 10):
            await visitor.come()
            await visitor.read_some()
            if GROUP in visitor.begun:
                await visitor.speak()
            await visitor.come()

    async def check_all(self) -> None:
        """Who came, and then who reads what in the group."""
        for visitor in self.there:
            await visitor.come()
            await visitor.check_receipts()
            await visitor.check_operator()
        readers = {each.user: each.read[GROUP] for each in self.there if GROUP in each.read}
        for seq in sorted(readers.values())[:: max(1, len(readers) // 5)]:
            path = f"/v1/channels/{GROUP}/receipts?limit=1000&seq={seq}"
            found = await self.stage.operator("GET", path)
            expected = {user for user, upto in readers.items() if upto >= seq}
            assert {item["user"] for item in found["items"]} == expected
            self.stage.checked["receipts"] += 1


@pytest.mark.parametrize("chat", ["made up", "real"])
async def test_what_is_unread_at_the_first_sight_of_each_user_and_later(
    tmp_path: Path, chat: str
) -> None:
    if chat == "real" and not (os.environ.get("PUSHD_CHAT_DATA") and chat_file().exists()):
        pytest.skip(REAL)
    lines = load_lines() if chat == "real" else made_up_lines(1500, users=90, addressed=600)
    began = time.perf_counter()
    ledger = Ledger()
    async with ServerProcess(tmp_path) as server:
        stage = Stage(server, await server.http())
        replay = Replay(stage, lines)
        for number in range(PORTIONS):
            await replay.portion(number, BatchPublisher(server, ledger, batch=500))
            await replay.come_and_read(number)
            if number == PORTIONS // 2:
                stage.http.close()
                server.terminate()
                assert await server.ended() == 0
                await server.start()
                stage.http = await server.http()
        assert [visitor.user for visitor in replay.there] == users_of(lines)
        await replay.check_all()
        stage.http.close()
    addressed = sum(line.to is not None for line in lines)
    assert sum(n for name, n in stage.total.items() if name.startswith("user:")) == addressed
    took = time.perf_counter() - began
    print(f"\n{len(lines)} lines, {addressed} addressed, {len(replay.there)} users, {took:.0f} s")
    print(f"compared: {dict(stage.checked)}")

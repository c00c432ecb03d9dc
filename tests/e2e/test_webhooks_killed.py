"""The real program, killed again and again, with an application that has its own troubles: of each
acked message the application is told, in order."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import trio

from tests.support.application import (
    WEBHOOK_SECRET,
    Application,
    Received,
    Reply,
    application,
)
from tests.support.server import ServerProcess
from tests.support.wire import ConnectionLost

CHANNELS = [f"orders:{number}" for number in range(5)]
KILLS = 5
MORE = 40  # messages between two kills
PATIENCE_S = 180.0  # its pauses grow to half a minute

TOML = """
[namespaces.orders]
webhook = true
"""


class Ledger:
    """What was acked, and what the application has taken, by channel; in one life each."""

    def __init__(self) -> None:
        self.acked: dict[str, dict[int, str]] = {channel: {} for channel in CHANNELS}
        self.told: dict[str, list[tuple[int, str]]] = {channel: [] for channel in CHANNELS}
        self.epochs: set[tuple[str, str]] = set()
        self.resets = 0

    def take(self, received: Received) -> None:
        assert received.is_signed()
        if received.json["type"] != "messages":
            return
        for told in received.json["data"]["channels"]:
            self.epochs.add((told["channel"], told["epoch"]))
            self.resets += "reset" in told
            for message in told["messages"]:
                self.told[told["channel"]].append((message["seq"], message["data"]))

    @property
    def count(self) -> int:
        """How many were acked."""
        return sum(map(len, self.acked.values()))

    @property
    def complete(self) -> bool:
        return all(self.acked[channel].items() <= set(self.told[channel]) for channel in CHANNELS)

    def check(self) -> None:
        assert len(self.epochs) == len(CHANNELS)
        assert self.resets == 0
        for channel in CHANNELS:
            first_times = list(dict.fromkeys(self.told[channel]))
            seqs = [seq for seq, _ in first_times]
            assert seqs == list(range(1, len(seqs) + 1)), channel
            assert dict(first_times).items() >= self.acked[channel].items()


async def publish(server: ServerProcess, ledger: Ledger, name: str, rng: random.Random) -> None:
    """One message after the other, until cancelled; one without an answer again, by the same id."""
    for count in itertools.count():
        channel = rng.choice(CHANNELS)
        await publish_one(server, ledger, channel, f"{name}-{count}")


async def publish_one(server: ServerProcess, ledger: Ledger, channel: str, data: str) -> None:
    while True:
        await server.up()
        try:
            async with await server.http() as http:
                body = {"data": data, "id": data}
                answer = await http.post(f"/v1/channels/{channel}/messages", body)
        except ConnectionLost:
            continue
        if answer.status in (200, 201):
            ledger.acked[channel][answer.json()["seq"]] = data
            return
        assert answer.status in (500, 503), answer


async def trouble(app: Application, rng: random.Random) -> None:
    """The application is restarted now and then, until cancelled."""
    while True:
        await trio.sleep(rng.uniform(0.05, 0.3))
        await app.stop()
        await trio.sleep(rng.uniform(0, 0.1))
        await app.start()


async def test_an_application_is_told_of_each_message_whoever_is_killed(tmp_path: Path) -> None:
    rng, ledger, calm = random.Random(31), Ledger(), False

    async def handle(received: Received) -> Reply:
        if not calm and rng.random() < 0.2:
            return rng.choice([Reply(500), Reply(503), Reply(400), Reply(raw=b"")])
        ledger.take(received)
        # Taken, but the answer may be lost.
        return Reply(204) if calm or rng.random() < 0.9 else Reply(raw=b"")

    (tmp_path / "pushd.toml").write_text(TOML)
    async with application(handle) as app:
        settings = {"webhook_url": app.url, "webhook_secret": WEBHOOK_SECRET}
        server = ServerProcess(tmp_path, **settings, webhook_events="all")
        server.secrets.append(WEBHOOK_SECRET)
        async with server:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish, server, ledger, "a", rng)
                nursery.start_soon(publish, server, ledger, "b", rng)
                nursery.start_soon(trouble, app, rng)
                for _ in range(KILLS):
                    before = ledger.count
                    while ledger.count < before + MORE:
                        await trio.sleep(rng.uniform(0, 0.2))
                    await server.kill()
                    await server.start()
                nursery.cancel_scope.cancel()
            calm = True
            with trio.fail_after(PATIENCE_S):
                await app.stop()
                await app.start()
                while not ledger.complete:
                    await trio.sleep(0.05)
    assert ledger.count >= KILLS * MORE
    ledger.check()

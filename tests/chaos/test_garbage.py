"""200 peers that send garbage, half requests or resets; everybody else is served as if alone."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from tests.support.chat import CHANNEL, Chat, load_chat
from tests.support.followers import Follower, Manner, MultiPoller, Poller, Stage
from tests.support.ledger import Ledger
from tests.support.listeners import Listener
from tests.support.publishers import BatchPublisher
from tests.support.replay import bounded, check_channels
from tests.support.server import ServerProcess
from tests.support.websocket import WebSocket
from tests.support.wire import ConnectionLost, Wire, request_bytes

ATTACKS = 200
AT_ONCE = 20
MESSAGES = 6000


class Attacker:
    """One rude peer. It fails only by what the server owes even to it: an end."""

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self.server = server
        self.rng = random.Random(seed)
        self.token = server.token(f"attacker-{seed}", subscribe=(CHANNEL,))

    async def run(self) -> None:
        await self.rng.choice(ATTACKS_BY_KIND)(self)

    async def noise(self) -> None:
        """Bytes that are no HTTP: refused, and closed."""
        async with await Wire.open(self.server.address) as wire:
            await wire.write(b"\x00" + self.rng.randbytes(self.rng.randint(1, 5000)))
            said = await wire.read_to_end()
            assert said == b"" or said.startswith(b"HTTP/1.1 400 "), said

    async def damaged_request(self) -> None:
        """A good request with some bytes of its head changed: any answer will do."""
        request = bytearray(request_bytes("GET", "/v1/channels/x/messages?after=0", self.token))
        for _ in range(self.rng.randint(1, 8)):
            request[self.rng.randrange(len(request))] = self.rng.randrange(256)
        async with await Wire.open(self.server.address) as wire:
            await wire.write(bytes(request))
            await wire.end()
            await wire.read_to_end()

    async def half_request(self) -> None:
        """Stops in the middle, and hangs up or resets."""
        request = request_bytes("POST", "/v1/pull", self.token, b'{"mine":true,"wait":30}')
        async with await Wire.open(self.server.address) as wire:
            await wire.write(request[: self.rng.randrange(1, len(request))])
            self.leave(wire)

    async def leave_a_poll(self) -> None:
        """Asks for everything it may see, and resets before or while it comes."""
        body = b'{"mine":true,"cursors":{"#ubuntu":"0"},"limit":1000,"wait":30}'
        async with await Wire.open(self.server.address) as wire:
            await wire.write(request_bytes("POST", "/v1/pull", self.token, body) * 5)
            if self.rng.random() < 0.5:
                await wire.read_exactly(100)
            self.leave(wire)

    async def websocket_noise(self) -> None:
        """A session that goes on with bytes that are no frames."""
        async with await WebSocket.open(self.server.address) as wire:
            await wire.upgrade("/v1/ws?channels=%23ubuntu", token=self.token)
            await wire.write(b"\xff" + self.rng.randbytes(self.rng.randint(1, 5000)))
            await wire.read_to_end()

    async def websocket_abuse(self) -> None:
        """Whole frames of every kind with anything in them; then it is gone."""
        async with await WebSocket.open(self.server.address) as wire:
            await wire.upgrade("/v1/ws?channels=%23ubuntu", token=self.token)
            for _ in range(self.rng.randint(1, 20)):
                opcode = self.rng.choice([1, 1, 2, 9, 10])
                await wire.send_frame(opcode, self.rng.randbytes(self.rng.randint(0, 125)))
            self.leave(wire)

    def leave(self, wire: Wire) -> None:
        """Half of them by a reset instead of an orderly end."""
        if self.rng.random() < 0.5:
            at_once = struct.pack("ii", 1, 0)
            wire.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        wire.close()


ATTACKS_BY_KIND: list[Callable[[Attacker], Awaitable[None]]] = [
    Attacker.noise,
    Attacker.damaged_request,
    Attacker.half_request,
    Attacker.leave_a_poll,
    Attacker.websocket_noise,
    Attacker.websocket_abuse,
]


async def attack(server: ServerProcess, seeds: list[int]) -> None:
    """One after the other. The server may cut an attacker at any moment."""
    for seed in seeds:
        try:
            await Attacker(server, seed).run()
        except ConnectionLost:
            continue


def make_followers(server: ServerProcess, chat: Chat, ledger: Ledger) -> list[Follower]:
    stage = Stage(server, chat, ledger, marks_survive=True)
    users = [sent.channel.removeprefix("user:") for sent in chat.sent if sent.channel != CHANNEL]
    chosen = list(dict.fromkeys(users))[:6]
    kinds: list[type[Follower]] = [Listener, Poller, MultiPoller] * 2
    return [
        kind(stage, user, at, Manner())
        for at, (kind, user) in enumerate(zip(kinds, chosen, strict=True))
    ]


async def test_what_one_connection_sends_harms_no_other(tmp_path: Path) -> None:
    chat, ledger = Chat(sent=load_chat().sent[:MESSAGES]), Ledger()
    for sent in chat.sent:
        chat.truth.setdefault(sent.channel, []).append(sent)
    async with ServerProcess(tmp_path) as server:
        followers = make_followers(server, chat, ledger)
        publisher = BatchPublisher(server, ledger, batch=50)
        with bounded(followers):
            async with trio.open_nursery() as nursery:
                for follower in followers:
                    nursery.start_soon(follower.run)
                for first in range(AT_ONCE):
                    nursery.start_soon(attack, server, list(range(first, ATTACKS, AT_ONCE)))
                nursery.start_soon(publisher.run, chat.sent)
            for follower in followers:
                follower.check()
            await check_channels(server, chat, ledger, list(chat.truth))
    ledger.check(chat)

"""Members are changed while sessions open, polls wait and messages come: in the end every session
follows exactly what its user is in, and has been told so."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.groups import GROUP
from tests.support.app import KEY, Server, Socket, running_server
from tests.support.http import patience

USERS = ("amy", "bob", "cy")
GROUPS = ("red", "green", "blue")
STEPS = 60


class Follower:
    """One socket, and what it was told to follow."""

    def __init__(self, user: str, socket: Socket) -> None:
        self.user = user
        self.socket = socket
        self.follows: set[str] = set()

    def take(self, frame: dict[str, Any]) -> None:
        kind = frame["type"]
        if kind in ("hello", "subscribed"):
            self.follows |= frame["heads"].keys()
        elif kind == "unsubscribed":
            self.follows -= set(frame["channels"])
        elif kind == "hint":
            assert frame["channel"] in self.follows, "a hint of what it was not told to follow"

    async def follow(self, task_status: trio.TaskStatus[None]) -> None:
        self.take(await self.socket.expect("hello"))
        task_status.started()
        while True:
            frame = await self.socket.message()
            self.take(frame)
            if frame["type"] == "pong":
                return


class Race:
    """What is done to one server, at random; several things at a time."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.sockets = trio.CapacityLimiter(12)
        self.ended = trio.Event()
        self.followers: list[Follower] = []
        self.waiting = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(STEPS):
                step = self.random.choice((self.change, self.change, self.open, self.publish))
                if step == self.open:
                    if self.sockets.available_tokens:
                        nursery.start_soon(self.open)
                else:
                    step()
                for _ in range(self.random.randrange(4)):
                    await trio.lowlevel.checkpoint()
            await self.settle()
            self.ended.set()

    def change(self) -> None:
        """Not waited for: several are under way at a time."""
        users = self.random.sample(USERS, self.random.randint(1, len(USERS)))
        at = self.random.randint(0, len(users))
        group = self.random.choice(GROUPS)
        self.waiting += 1
        log = self.server.hub.log
        if self.random.random() < 0.1:
            log.delete_group(group, self.done)
        else:
            log.change_members(group, users[:at], users[at:], self.done)

    def done(self, _: object) -> None:
        self.waiting -= 1

    def publish(self) -> None:
        self.server.hub.services.start_soon(
            self.server.publish, GROUP + self.random.choice(GROUPS), 1
        )

    async def open(self) -> None:
        user = self.random.choice(USERS)
        token = self.server.token(user)
        async with self.sockets, self.server.socket(token=token) as socket:
            follower = Follower(user, socket)
            async with trio.open_nursery() as nursery:
                await nursery.start(follower.follow)
                self.followers.append(follower)
                await self.ended.wait()
                # Whatever it was told before it has heard when this is answered.
                await socket.send({"type": "ping"})

    async def settle(self) -> None:
        with patience():
            while self.waiting or self.sockets.borrowed_tokens > len(self.followers):
                await trio.lowlevel.checkpoint()
        await self.server.hub.membership.settled()


@pytest.mark.parametrize("seed", range(8))
async def test_the_final_state_wins(tmp_path: Path, seed: int) -> None:
    async with running_server(tmp_path) as server:
        race = Race(server, seed)
        await race.run()
        groups = server.hub.log.groups
        members = {name: sorted(groups.members(name)) for name in groups.names()}
        assert race.followers
        for follower in race.followers:
            own = {GROUP + name for name, users in members.items() if follower.user in users}
            assert follower.follows == {"all", f"user:{follower.user}", *own}
        for user in USERS:
            own = {GROUP + name for name, users in members.items() if user in users}
            body = {"mine": True}
            polled = await server.ask("POST", "/v1/pull", token=server.token(user), body=body)
            assert {name for name in polled.json["channels"] if name.startswith(GROUP)} == own
        assert set(groups._of_user) == {user for users in members.values() for user in users}
    async with running_server(tmp_path) as server:
        for name in GROUPS:
            found = await server.ask("GET", f"/v1/groups/{name}/members", token=KEY)
            assert [item["user"] for item in found.json["items"]] == members.get(name, [])

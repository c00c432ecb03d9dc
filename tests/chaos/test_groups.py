"""Members of groups while the server is killed: what was answered holds, and nothing half of it."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import trio

from tests.support.server import ServerProcess
from tests.support.wire import ConnectionLost

KILLS = 3
USERS = [f"user-{number:03}" for number in range(300)]


class Group:
    """Changes one group again and again. ``members``: what was answered last; ``unknown``: what
    may be there instead, after an answer that was lost."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.path = f"/v1/groups/{name}"
        self.members: set[str] = set()
        self.unknown: set[str] = set()
        self.acked = 0
        self._server = server
        self._random = random.Random(name)

    async def run(self, enough: trio.Event) -> None:
        lost = False
        while not enough.is_set() or lost:
            await self._server.up()
            with suppress(ConnectionLost, OSError):  # killed
                if lost:
                    found = await self.found()
                    # The change is there as a whole, or not at all.
                    assert found in (self.members, self.unknown)
                    self.members = found
                lost = True
                await self._change()
                lost = False

    async def _change(self) -> None:
        async with await self._server.http() as http:
            if self._random.random() < 0.1 and self.members:
                self.unknown = set()
                answer = await http.request("DELETE", self.path)
            else:
                users = self._random.sample(USERS, self._random.randint(1, 200))
                at = self._random.randint(0, len(users))
                add, remove = users[:at], users[at:]
                self.unknown = self.members.union(add).difference(remove)
                body = {"add": add, "remove": remove}
                answer = await http.post(f"{self.path}/members", body)
            assert answer.status == 200, answer
        self.members = self.unknown
        self.acked += 1

    async def found(self) -> set[str]:
        async with await self._server.http() as http:
            answer = await http.get(f"{self.path}/members?limit=1000")
        assert answer.status == 200, answer
        return {item["user"] for item in answer.json()["items"]}


async def test_no_change_that_was_answered_is_lost_or_halved(tmp_path: Path) -> None:
    enough = trio.Event()
    async with ServerProcess(tmp_path) as server:
        groups = [Group(server, f"g{number}") for number in range(3)]
        async with trio.open_nursery() as nursery:
            for group in groups:
                nursery.start_soon(group.run, enough)
            for _ in range(KILLS):
                before = sum(group.acked for group in groups)
                while sum(group.acked for group in groups) < before + 30:
                    await trio.sleep(0.01)
                await server.kill()
                await server.start()
            enough.set()
        server.terminate()
        assert await server.ended() == 0
        await server.start()
        for group in groups:
            assert await group.found() == group.members

"""Two people chat over nodes on one address, in a real browser, while parts are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from tests.clientjs.people import Person, open_window
from tests.support.browser import browser
from tests.support.redis import RedisServer
from tests.support.server import SECRET, ServerProcess
from tests.support.workers import processes, until, workers

Harm = Callable[[ServerProcess, RedisServer], Awaitable[None]]


async def empty_redis(server: ServerProcess, redis: RedisServer) -> None:
    await redis.flush()


async def kill_redis(server: ServerProcess, redis: RedisServer) -> None:
    await redis.kill()


async def restart_redis(server: ServerProcess, redis: RedisServer) -> None:
    await redis.start()


def kill(name: str) -> Harm:
    async def harm(server: ServerProcess, redis: RedisServer) -> None:
        before = processes(server)[name]
        os.kill(before, signal.SIGKILL)
        await until(lambda: processes(server).get(name, before) != before)

    return harm


async def test_people_keep_chatting(tmp_path: Path) -> None:
    """Redis emptied, killed and back; an edge killed; the owner killed."""
    harms: list[Harm] = [empty_redis, kill_redis, kill("n-1"), restart_redis, kill("n")]
    async with workers(tmp_path, dev="true") as (server, redis), browser(tmp_path / "p") as driven:
        base = "http://{}:{}".format(*server.address)
        people = [
            await open_window(driven, base, "chat", user, SECRET) for user in ("alice", "bob")
        ]
        said: list[str] = []

        async def talk(text: str) -> None:
            for person in people:
                said.append(f"{person.user} {text}")
                await person.say(said[-1])
                await each_sees(people, said)

        await talk("at first")
        for number, harm in enumerate(harms):
            await harm(server, redis)
            await talk(f"after {number}")


async def each_sees(people: list[Person], said: list[str]) -> None:
    with trio.fail_after(100):
        for person in people:
            await person.sees_texts(said)

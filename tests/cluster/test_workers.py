"""Several nodes on one address under one parent: real processes, a real Redis, killed for real."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import trio

from tests.support.server import ServerProcess
from tests.support.wire import KEY, ConnectionLost
from tests.support.workers import PATIENCE_S, processes, until, workers


async def ask(server: ServerProcess, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """On a connection of its own: which node answers is the kernel's choice."""
    text = b"" if body is None else json.dumps(body).encode()
    async with await server.http() as http:
        answer = await http.request(method, path, KEY, text)
    return answer.status, json.loads(answer.body) if answer.body else None


async def names(server: ServerProcess) -> set[str]:
    """The nodes that answer on the shared address."""
    found = set()
    for _ in range(60):
        status, state = await ask(server, "GET", "/readyz")
        if status == 200:
            found.add(state["node"])
    return found


async def publish(server: ServerProcess, number: int) -> int:
    """The seq. Tried again with the same id until it is stored."""
    body = {"data": number, "id": f"m{number}"}
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                status, stored = await ask(server, "POST", "/v1/channels/news/messages", body)
            except ConnectionLost:
                status = 0  # it went to a node that was killed just then
            if status in (200, 201):
                return int(stored["seq"])
            await trio.sleep(0.05)


async def seqs(server: ServerProcess, count: int) -> list[int]:
    """Of so many messages, from whichever node: one that has heard of fewer asks the owner first,
    and refuses while it cannot."""
    path = f"/v1/channels/news/messages?after=0&limit=100&atleast={count}"
    with trio.fail_after(PATIENCE_S):
        while True:
            status, answer = await ask(server, "GET", path)
            if status == 200:
                return [each["seq"] for each in answer["messages"]]
            await trio.sleep(0.05)


async def test_nodes_share_an_address_and_what_dies_is_started_again(tmp_path: Path) -> None:
    async with workers(tmp_path) as (server, _):
        everybody = {"n", "n-1", "n-2"}
        assert set(processes(server)) == everybody
        with trio.fail_after(PATIENCE_S):
            while await names(server) != everybody:
                pass
        assert [await publish(server, number) for number in range(12)] == list(range(1, 13))
        for victim in ("n-1", "n"):
            before = processes(server)[victim]
            os.kill(before, signal.SIGKILL)
            assert await publish(server, 100 + before) > 0
            await until(lambda name=victim, pid=before: processes(server).get(name, pid) != pid)
        with trio.fail_after(PATIENCE_S):
            while await names(server) != everybody:
                pass
        assert await seqs(server, 14) == list(range(1, 15))


async def test_all_of_them_stop_when_they_are_told(tmp_path: Path) -> None:
    async with workers(tmp_path) as (server, _):
        nodes = processes(server)
        server.terminate()
        with trio.fail_after(PATIENCE_S):
            assert await server.ended() == 0
        assert not any(is_alive(pid) for pid in nodes.values())


async def test_nobody_outlives_the_parent(tmp_path: Path) -> None:
    async with workers(tmp_path) as (server, _):
        nodes = processes(server)
        await server.kill()
        await until(lambda: not any(is_alive(pid) for pid in nodes.values()))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # also while it is looked
        return False
    return state != "Z"

"""Lists look through all names there are: in a thread, and in one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import trio

from pushd.web.admin import channels, sessions, users
from tests.support.app import KEY, Server
from tests.support.sessions import session

LISTS = {"/v1/channels": channels, "/v1/users": users, "/v1/sessions": sessions}


def watched(search: Callable[..., Any], threads: set[int], pairs: list[int]) -> Callable[..., Any]:
    """Waits a moment for a second one to come in; there must be none."""
    meeting = threading.Barrier(2)

    def run(*arguments: Any) -> Any:
        threads.add(threading.get_ident())
        try:
            pairs.append(meeting.wait(0.05))
        except threading.BrokenBarrierError:
            meeting.reset()
        return search(*arguments)

    return run


@pytest.mark.parametrize("path", LISTS)
async def test_one_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Twenty at once would leave the loop the twentieth part of the interpreter."""
    module: ModuleType = LISTS[path]
    threads: set[int] = set()
    pairs: list[int] = []
    monkeypatch.setattr(module, "_search", watched(module._search, threads, pairs))
    await server.publish("user:alice", 1)
    found = []

    async def ask() -> None:
        answer = await server.ask("GET", path, token=KEY)
        found.append(len(answer.json["items"]))

    async with session(server), trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert found == [1] * 5
    assert pairs == []
    assert threading.get_ident() not in threads

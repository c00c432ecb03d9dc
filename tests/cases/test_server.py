"""A real server says what the shared cases claim that it says: docs/your-own-client.md.

The test is the client, step by step. What the network does to what a server says ("by": "network")
has no place here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import trio

from tests.cases.files import load
from tests.cases.world import World
from tests.support.app import Socket, until
from tests.support.http import Answer
from tests.support.websocket import Closed

CASES = load()
WAIT_S: Final = 50  # longer than anything here takes
# What only concerns clients.
_TOLD: Final = frozenset(("deliver", "reset", "drop", "expiring", "read", "end", "in_any_order"))
_NOTHING: Final = frozenset(("quiet_s", "idle_s", "undelivered_s", "silence"))


def is_real(step: dict[str, Any]) -> bool:
    return step.get("by") != "network" and bool(step.keys() & {"say", "answer"})


# Where the network says everything there is nothing for a server to show.
REAL = [name for name, case in CASES.items() if any(map(is_real, case["steps"]))]


@pytest.mark.parametrize("name", REAL)
async def test_case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    async with acting(case, tmp_path, monkeypatch) as actor:
        await actor.begin()
        for at, step in enumerate(case["steps"], start=1):
            if actor.over:
                break
            try:
                await actor.step(step)
            except (AssertionError, Closed) as error:
                error.add_note(f"step {at}: {step}")
                raise


@asynccontextmanager
async def acting(
    case: dict[str, Any], path: Path, patch: pytest.MonkeyPatch
) -> AsyncIterator[Actor]:
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        world = World(case, path, patch, stack)
        await world.start()
        actor = Actor(case, world, nursery)
        try:
            yield actor
        finally:
            actor.close_socket()
            nursery.cancel_scope.cancel()


class Actor:
    """Does what the case says that the world and the client do; compares what the server says."""

    def __init__(self, case: dict[str, Any], world: World, nursery: trio.Nursery) -> None:
        self._case, self._world, self._nursery = case, world, nursery
        self.over = False
        self._asked: dict[str, Any] = {}
        self._page: dict[str, Any] = {}
        self._answers: trio.MemoryReceiveChannel[Answer] | None = None
        self._socket: Socket | None = None
        self._down = False

    # -- what the client does --------------------------------------------------------------------

    async def begin(self) -> None:
        """The first session, and the pull of whoever follows from the head."""
        await self._step_world(self._case["world"], {})
        hello = self._case.get("hello")
        if hello is None:
            return
        await self._step_connect({"channels": [*self._case["follow"]]}, {})
        await self._step_say(hello, {})
        heads = {name: f"{head['epoch']}.{head['head']}" for name, head in hello["heads"].items()}
        current = {n: text for n, text in self._case["follow"].items() if heads.get(n) == text}
        if current:
            await self._step_pull({"cursors": current}, {})
            assert (await self._answered({})).status == 200

    async def step(self, step: dict[str, Any]) -> None:
        kind, value = next(iter(step.items()))
        if kind not in _TOLD | _NOTHING:
            await getattr(self, f"_step_{kind}")(value, step)

    async def _step_world(self, actions: list[dict[str, Any]], step: object) -> None:
        for action in actions:
            await self._world.act(action)

    async def _step_connect(self, expected: dict[str, Any], step: object) -> None:
        if self._down:
            return
        self.close_socket()
        self._world.take_token(expected)
        names = ",".join(quote(each) for each in expected["channels"])
        self._socket = await Socket.open(("127.0.0.1", self._world.server.port))
        query = f"channels={names}&device=d" if names else "device=d"
        await self._socket.upgrade(f"/v1/ws?{query}", token=self._world.token)

    async def _step_pull(self, expected: dict[str, Any], step: dict[str, Any]) -> None:
        self._world.take_token(step)
        body = {"cursors": self._world.binding.real(expected["cursors"]), "device": "d"}
        if "atleast" in expected:
            body["atleast"] = expected["atleast"]
        self._asked, self._answers = body, None
        if expected.get("held"):
            send, self._answers = trio.open_memory_channel[Answer](1)
            self._nursery.start_soon(self._hold, {**body, "wait": WAIT_S}, send)
            await until(lambda: self._world.server.hub.pulls.held)

    async def _hold(self, body: object, answers: trio.MemorySendChannel[Answer]) -> None:
        answers.send_nowait(await self._ask("POST", "/v1/pull", body))

    async def _ask(self, method: str, path: str, body: object = b"") -> Answer:
        world = self._world
        return await world.server.ask(method, path, token=world.token, body=body)

    async def _step_begin(self, channel: str, step: object) -> None:
        """One way; the other is ``GET`` of the channel without a cursor."""
        self._asked, self._answers = {"cursors": {}, "mine": True, "device": "e"}, None
        path = f"/v1/channels/{quote(channel)}/messages?device=d"
        self._page = {
            channel: (await self._world.server.ask("GET", path, token=self._world.token)).json
        }

    async def _step_answer(self, expected: Any, step: dict[str, Any]) -> None:
        if step.get("by") == "network":
            return
        answer = await self._answered(step)
        assert answer.status == step.get("status", 200)
        self._world.binding.check(expected, answer.json)
        if self._page:
            self._world.binding.check(expected["channels"], self._page)
            self._page = {}
        if self._world.stopping:
            self.over = True

    async def _answered(self, step: dict[str, Any]) -> Answer:
        if self._answers is not None:
            with trio.fail_after(WAIT_S):
                return await self._answers.receive()
        body = {**self._asked, **({"limit": step["limit"]} if "limit" in step else {})}
        return await self._ask("POST", "/v1/pull", body)

    async def _step_ack(self, cursors: dict[str, str], step: object) -> None:
        body = {"cursors": self._world.binding.real(cursors), "device": "d"}
        assert (await self._ask("POST", "/v1/ack", body)).status == 204

    async def _step_send(self, frame: dict[str, Any], step: object) -> None:
        assert self._socket is not None
        self._world.take_token(frame)
        await self._socket.send(
            {**frame, "token": self._world.token} if "token" in frame else frame
        )

    # -- what the server says --------------------------------------------------------------------

    async def _step_say(self, expected: dict[str, Any], step: dict[str, Any]) -> None:
        if step.get("by") == "network":
            return
        assert self._socket is not None
        told = await self._socket.message()
        while expected["type"] == told["type"] == "hint" and told["seq"] < expected["seq"]:
            told = await self._socket.message()  # may be merged, or not
        self._world.binding.check(expected, told)

    async def _step_close(self, code: int, step: dict[str, Any]) -> None:
        assert self._socket is not None
        if step.get("by") == "network":
            self.close_socket()
            return
        with pytest.raises(Closed) as closed:
            await self._socket.message()
        assert closed.value.code == code

    async def _step_down(self, value: object, step: object) -> None:
        self._down = True

    async def _step_up(self, value: object, step: object) -> None:
        self._down = False

    def close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()

"""What happens at a real server while a shared case is played."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from pushd.auth import mint_token
from tests.cases.binding import Binding
from tests.support.app import KEY, SECRET, Server, running_server


class World:
    """A server, its clock, and the tokens of one user."""

    server: Server

    def __init__(
        self, case: dict[str, Any], path: Path, patch: pytest.MonkeyPatch, stack: AsyncExitStack
    ) -> None:
        hello = case.get("hello") or {"pull": {"interval_s": 20.0}}
        self._interval_s: float = hello["pull"]["interval_s"]
        self._path, self._stack = path, stack
        self.binding = Binding()
        self.stopping = False
        self._clock, self._late_s = time.time, 0.0
        patch.setattr(time, "time", lambda: self._clock() + self._late_s)
        lives: list[int] = case.get("tokens", [3600])
        self._tokens = [mint_token(SECRET, "alice", subscribe=["*"], ttl_s=life) for life in lives]
        self.token = self._tokens[0]

    async def start(self) -> None:
        self.server = await self._stack.enter_async_context(
            running_server(self._path, pull_interval=self._interval_s)
        )

    def take_token(self, given: dict[str, Any]) -> None:
        """The one that it names, from now on."""
        if "token" in given:
            self.token = self._tokens[int(given["token"][1:]) - 1]

    async def act(self, action: dict[str, Any]) -> None:
        kind, value = next(iter(action.items()))
        await getattr(self, f"_act_{kind}")(value, action)

    async def _act_publish(self, channel: str, action: dict[str, Any]) -> None:
        for data, id_ in zip(action["data"], action["ids"], strict=True):
            done = await self.server.publish(self.binding.real(channel), data, id=id_)
            self.binding.met(done["epoch"])

    async def _act_trim(self, channel: str, action: dict[str, Any]) -> None:
        await self._admin("POST", f"/v1/channels/{channel}/trim", {"before": action["before"]})

    async def _act_delete(self, channel: str, action: object) -> None:
        await self._admin("DELETE", f"/v1/channels/{channel}")

    async def _act_join(self, group: str, action: object) -> None:
        await self._admin("POST", f"/v1/groups/{group}/members", {"add": ["alice"]})

    async def _act_kick(self, reason: str, action: dict[str, Any]) -> None:
        again = str(action["reconnect"]).lower()
        path = f"/v1/users/alice/sessions?reason={reason}&reconnect={again}"
        await self._admin("DELETE", path)

    async def _act_read(self, channel: str, action: dict[str, Any]) -> None:
        body = {"cursor": self.binding.real(action["cursor"]), "device": "another"}
        path = f"/v1/channels/{channel}/read"
        answer = await self.server.ask("POST", path, token=self.token, body=body)
        assert answer.status == 204, answer

    async def _act_clock_s(self, seconds: float, action: object) -> None:
        self._late_s += seconds
        for session in self.server.hub.sessions.of_user("alice"):
            if (session.identity.expires or 0) <= time.time():
                session.expire()  # the wheel turns with the other clock

    async def _act_stop(self, value: object, action: object) -> None:
        self.server.stopper.asked.set()
        self.stopping = True

    async def _act_start(self, value: object, action: object) -> None:
        await self._stack.aclose()
        self.stopping = False
        await self.start()

    async def _admin(self, method: str, path: str, body: object = b"") -> None:
        answer = await self.server.ask(method, path, token=KEY, body=body)
        assert answer.status in (200, 204), answer

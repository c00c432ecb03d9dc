"""The server process under attack, and what shows that it still serves."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

from pushd.auth import mint_token
from tests.support import app
from tests.support.http import Answer
from tests.support.server import ServerProcess

_channels = (f"serves-on:{number}" for number in itertools.count())


class Node(app.Server):
    """The outside of ``Server``, of a process of its own that logs all it can."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.process = ServerProcess(
            home, **{"log_level": "debug", "min_free_disk": "0", **settings}
        )
        self.process.environ |= {"PUSHD_API_KEY": app.KEY, "PUSHD_JWT_SECRET": app.SECRET}
        self.process.secrets += [app.KEY, app.SECRET]
        self.port = self.process.address[1]

    def token(self, user: str = "alice", **members: Any) -> str:
        members.setdefault("subscribe", ["*"])
        return self.secret(mint_token(app.SECRET, user, **members))

    def secret(self, credential: str) -> str:
        """From now on the log must not hold it, nor its signature."""
        if len(credential.rpartition(".")[2]) >= 16:
            self.process.secrets.append(credential)
        return credential

    async def send(self, data: bytes) -> Answer:
        """Bytes on a connection of their own; the answer to them."""
        async with self.peer() as peer:
            await peer.write(data)
            return await peer.answer()

    async def metrics(self) -> str:
        answer = await self.ask("GET", "/metrics", token=app.KEY)
        assert answer.status == 200, answer
        return answer.body.decode()

    async def errors(self) -> dict[str, float]:
        """Refusals so far, by code."""
        found = re.findall(r'pushd_errors_total\{code="(\w+)"\} (\S+)', await self.metrics())
        return {code: float(count) for code, count in found}

    async def gauge(self, name: str) -> float:
        found = re.search(rf"(?m)^{name} (\S+)$", await self.metrics())
        assert found, name
        return float(found[1])


async def serves_on(node: app.Server, user: str = "bystander") -> None:
    """Publish, hint and pull work for somebody who did nothing wrong."""
    channel = next(_channels)
    token = node.token(user)
    async with node.socket(f"/v1/ws?channels={channel}", token=token) as socket:
        await socket.expect("hello")
        stored = await node.publish(channel, "still here")
        hint = await socket.expect("hint")
        assert (hint["channel"], hint["seq"]) == (channel, stored["seq"])
    answer = await node.pull(channel, token, after=0)
    assert [each["data"] for each in answer.json["messages"]] == ["still here"]

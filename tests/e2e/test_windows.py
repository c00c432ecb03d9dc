"""A window that is held, over kills and restarts of the real program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from tests.support.gauges import BOUND_S
from tests.support.server import ServerProcess
from tests.support.wire import ConnectionLost

CHANNEL = "held:orders"
MESSAGES = 400
KEPT = 20
CONFIG = f"""
[namespaces.held]
public = true
retention_messages = {KEPT}
hold_age = "30d"
hold_messages = {MESSAGES * 2}

[namespaces.few]
public = true
retention_messages = {KEPT}
"""


async def state(server: ServerProcess, channel: str) -> dict[str, Any]:
    """What an operator sees."""
    async with await server.http() as http:
        answer = await http.get(f"/v1/channels/{channel}")
    found: dict[str, Any] = msgspec.json.decode(answer.ok())
    return found


async def becomes(
    server: ServerProcess, channel: str, wanted: Callable[[dict[str, Any]], bool]
) -> None:
    with trio.fail_after(BOUND_S):
        while not wanted(await state(server, channel)):
            await trio.sleep(0.01)


class Device:
    """Gets a few messages at a time, from where it was, whatever happens to the server."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.token = server.token("courier", device="phone")
        self.got: list[int] = []
        self.cursor = "0"

    async def pull(self, limit: int) -> bool:
        """Whether there is more."""
        while True:
            try:
                async with await self.server.http() as http:
                    target = f"/v1/channels/{CHANNEL}/messages?after={self.cursor}&limit={limit}"
                    page = msgspec.json.decode((await http.get(target, self.token)).ok())
            except ConnectionLost:
                await self.server.up()
                continue
            self.got += [message["data"] for message in page["messages"]]
            self.cursor = page["next"]
            return bool(page["more"])


async def publish(server: ServerProcess, start: int, count: int) -> None:
    """To the channel that is held and to one that is not, numbered."""
    lines = [
        {"channel": channel, "data": number, "id": f"n{number}"}
        for number in range(start, start + count)
        for channel in (CHANNEL, "few:orders")
    ]
    body = b"\n".join(map(msgspec.json.encode, lines))
    async with await server.http() as http:
        answer = await http.request(
            "POST", "/v1/publish", body=body, content_type="application/x-ndjson"
        )
        assert b"status" not in answer.ok()


async def test_a_slow_device_gets_everything_over_kills(tmp_path: Path) -> None:
    """Each time it is killed with marks that are not on disk yet; a stop is just the same."""
    (tmp_path / "pushd.toml").write_text(CONFIG)
    times = {"retention_interval": "20ms", "write_behind": "50ms"}
    async with ServerProcess(tmp_path, **times) as server:
        await publish(server, 1, KEPT)
        device = Device(server)
        await device.pull(2)
        await device.pull(2)
        await becomes(server, CHANNEL, lambda seen: seen["slowest"] is not None)
        for round_ in range(1, MESSAGES // KEPT):
            await publish(server, 1 + round_ * KEPT, KEPT)
            await device.pull(5)
            if round_ % 6 == 0:
                server.terminate() if round_ == 12 else await server.kill()
                if round_ == 12:
                    assert await server.ended() == 0
                await server.start()
        # What nobody is slow in is cut, so all rounds of retention were there to be withstood.
        await becomes(server, "few:orders", lambda seen: seen["messages"] == KEPT)
        held = await state(server, CHANNEL)
        assert held["messages"] >= MESSAGES - len(device.got)
        assert held["head"] == MESSAGES
        while await device.pull(100):
            pass
        assert device.got == list(range(1, MESSAGES + 1))
        await device.pull(1)
        await becomes(server, CHANNEL, lambda seen: seen["messages"] == KEPT)

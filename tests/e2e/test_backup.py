"""A backup under load, restored elsewhere and in place: clients learn of it and miss nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import trio

from pushd.log.store import DATABASE
from tests.log.vaults import rows
from tests.support.server import ROOT, ServerProcess
from tests.support.wire import NDJSON, Http

CHANNELS = ("news", "chat:1", "user:alice")
BATCH = 60
BACKUPS = 3


async def pushctl(server: ServerProcess, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pushd", *map(str, arguments), "--data", str(server.data)]
    return await trio.run_process(
        command, cwd=ROOT, capture_stdout=True, capture_stderr=True, check=False
    )


class Load:
    """Publishes until it is told to stop. ``acked``: by channel the ids in the order of seqs."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.acked: dict[str, list[str]] = defaultdict(list)
        self.batches = 0
        self.enough = False
        self._stored = trio.Event()

    async def run(self) -> None:
        async with await self.server.http() as http:
            while not self.enough:
                await self.publish(http)

    async def publish(self, http: Http) -> None:
        self.batches += 1
        lines = [
            {"channel": channel, "id": f"{channel}-{self.batches}-{n}", "data": {"n": n}}
            for n in range(BATCH // len(CHANNELS))
            for channel in CHANNELS
        ]
        body = b"\n".join(map(msgspec.json.encode, lines))
        answer = await http.request("POST", "/v1/publish", body=body, content_type=NDJSON)
        for raw in answer.ok().splitlines():
            result = json.loads(raw)
            acked = self.acked[result["channel"]]
            acked.append(result["id"])
            assert result["seq"] == len(acked)
        self._stored.set()
        self._stored = trio.Event()

    async def reach(self, batches: int) -> None:
        """Wait until so many more are stored."""
        wanted = self.batches + batches
        while self.batches < wanted:
            await self.more()

    async def more(self) -> None:
        """Wait until the next batch is acked."""
        await self._stored.wait()

    def counts(self) -> dict[str, int]:
        return {channel: len(acked) for channel, acked in self.acked.items()}


class Client:
    """Pulls with its cursors; after a reset it goes on from ``resume``."""

    def __init__(self, server: ServerProcess) -> None:
        self.token = server.token("alice", device="phone", subscribe=("news", "chat:*"))
        self.cursors = dict.fromkeys(CHANNELS, "0")
        self.resets: dict[str, Any] = {}

    async def pull_all(self, http: Http) -> dict[str, list[str]]:
        return {channel: await self.pull(http, channel) for channel in CHANNELS}

    async def pull(self, http: Http, channel: str) -> list[str]:
        """The ids of all that is newer."""
        found: list[str] = []
        while True:
            path = f"/v1/channels/{quote(channel, safe='')}/messages?limit=500"
            answer = await http.get(f"{path}&after={self.cursors[channel]}", self.token)
            if answer.status == 410:
                self.resets[channel] = answer.json()
                self.cursors[channel] = answer.json()["resume"]
            else:
                page = json.loads(answer.ok())
                found += [message["id"] for message in page["messages"]]
                self.cursors[channel] = page["next"]
                if not page["more"]:
                    return found


async def check_backup(file: Path, before: dict[str, int], load: Load) -> None:
    """All that was acked when it began, nothing that was not sent when it ended, no holes."""
    for channel in CHANNELS:
        ids = [id_ for (id_,) in rows(file, held(channel))]
        assert len(ids) >= before.get(channel, 0)
        while len(load.acked[channel]) < len(ids):
            await load.more()
        assert ids == load.acked[channel][: len(ids)]


def held(channel: str) -> str:
    return (
        "SELECT m.id FROM messages AS m JOIN channels AS c ON c.log_id = m.log_id"
        f" WHERE name = '{channel}' ORDER BY seq"
    )


async def back_up(server: ServerProcess, load: Load, home: Path) -> Path:
    """Some backups while it is published; the last one."""
    for number in range(BACKUPS):
        await load.reach(20)
        before, target = load.counts(), home / f"{number}.db"
        done = await pushctl(server, "backup", target)
        assert done.returncode == 0, done.stderr
        await check_backup(target, before, load)
    await load.reach(20)
    return target


async def check_client(server: ServerProcess, client: Client, held: dict[str, list[str]]) -> None:
    """It is told of the new life, and then gets all that the backup holds."""
    async with await server.http() as http:
        for channel in CHANNELS:
            old = client.cursors[channel].partition(".")[0]
            assert await client.pull(http, channel) == held[channel]
            reset = client.resets.pop(channel)
            assert reset["code"] == "epoch_changed"
            assert reset["epoch"] > old
            assert (reset["first"], reset["head"]) == (1, len(held[channel]))


async def test_backed_up_under_load_restored_elsewhere_and_in_place(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "a") as server:
        load, client, late = Load(server), Client(server), Client(server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load.run)
            backup = await back_up(server, load, tmp_path)
            refused = await pushctl(server, "restore", backup, "--force")
            assert refused.returncode == 1
            assert f"process {server.process.pid} ".encode() in refused.stderr  # type: ignore[union-attr]
            load.enough = True
        async with await server.http() as http:
            for each in (client, late):
                got = await each.pull_all(http)
                assert got == load.acked
        kept = {channel: [id_ for (id_,) in rows(backup, held(channel))] for channel in CHANNELS}
        assert all(0 < len(kept[channel]) < len(load.acked[channel]) for channel in CHANNELS)
        await server.kill()

        elsewhere = ServerProcess(tmp_path / "b")
        assert (await pushctl(elsewhere, "restore", backup, "--force")).returncode == 0
        async with elsewhere:
            await check_client(elsewhere, late, kept)

        done = await pushctl(server, "restore", backup, "--force")
        assert done.returncode == 0, done.stderr
        await server.start()
        await check_client(server, client, kept)
        # It goes on: new messages come after those of the backup, each once.
        load.acked = defaultdict(list, {name: list(ids) for name, ids in kept.items()})
        async with await server.http() as http:
            await load.publish(http)
            got = await client.pull_all(http)
        assert got == {name: load.acked[name][len(kept[name]) :] for name in CHANNELS}
        server.terminate()
        assert await server.ended() == 0
    verified = await pushctl(server, "verify")
    assert verified.returncode == 0, verified.stdout
    (aside,) = server.data.glob("replaced-*")
    assert (aside / DATABASE).exists()

"""A disk that fills up, and one that cannot be trusted any more (``faultdisk.c``)."""

from __future__ import annotations

import contextlib
from pathlib import Path

import trio

from tests.chaos.faultdisk import FaultDisk
from tests.support.chat import Chat, load_chat
from tests.support.gauges import gauge_reaches
from tests.support.ledger import Ledger, decode_page
from tests.support.publishers import BatchPublisher
from tests.support.replay import check_channels
from tests.support.server import ServerProcess
from tests.support.wire import KEY, NDJSON, ConnectionLost, Http, request_bytes

FULL = ("write ENOSPC pushd.db",)
BROKEN = ("sync EIO pushd.db", "sync EIO pushd.db-wal")
TARGET = "/v1/channels/news/messages"


class Unheard(ServerProcess):
    """Its log goes to a disk that is full as well."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.log_path = Path("/dev/full")

    def log(self) -> str:
        return ""


def on_faulty_disk(
    home: Path, kind: type[ServerProcess] = ServerProcess
) -> tuple[ServerProcess, FaultDisk]:
    disk = FaultDisk(home)
    server = kind(home)
    faults = ("LD_PRELOAD", "FAULTDISK")
    server.environ = {name: disk.environment()[name] for name in faults}
    return server, disk


def part_of_chat(count: int) -> Chat:
    chat = Chat(sent=load_chat().sent[:count])
    for sent in chat.sent:
        chat.truth.setdefault(sent.channel, []).append(sent)
    return chat


async def pull_news(http: Http) -> list[str]:
    answer = await http.get(TARGET + "?after=0")
    assert answer.status == 200
    return [message.id for message in decode_page(answer.body).messages]


async def test_a_full_disk_refuses_publishes_and_serves_pulls(tmp_path: Path) -> None:
    server, disk = on_faulty_disk(tmp_path)
    async with server, await server.http() as http:
        assert (await http.post(TARGET, {"id": "before", "data": 1})).status == 201
        disk.refuse(*FULL)
        refused = await http.post(TARGET, {"id": "during", "data": 2})
        assert (refused.status, refused.json()["code"]) == (507, "storage_full")
        lines = b'{"channel":"news","id":"line","data":3}\n{"channel":"new","id":"l2","data":3}'
        answer = await http.request("POST", "/v1/publish", body=lines, content_type=NDJSON)
        assert answer.ok().count(b'"storage_full"') == 2
        assert await pull_news(http) == ["before"]
        assert (await http.get("/readyz")).status == 200
        disk.mend()
        retried = await http.post(TARGET, {"id": "during", "data": 2})
        assert retried.status == 201  # nothing of the refused one was stored
        assert retried.json()["seq"] == 2
        await server.kill()
        await server.start()
        async with await server.http() as again:
            assert await pull_news(again) == ["before", "during"]


async def test_what_cannot_be_logged_harms_nobody(tmp_path: Path) -> None:
    """The writer's thread warns of the full disk, in a log that is on it."""
    server, disk = on_faulty_disk(tmp_path, Unheard)
    async with server, await server.http() as http:
        assert (await http.post(TARGET, {"id": "before", "data": 1})).status == 201
        disk.refuse(*FULL)
        assert (await http.post(TARGET, {"id": "during", "data": 2})).status == 507
        disk.mend()
        assert (await http.post(TARGET, {"id": "during", "data": 2})).status == 201
        server.terminate()
        assert await server.ended() == 0


async def test_a_failed_sync_stops_the_server_and_loses_nothing_acked(tmp_path: Path) -> None:
    """It is never retried: what was under way is unknown until the next start."""
    server, disk = on_faulty_disk(tmp_path)
    server.may_fail = True
    chat, ledger = part_of_chat(3000), Ledger()
    async with server:
        publisher = BatchPublisher(server, ledger, batch=50)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run, chat.sent)
            await publisher.progress.reach(1000)
            disk.refuse(*BROKEN)
            assert await server.ended() != 0
            acked = publisher.progress.acked
            assert acked < len(chat.sent)
            assert "disk" in server.log()
            disk.mend()
            await server.start()
        await check_channels(server, chat, ledger, list(chat.truth))
    ledger.check(chat)


async def wait_for_what_is_not_on_disk(
    server: ServerProcess, task_status: trio.TaskStatus[None]
) -> None:
    """A held poll: the end of the server may cut it, but it is not given the doubtful message."""
    async with await server.http() as http:
        await http.write(request_bytes("GET", TARGET + "?after=head&wait=60", KEY))
        await gauge_reaches(server, "pushd_held_polls", 1)
        task_status.started()
        with contextlib.suppress(ConnectionLost):
            answer = await http.answer()
            assert answer.status >= 500 or decode_page(answer.body).messages == []


async def test_a_sync_that_fails_under_one_publish_leaves_it_unknown(tmp_path: Path) -> None:
    server, disk = on_faulty_disk(tmp_path)
    server.may_fail = True
    async with server, await server.http() as http:
        first = await http.post(TARGET, {"id": "first", "data": 1})
        assert first.status == 201
        async with trio.open_nursery() as nursery:
            await nursery.start(wait_for_what_is_not_on_disk, server)
            disk.refuse(*BROKEN)
            doubtful = await http.post(TARGET, {"id": "second", "data": 2})
            assert doubtful.status == 500
            assert "unknown" in doubtful.json()["detail"]
            assert await server.ended() != 0
        disk.mend()
        await server.start()
        async with await server.http() as again:
            retried = await again.post(TARGET, {"id": "second", "data": 2})
            assert retried.status in (200, 201)
            assert retried.json()["seq"] == 2
            assert await pull_news(again) == ["first", "second"]

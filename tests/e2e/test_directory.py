"""One process per data directory, and what is kept in it from one to the next."""

from __future__ import annotations

from pathlib import Path

from tests.support.ledger import decode_page
from tests.support.server import ServerProcess, free_port

TARGET = "/v1/channels/news/messages"


async def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as first, await first.http() as http:
        assert first.process is not None
        second = ServerProcess(tmp_path)
        second.log_path = tmp_path / "second.log"
        code, said = await second.refuse()
        assert code == 1
        assert f"process {first.process.pid} " in said
        assert "listening on {}:{}".format(*first.address) in said
        assert "Traceback" not in said
        assert (await http.post(TARGET, {"data": 1})).status == 201


async def test_a_port_in_use_is_refused_and_the_directory_is_free_again(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "one") as first:
        second = ServerProcess(tmp_path / "two")
        second.address = first.address
        code, said = await second.refuse()
        assert code == 1
        assert "is in use by another program" in said
        second.address = ("127.0.0.1", free_port())
        async with second, await second.http() as http:
            assert (await http.get("/readyz")).status == 200


async def test_the_lock_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        async with await server.http() as http:
            stored = (await http.post(TARGET, {"id": "one", "data": 1})).json()
        await server.kill()
        await server.start()
        async with await server.http() as http:
            page = decode_page((await http.get(TARGET + "?after=0")).ok())
            assert [(page.epoch, each.seq, each.id) for each in page.messages] == [
                (stored["epoch"], stored["seq"], "one")
            ]


async def test_a_clean_end_leaves_one_file_and_an_empty_lock(tmp_path: Path) -> None:
    """Everything is checkpointed: a copy of the file is a copy of the log."""
    async with ServerProcess(tmp_path) as server:
        async with await server.http() as http:
            assert (await http.post(TARGET, {"data": 1})).status == 201
        server.terminate()
        assert await server.ended() == 0
        files = {file.name: file.stat().st_size for file in server.data.iterdir()}
        assert files.pop("pushd.db") > 0
        assert set(files.values()) <= {0}, files

"""Section 8: starting it. The real program: its names, its sources of settings, its commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import jwt
import msgspec
import pytest
import trio

from tests.support.server import KEY, ROOT, SECRET, START_S, ServerProcess, free_port
from tests.support.wire import Http

READY = re.compile(rb"pushd \S+ ready on http://127\.0\.0\.1:(\d+) .*\n")


def environ(**given: str) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PUSHD_")}
    return {**clean, "PYTHONPATH": str(ROOT), "PUSHD_SHED_LAG": "1h", **given}


def pushctl(home: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pushd", *arguments],
        env=environ(**given),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@asynccontextmanager
async def serving(home: Path, *options: str, **given: str) -> AsyncIterator[tuple[Http, bytes]]:
    """``pushctl serve`` in an empty directory: a connection to where it says it is."""
    command = [sys.executable, "-m", "pushd", "serve", *options]
    process = await trio.lowlevel.open_process(
        command, env=environ(**given), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        said = b""
        with trio.fail_after(START_S):
            while not READY.search(said) or ("--dev" in options and b"Ctrl-C" not in said):
                data = await process.stdout.receive_some()
                assert data, said
                said += data
        found = READY.search(said)
        assert found is not None
        async with await Http.open(("127.0.0.1", int(found[1]))) as http:
            yield http, said
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["pushd", "pushctl", "-m"])
def test_its_names(name: str) -> None:
    program = [sys.executable, "-m", "pushd"]
    if name != "-m":
        program = [str(Path(sys.executable).with_name(name))]
    said = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("pushctl ")


async def test_it_says_one_line_when_ready_and_is(tmp_path: Path) -> None:
    keys = {"PUSHD_API_KEY": KEY, "PUSHD_JWT_SECRET": SECRET}
    async with serving(tmp_path, "--listen", "127.0.0.1:0", **keys) as (http, said):
        assert said.count(b"\n") == 1
        assert (await http.get("/readyz")).status == 200
        # One key with every scope; its data are in ./data.
        assert (await http.post("/v1/channels/news/messages", {"data": 1})).status == 201
        assert (await http.get("/v1/channels/news/messages?after=0")).status == 200
        assert (await http.post("/v1/channels/news/trim", {"before": 1})).status == 200
        assert (tmp_path / "data" / "pushd.db").exists()


async def test_later_sources_win(tmp_path: Path) -> None:
    """File, then environment, then option: shown by where it listens and what it is called."""
    ports = [free_port() for _ in range(3)]
    (tmp_path / "pushd.toml").write_text(
        f'listen = "127.0.0.1:{ports[0]}"\nnode_id = "file"\ndata = "of-the-file"\n'
    )
    keys = {"PUSHD_API_KEY": KEY, "PUSHD_NODE_ID": "environment"}
    async with serving(tmp_path, **keys) as (http, said):
        assert f":{ports[0]} ".encode() in said
        assert b"environment" in (await http.get("/readyz")).body
        assert (tmp_path / "of-the-file" / "pushd.db").exists()
    keys["PUSHD_LISTEN"] = f"127.0.0.1:{ports[1]}"
    async with serving(tmp_path, "--node-id", "option", **keys) as (http, said):
        assert f":{ports[1]} ".encode() in said
        assert b"option" in (await http.get("/readyz")).body
    async with serving(tmp_path, "--listen", f"127.0.0.1:{ports[2]}", **keys) as (_, said):
        assert f":{ports[2]} ".encode() in said


async def test_variables_for_the_rest(tmp_path: Path) -> None:
    given = {
        "PUSHD_LISTEN": "127.0.0.1:0",
        "PUSHD_DATA": "elsewhere",
        "PUSHD_API_KEY": KEY,
        "PUSHD_ORIGINS": "https://a.example,https://b.example",
    }
    async with serving(tmp_path, **given) as (http, _):
        assert (tmp_path / "elsewhere" / "pushd.db").exists()
        for origin, status in (("a", 204), ("b", 204), ("c", 403)):
            await http.write(
                b"OPTIONS /v1/pull HTTP/1.1\r\nHost: localhost\r\n"
                b"Origin: https://%b.example\r\n\r\n" % origin.encode()
            )
            assert (await http.answer()).status == status
    said = pushctl(tmp_path, "serve", PUSHD_API_KEY=KEY, PUSHD_LISTENS="127.0.0.1:0")
    assert (said.returncode, "PUSHD_LISTENS" in said.stderr) == (2, True)


async def test_more_keys_with_scopes_and_hashes_in_the_file(tmp_path: Path) -> None:
    import hashlib

    digest = hashlib.sha256(KEY.encode()).hexdigest()
    (tmp_path / "pushd.toml").write_text(
        f'[[keys]]\nname = "feed"\nsha256 = "{digest}"\nscopes = ["publish"]\npatterns = ["news"]\n'
    )
    async with serving(tmp_path, "--listen", "127.0.0.1:0") as (http, _):
        assert (await http.post("/v1/channels/news/messages", {"data": 1})).status == 201
        assert (await http.post("/v1/channels/other/messages", {"data": 1})).status == 403
        assert (await http.get("/v1/channels/news/messages?after=0")).status == 403


async def test_a_printed_token_lets_its_user_in(tmp_path: Path) -> None:
    given = {"PUSHD_JWT_SECRET": SECRET}
    said = pushctl(
        tmp_path,
        *("token", "--user", "alice", "--device", "d", "--ttl", "1h"),
        *("--subscribe", "news", "--subscribe", "sport:*", "--publish", "news"),
        **given,
    )
    assert said.returncode == 0, said.stderr
    token = said.stdout.strip()
    async with ServerProcess(tmp_path, jwt_secret=SECRET) as server, await server.http() as http:
        body = msgspec.json.encode({"data": 1})
        target = "/v1/channels/{}/messages"
        for channel, published, pulled in (
            ("news", 201, 200),
            ("sport:1", 403, 200),
            ("user:alice", 403, 200),
            ("other", 403, 403),
        ):
            path = target.format(channel)
            assert (await http.request("POST", path, token, body)).status == published
            assert (await http.get(path + "?after=0", token)).status == pulled
        assert (await http.get(target.format("news") + "?device=e", token)).status == 403


@pytest.mark.parametrize(("given", "seconds"), [((), 3600), (("--ttl", "10m"), 600)])
def test_how_long_a_printed_token_is_good(
    tmp_path: Path, given: tuple[str, ...], seconds: int
) -> None:
    said = pushctl(tmp_path, "token", "--user", "alice", *given, PUSHD_JWT_SECRET=SECRET)
    claims = jwt.decode(said.stdout.strip(), SECRET, ["HS256"])
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("alice", seconds)
    assert abs(claims["iat"] - time.time()) < START_S
    assert not {"device", "pushd"} & set(claims), "nothing that was not asked for"


def test_without_keys_it_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    said = pushctl(tmp_path, "serve", "--listen", "127.0.0.1:0")
    assert said.returncode == 2
    assert "PUSHD_API_KEY" in said.stderr
    assert not (tmp_path / "data").exists()


async def test_development_makes_keys_and_keeps_to_this_machine(tmp_path: Path) -> None:
    path = "/v1/channels/news/messages"
    async with serving(tmp_path, "--dev", "--listen", "127.0.0.1:0") as (http, said):
        await http.write(b"GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert (await http.answer()).status == 403
        assert (await http.get("/readyz")).status == 200
        # What it prints is what it takes: a key with every scope, and a token of a user's.
        key, token = (
            re.search(rb"%b +(\S+)" % name, said)[1].decode()  # type: ignore[index]
            for name in (b"publisher key", b"client token")
        )
        assert (await http.post(path, {"data": 1}, key)).status == 201
        assert (await http.get(path + "?after=0", token)).status == 200
        assert (await http.post("/v1/channels/news/trim", {"before": 1}, key)).status == 200
    refused = pushctl(tmp_path, "serve", "--dev", "--listen", "0.0.0.0:0")
    assert refused.returncode == 2


async def test_backup_of_a_running_server_and_restore_of_a_stopped_one(tmp_path: Path) -> None:
    target = "/v1/channels/news/messages"
    async with ServerProcess(tmp_path) as server:
        data = str(server.data)
        async with await server.http() as http:
            first = (await http.post(target, {"data": 1})).json()
            taken = pushctl(tmp_path, "backup", "copy.db", "--data", data)
            assert taken.returncode == 0, taken.stderr
            await http.post(target, {"data": 2})
        running = pushctl(tmp_path, "restore", "copy.db", "--force", "--data", data)
        assert running.returncode != 0
        server.terminate()
        assert await server.ended() == 0
        asked = pushctl(tmp_path, "restore", "copy.db", "--data", data)
        assert asked.returncode != 0, "nobody answered the question"
        done = pushctl(tmp_path, "restore", "copy.db", "--force", "--data", data)
        assert done.returncode == 0, done.stderr
        await server.start()
        async with await server.http() as http:
            answer = (await http.get(target + "?after=0")).json()
            assert [message["data"] for message in answer["messages"]] == [1]
            assert answer["epoch"] > first["epoch"]
            ahead = await http.get(f"{target}?after={first['epoch']}.2")
            assert ahead.status == 410

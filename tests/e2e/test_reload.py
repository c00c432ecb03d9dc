"""SIGHUP to the real program: keys and origins change, whoever still may stays connected."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import jwt
import pytest
import trio

from tests.support.jwks import key_set, provider, token
from tests.support.server import ROOT, SECRET, START_S, ServerProcess
from tests.support.websocket import Closed, WebSocket
from tests.support.wire import KEY

OTHER = "another-secret-of-the-application-0123456789"
NEWS = "/v1/channels/news/messages"
REFUSED = (401, 503)  # the latter while the sets are looked at anew for an unknown kid


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def keys(*names: str) -> str:
    """[[keys]] of which each is its own name, twice."""
    tables = [
        f'[[keys]]\nname = "{name}"\nsha256 = "{digest(name * 2)}"\nscopes = ["publish"]\n'
        for name in names
    ]
    return "\n".join(tables)


def secret_table(secret: str) -> str:
    return f'[[jwt]]\nalg = "HS256"\nkid = "file"\nsecret = "{secret}"\n'


def signed(secret: str, user: str = "alice") -> str:
    claims = {"sub": user, "exp": int(time.time()) + 600, "pushd": {"subscribe": ["*"]}}
    return jwt.encode(claims, secret, "HS256", {"kid": "file"})


class Reloading(ServerProcess):
    """With a pushd.toml of its own."""

    def write(self, toml: str) -> None:
        """At once: it may be read at any moment."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        written = self.data.parent / "pushd.toml.new"
        written.write_text(toml)
        written.replace(self.data.parent / "pushd.toml")

    async def reload(self, toml: str, outcome: str = '"event": "reloaded"') -> None:
        """Returns when the log tells what came of it."""
        self.write(toml)
        assert self.process is not None
        before = self.log().count(outcome)
        self.process.send_signal(signal.SIGHUP)
        with trio.fail_after(START_S):
            while self.log().count(outcome) == before:
                await trio.sleep(0.01)

    async def status(self, credential: str) -> int:
        async with await self.http() as http:
            if credential.startswith("ey"):
                return (await http.get(f"{NEWS}?after=0", credential)).status
            return (await http.post(NEWS, {"data": 1}, credential)).status

    async def allows(self, origin: str) -> bool:
        async with await self.http() as http:
            head = f"OPTIONS {NEWS} HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n\r\n"
            await http.write(head.encode())
            return b"204" in await http.read_until(b"\r\n")


@pytest.fixture
def server(tmp_path: Path) -> Reloading:
    return Reloading(tmp_path)


async def test_keys_and_origins_are_exchanged(server: Reloading) -> None:
    one, two = "https://one.example.com", "https://two.example.com"
    server.write(f'origins = ["{one}"]\n' + keys("a", "b") + secret_table(OTHER))
    async with server:
        assert [await server.status(each) for each in ("aa", "bb", "cc")] == [201, 201, 401]
        assert [await server.allows(each) for each in (one, two)] == [True, False]
        gone, stays = signed(OTHER), server.token("bob", subscribe=("news",))
        async with (
            await WebSocket.open(server.address) as ended,
            await WebSocket.open(server.address) as living,
            await server.http() as kept,
        ):
            for socket, credential in ((ended, gone), (living, stays)):
                await socket.upgrade("/v1/ws", token=credential)
                assert (await socket.message())["type"] == "hello"
            assert (await kept.post(NEWS, {"data": 1}, "bb")).status == 201
            fresh = OTHER[::-1]
            await server.reload(f'origins = ["{two}"]\n' + keys("a", "c") + secret_table(fresh))
            assert '"added": 2, "removed": 2, "origins": 1' in server.log()
            assert [await server.status(each) for each in ("aa", "bb", "cc")] == [201, 401, 201]
            assert (await kept.post(NEWS, {"data": 1}, "bb")).status == 401
            assert [await server.allows(each) for each in (one, two)] == [False, True]
            assert (await ended.message())["code"] == 4001
            with pytest.raises(Closed) as closed:
                await ended.message()
            assert closed.value.code == 4001
            await living.send({"type": "ping"})
            assert (await living.message())["type"] == "pong"
        assert [await server.status(each) for each in (gone, stays)] == [401, 200]
        assert await server.status(signed(fresh)) == 200
        server.terminate()
        assert await server.ended() == 0


@pytest.mark.parametrize(
    "bad",
    [
        "this is no TOML",
        "no_such_setting = 1",
        '[[keys]]\nname = "b"\nsha256 = "short"\nscopes = ["publish"]\n',
        '[[jwt]]\nalg = "RS256"\npublic_key_file = "gone.pem"\n',
        '[[jwt]]\nalg = "RS256"\npublic_key_file = "bad.pem"\n',
        '[[jwt]]\nalgs = ["RS256"]\njwks_file = "gone.json"\n',
        '[[jwt]]\nalgs = ["RS256"]\njwks_file = "bad.pem"\n',
        '[[jwt]]\nalgs = ["RS256"]\njwks_url = "http://example.com/"\niss = "x"\n',
    ],
    ids=lambda bad: bad[:60],
)
async def test_a_bad_file_leaves_everything_as_it_was(server: Reloading, bad: str) -> None:
    server.may_fail = True
    good = 'origins = ["https://one.example.com"]\n' + keys("a") + secret_table(OTHER)
    server.write(good)
    async with server:
        (server.data.parent / "bad.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n")
        async with await WebSocket.open(server.address) as socket:
            await socket.upgrade("/v1/ws", token=signed(OTHER))
            assert (await socket.message())["type"] == "hello"
            await server.reload(bad, "not reloaded")
            assert "Traceback" not in server.log()
            await socket.send({"type": "ping"})
            assert (await socket.message())["type"] == "pong"
        assert [await server.status(each) for each in ("aa", KEY)] == [201, 201]
        assert await server.allows("https://one.example.com")
        await server.reload(keys("b"))  # and it can still be mended
        assert [await server.status(each) for each in ("aa", "bb")] == [401, 201]


async def test_key_sets_are_read_and_fetched_anew(server: Reloading, tmp_path: Path) -> None:
    async with provider() as host:
        path = tmp_path / "jwks.json"
        path.write_bytes(key_set("file"))
        toml = '[[jwt]]\nalgs = ["EdDSA"]\njwks_file = "jwks.json"\niss = "file"\naud = "pushd"\n'
        fetched = f'[[jwt]]\nalgs = ["EdDSA"]\njwks_url = "{host.url}"\n'
        fetched += 'iss = "https://login.example.com"\naud = "pushd"\n'
        server.write(toml)
        async with server:
            of_file = token("file", iss="file")
            assert await server.status(of_file) == 200
            assert await server.status(token("one")) in REFUSED
            await server.reload(toml + fetched)
            assert host.asked == 1  # before it counts
            assert [await server.status(each) for each in (of_file, token("one"))] == [200, 200]
            path.write_bytes(key_set("other"))
            host.publish("two")
            await server.reload(toml + fetched)
            assert await server.status(of_file) in REFUSED
            assert await server.status(token("other", iss="file")) == 200
            with trio.fail_after(START_S):
                while await server.status(token("two")) != 200:
                    await trio.sleep(0.01)
            await server.reload(toml)
            assert await server.status(token("two")) in REFUSED
            assert await server.status(token("other", iss="file")) == 200


async def test_what_only_a_restart_changes_is_named(server: Reloading) -> None:
    server.write(keys("a"))
    async with server:
        await server.reload("max_body = 4096\nmax_wait = 3\n" + keys("a"))
        assert '"settings": ["max_body", "max_wait"]' in server.log()


async def test_a_storm_of_signals(server: Reloading) -> None:
    server.write(keys("a"))
    async with server:
        assert server.process is not None
        for _ in range(200):
            server.process.send_signal(signal.SIGHUP)
        await server.reload(keys("b"))
        with trio.fail_after(START_S):
            while [await server.status(each) for each in ("aa", "bb")] != [401, 201]:
                await trio.sleep(0.01)
        server.terminate()
        assert await server.ended() == 0


@contextmanager
def in_a_terminal(
    command: list[str], environ: dict[str, str], cwd: Path, log: IO[bytes]
) -> Iterator[Any]:
    """The process and the other end of the terminal that it was started in."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=log,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_closing_the_terminal_stops_it(tmp_path: Path) -> None:
    """Nobody would find it again; with the terminal open, SIGHUP reloads there as elsewhere."""
    command = [sys.executable, "-m", "pushd", "serve", "--listen", "127.0.0.1:0"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PUSHD_JWT_SECRET": SECRET}
    path = tmp_path / "log"
    with (
        path.open("wb") as log,
        in_a_terminal(command, environ, tmp_path, log) as (process, terminal),
    ):
        said = b""
        while b"ready on" not in said:
            said += os.read(terminal, 4096)
        process.send_signal(signal.SIGHUP)
        while '"event": "reloaded"' not in path.read_text():
            time.sleep(0.01)
        assert process.poll() is None
        os.close(terminal)
        process.wait(START_S)  # with what status, nobody is there to see
    assert '"event": "stopped"' in path.read_text()

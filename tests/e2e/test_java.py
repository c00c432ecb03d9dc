"""The publisher in Java, compiled and run against a real server; where there is a Java."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

import pushd.testing
from tests.client.proxies import proxied, status

SOURCE = Path(__file__).parents[2] / "examples" / "java" / "PushdPublisher.java"
LINES = ["one", 'two "quoted" \\ back\tslash', "drei: äöü € 🌍", ""]

pytestmark = pytest.mark.skipif(
    shutil.which("java") is None or shutil.which("javac") is None, reason="no java, or no javac"
)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled for the oldest Java that is promised, without a warning."""
    made = tmp_path_factory.mktemp("classes")
    command = ["javac", "--release", "11", "-Xlint:all", "-Werror", "-d", str(made), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


async def java(classes: Path, url: str, channel: str, lines: list[str], key: str) -> Any:
    text = "".join(f"{line}\n" for line in lines)
    return await run(classes, key, ["PushdPublisher", url, channel], text)


async def run(classes: Path, key: str, arguments: list[str], text: str = "") -> Any:
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", str(classes), *arguments]
    with trio.fail_after(400):
        return await trio.run_process(
            command,
            stdin=text.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", "PUSHD_API_KEY": key},
        )


async def stored(node: pushd.testing.Node, channel: str) -> list[Any]:
    async with node.service() as service:
        return [message.data for message in (await service.pull(channel, after="0")).messages]


async def test_it_publishes_line_by_line(classes: Path) -> None:
    async with pushd.testing.server() as node:
        done = await java(classes, node.url, "straße:äb", LINES, node.key)
        assert done.returncode == 0, done.stderr
        acks = [json.loads(line) for line in done.stdout.splitlines()]
        assert [ack["seq"] for ack in acks] == [1, 2, 3, 4]
        assert {ack["channel"] for ack in acks} == {"straße:äb"}
        assert await stored(node, "straße:äb") == LINES


async def test_it_ends_doubt_with_the_same_id(classes: Path) -> None:
    """A server that is busy, an answer that is lost: asked again, and each is there once."""
    async with pushd.testing.server() as node, proxied(node.port) as proxy:
        busy = [status(503, "Service Unavailable", "Retry-After: 1\r\n"), status(500, "Oops")]
        proxy.instead = lambda _head: busy.pop() if busy else None
        lost: list[bytes] = []

        def lose_the_first_ack(data: bytes) -> bytes:
            if not lost:
                lost.append(data)
                proxy.cut()
                return b""
            return data

        proxy.thin = lose_the_first_ack
        done = await java(classes, proxy.url, "user:alice", ["a", "b"], node.key)
        assert done.returncode == 0, done.stderr
        first, second = (json.loads(line) for line in done.stdout.splitlines())
        assert lost[0].startswith(b"HTTP/1.1 201 ")
        assert first["duplicate"]
        assert "duplicate" not in second
        assert await stored(node, "user:alice") == ["a", "b"]


async def test_a_refusal_ends_it(classes: Path) -> None:
    async with pushd.testing.server() as node:
        done = await java(classes, node.url, "news", ["a", "b"], "wrong-key")
        assert done.returncode == 1
        assert b"401 unauthorized" in done.stderr
        assert b"wrong-key" not in done.stderr
        assert await stored(node, "news") == []


MANY = """
public class Many {
    public static void main(String[] given) throws Exception {
        var push = new PushdPublisher(given[0], System.getenv("PUSHD_API_KEY"));
        String to = "{\\"users\\":[\\"alice\\",\\"bob\\"],\\"all\\":true}";
        for (int i = 0; i < 2; i++) {
            System.out.println(push.publishTo(to, "{\\"n\\":1}", "n-1"));
        }
    }
}
"""


async def test_many_at_once_and_an_id_of_ones_own(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "Many.java").write_text(MANY)
    command = ["javac", "-cp", str(classes), "-d", str(tmp_path), str(tmp_path / "Many.java")]
    subprocess.run(command, check=True)
    async with pushd.testing.server() as node:
        path = Path(f"{classes}{os.pathsep}{tmp_path}")
        done = await run(path, node.key, ["Many", node.url])
        assert done.returncode == 0, done.stderr
        first, second = (json.loads(line)["results"] for line in done.stdout.splitlines())
        assert [each["channel"] for each in first] == ["user:alice", "user:bob", "all"]
        assert all(each["duplicate"] for each in second)
        assert await stored(node, "user:bob") == [{"n": 1}]

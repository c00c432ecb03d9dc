"""``POST /v1/publish`` with NDJSON: one result line per line, in order; only that acks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pushd.errors import Overloaded
from pushd.front.lines import SLICE
from tests.support.app import KEY, Server, running_server, until
from tests.support.http import Answer, request

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for room waits until there is some, on a slow disk, too."""
    monkeypatch.setattr("pushd.front.lines.PATIENCE_S", 600.0)


async def publish(server: Server, body: bytes, token: str = KEY, **headers: str) -> Answer:
    return await server.ask(
        "POST", "/v1/publish", token=token, body=body, headers={**NDJSON, **headers}
    )


def lines(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.splitlines()]


def line(channel: str, data: object, **message: Any) -> bytes:
    return json.dumps({"channel": channel, "data": data, **message}).encode()


async def test_each_line_has_its_result_in_order(server: Server) -> None:
    body = b"\n".join(line(f"room:{at % 3}", at) for at in range(300))
    results = lines(await publish(server, body))
    assert [result["line"] for result in results] == list(range(1, 301))
    assert [result["channel"] for result in results] == [f"room:{at % 3}" for at in range(300)]
    assert [result["seq"] for result in results] == [at // 3 + 1 for at in range(300)]
    messages = (await server.pull("room:0", after=0, limit=1000)).json["messages"]
    assert [message["data"] for message in messages] == list(range(0, 300, 3))


async def test_a_bad_line_harms_no_other(server: Server) -> None:
    await server.publish("a", "first", id="taken")
    body = b"\n".join(
        [
            line("a", 1),
            b"{",
            line("a/b", 2),
            b'{"channel":"a"}',
            b'{"data":3}',
            line("a", "x" * 70_000),
            line("a", 4, id="taken"),
            line("a", "first", id="taken"),
            line("$control", 5),
            b"[1]",
            b'{"channel":"a","data":NaN}',
            line("a", 6),
        ]
    )
    results = lines(await publish(server, body))
    assert [result["line"] for result in results] == list(range(1, 13))
    codes = [result.get("code", "ok") for result in results]
    assert codes == [
        *("ok", "bad_request", "bad_request", "bad_request", "bad_request", "too_large"),
        *("conflict", "ok", "forbidden", "bad_request", "bad_request", "ok"),
    ]
    assert results[7]["duplicate"] is True
    assert all(result["detail"] and result["cure"] for result in results if "code" in result)
    messages = (await server.pull("a", after=0)).json["messages"]
    assert [message["data"] for message in messages] == ["first", 1, 6]


async def test_blank_lines_are_passed_over_and_still_counted(server: Server) -> None:
    body = b"\n\n" + line("a", 1) + b"\r\n \t \n" + line("a", 2) + b"\n\n"
    assert [result["line"] for result in lines(await publish(server, body))] == [3, 5]


@pytest.mark.parametrize("body", [b"", b"\n\n", b" \r\n"])
async def test_nothing_to_publish_is_no_result(server: Server, body: bytes) -> None:
    answer = await publish(server, body)
    assert answer.status == 200
    assert answer.body.strip() == b""


async def test_a_line_at_its_limit_and_one_beyond(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_body=2048) as server:
        frame = len(line("a", ""))
        body = line("a", "x" * (2048 - frame)) + b"\n" + line("a", "x" * (2049 - frame))
        results = lines(await publish(server, body))
        assert [result.get("code") for result in results] == [None, "too_large"]


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_more_lines_than_allowed_are_refused_as_a_whole(tmp_path: Path, end: bytes) -> None:
    async with running_server(tmp_path, max_targets=150) as server:
        refused = await publish(server, b"\n".join([b""] * 151) + b"x" + end)
        assert (refused.status, refused.code) == (413, "too_large")
        body = b"\n".join(line("a", at) for at in range(151)) + end
        assert (await publish(server, body)).status == 413
        assert server.hub.log.heads == {}
        body = b"\n".join(line("a", at) for at in range(150)) + end
        assert [result["seq"] for result in lines(await publish(server, body))][-1] == 150
        assert server.hub.bodies.used == 0


async def test_a_body_beyond_the_limit(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"max_publish_body": 100_000, "max_batch_body": 200_000}
    async with running_server(tmp_path, **limits) as server:
        body = b"\n".join([line("a", "x" * 1000)] * 250)
        refused = await publish(server, body)
        assert (refused.status, refused.code) == (413, "too_large")
        assert server.hub.log.heads == {}
        assert len(lines(await publish(server, body[:150_000].rpartition(b"\n")[0]))) > 100


async def test_more_lines_than_the_backlog_takes_wait_for_room(tmp_path: Path) -> None:
    async with running_server(tmp_path, publish_backlog=1 << 20) as server:
        body = b"\n".join(line("a", "x" * 30_000) for _ in range(200))
        results = lines(await publish(server, body))
        assert [result.get("seq") for result in results] == list(range(1, 201))


async def test_rights_and_senders_count_per_line(server: Server) -> None:
    token = server.token("alice", publish=["room:*"])
    body = b"\n".join(
        [line("room:1", 1), line("news", 2), line("room:2", 3, sender="bob"), line("room:2", 4)]
    )
    results = lines(await publish(server, body, token))
    codes = [result.get("code") for result in results]
    assert codes == [None, "forbidden", "forbidden", None]
    assert set(server.hub.log.heads) == {"room:1", "room:2"}


async def test_the_same_lines_again_store_nothing(server: Server) -> None:
    body = b"\n".join(line("a", at, id=f"m{at}") for at in range(120))
    first = lines(await publish(server, body))
    again = lines(await publish(server, body))
    assert again == [{**result, "duplicate": True} for result in first]


async def test_other_requests_are_served_meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large body goes slice by slice; while it waits for room in the backlog, others do not."""
    submit = server.hub.log.submit_many
    full = True

    def submit_many(batch: list[Any]) -> None:
        assert len(batch) <= SLICE
        if full and server.hub.log.heads:
            raise Overloaded("full")
        submit(batch)

    monkeypatch.setattr(type(server.hub.log), "submit_many", lambda _, batch: submit_many(batch))
    body = b"\n".join(line("a", at) for at in range(5000))
    async with server.peer() as peer, server.peer() as other:
        await peer.write(
            request("POST", "/v1/publish", token=KEY, body=body, headers=NDJSON)
            + request("GET", "/healthz")
        )
        await until(lambda: server.hub.log.heads)
        assert (await other.ask("GET", "/healthz")).status == 200
        full = False
        assert len(lines(await peer.answer())) == 5000
        assert (await peer.answer()).json == {"status": "ok"}


async def test_a_publisher_that_leaves_harms_nobody(server: Server) -> None:
    async with server.peer() as peer:
        body = b"\n".join(line("a", at) for at in range(2000))
        await peer.write(request("POST", "/v1/publish", token=KEY, body=body, headers=NDJSON))
        await until(lambda: server.hub.log.heads)
    await until(lambda: server.hub.log.heads["a"].seq == 2000)
    assert (await server.ask("GET", "/healthz")).status == 200


async def test_without_a_token_no_line_is_looked_at(server: Server) -> None:
    answer = await server.ask("POST", "/v1/publish", body=line("a", 1), headers=NDJSON)
    assert (answer.status, answer.code) == (401, "unauthorized")


async def test_a_failure_of_ours_is_answered_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(tmp_path, errors_expected=True) as server:

        def fail(_line: bytes) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(server.hub.publisher, "parse_line", fail)
        answer = await publish(server, line("a", 1))
        assert (answer.status, answer.code) == (500, "internal")
        assert server.hub.bodies.used == 0
        assert any(each["event"] == "a job failed" for each in server.log)

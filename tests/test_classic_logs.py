"""A classic fault: a token in a log."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.support.application import WEBHOOK_SECRET, Reply
from tests.support.logins import COOKIE, TOKEN, Logins, logins
from tests.support.server import ServerProcess
from tests.support.showing import all_that_is_listed, show, spoilt
from tests.support.websocket import WebSocket
from tests.support.wire import Http

LEAKY = """
import pushd.hook.hook
from pushd.handlers import Call, handler

pushd.hook.hook.TELL_S = -1  # each answer that is of no use is logged

@handler("fails")
async def fails(call: Call, data: dict) -> None:
    jwt = data["token"] if data["token"].startswith("ey") else "none"  # known by its looks
    raise RuntimeError(f"what is {data}? {jwt}")
"""


# How an application may answer that has no manners; None: as it should.
CARELESS = [
    None,
    Reply(200, {"user": f"not a user/{TOKEN}"}),
    Reply(200, b"{" + TOKEN.encode()),
    Reply(403, TOKEN.encode()),
    Reply(500, TOKEN.encode()),
    Reply(raw=f"HTTP/9 {TOKEN}\r\n\r\n".encode()),
    Reply(raw=f"HTTP/1.1 200 OK\r\nX: {TOKEN}\r\nContent-Length: x\r\n\r\n".encode()),
]


async def ask_a_careless_application(server: ServerProcess, known: Logins) -> None:
    for number, known.reply in enumerate(CARELESS):
        asked, token = len(known.asked), f"{TOKEN}-{number}"
        async with await Http.open(server.address) as http:
            answer = await http.get("/v1/channels/news/messages", token)
        assert len(known.asked) > asked
        assert TOKEN.encode() not in answer.head + answer.body
    known.reply = None


async def listed_while_somebody_is_there(server: ServerProcess) -> str:
    """Known by its token, and by its cookie."""
    async with (
        await WebSocket.open(server.address) as one,
        await WebSocket.open(server.address) as other,
    ):
        await one.upgrade("/v1/ws", token=TOKEN)
        await other.upgrade("/v1/ws", header=f"Cookie: {COOKIE}\r\n")
        assert (await one.message())["user"] == (await other.message())["user"] == "alice"
        listed = await all_that_is_listed(server)
    assert '"transport":"websocket"' in listed
    assert "pushd_sessions" in listed
    return listed


async def test_a_token_in_a_log(tmp_path: Path) -> None:
    """However it comes, right or wrong, when all is logged and everybody around is careless.

    Nor in the lists and numbers of operators, nor in what webhooks say. The scan of the log is
    that of ``ServerProcess``, at its end: for the tokens, and for their signatures alone.
    """
    (tmp_path / "leaky.py").write_text(LEAKY)
    async with (
        logins() as known,
        ServerProcess(
            tmp_path,
            log_level="debug",
            handlers="leaky",
            auth_url=known.url,
            auth_headers="cookie",
            auth_refusals_per_address="1000",
            auth_request_timeout="1m",
            webhook_url=known.url + "/events",
            webhook_secret=WEBHOOK_SECRET,
            webhook_events="all",
        ) as server,
    ):
        server.may_fail = True  # the handler does
        server.secrets += [TOKEN, "wrong-opaque-token", COOKIE, WEBHOOK_SECRET]
        right = server.token("alice")
        for token in (right, spoilt(server, "bob"), server.token("eve", ttl_s=-9), TOKEN):
            with trio.fail_after(100):
                await show(server, token)
        await ask_a_careless_application(server, known)
        listed = await listed_while_somebody_is_there(server)

        def told() -> str:
            events = [each for each in known.asked if each.target.endswith("/events")]
            return "".join(f"{each.headers} {each.body!r}" for each in events)

        await known.until(lambda: "session.opened" in told() and "session.closed" in told())
        text = listed + told()
        for secret in server.secrets:
            assert secret not in text
        await server.kill()
        assert server.log().count("an answer of auth_url is of no use") >= 2
        assert "what is {'token': '[redacted]'}? [redacted]" in server.log()

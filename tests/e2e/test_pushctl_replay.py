"""``pushctl replay`` as people run it, through a crash of the server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import trio

from pushd.cli.chatlines import user_id
from tests.support.chat import CHANNEL, Chat, ChatLine, Sent, chat_file_or_made_up, load_lines
from tests.support.gauges import head_reaches
from tests.support.ledger import Ledger, Page
from tests.support.replay import WAYS, bounded, check_all, make_followers, pull_everything
from tests.support.server import ROOT, ServerProcess
from tests.support.wire import KEY


def make_chat(lines: list[ChatLine]) -> Chat:
    """What to expect; the ids, which are up to ``pushctl``, are filled in later."""
    chat = Chat()
    users = [user_id(name) for line in lines for name in (line.user, line.to) if name is not None]
    chat.users = list(dict.fromkeys(users))
    for line in lines:
        for channel in [CHANNEL] if line.to is None else [CHANNEL, f"user:{user_id(line.to)}"]:
            chat.truth.setdefault(channel, []).append(Sent(channel, "", "", b""))
    return chat


def fill_in(chat: Chat, lines: list[ChatLine], pages: list[Page]) -> None:
    """The channel has the lines, in order. A copy in an inbox is the same message once more."""
    pulled = [message for page in pages for message in page.messages]
    assert len({message.id for message in pulled}) == len(pulled)
    chat.truth.clear()
    for line, message in zip(lines, pulled, strict=True):
        data = msgspec.json.decode(message.data)
        assert (data["text"], data["day"], data["minute"]) == (line.text, line.day, line.minute)
        assert message.sender == user_id(line.user)
        for channel in [CHANNEL] if line.to is None else [CHANNEL, f"user:{user_id(line.to)}"]:
            sent = Sent(channel, message.id, message.sender, bytes(message.data))
            chat.truth.setdefault(channel, []).append(sent)


async def replay(server: ServerProcess, file: Path, home: Path) -> None:
    command = [sys.executable, "-m", "pushd", "replay", str(file), "--give-up", "10m"]
    environ = {
        **{name: text for name, text in os.environ.items() if not name.startswith("PUSHD_")},
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PUSHD_URL": "http://{}:{}".format(*server.address),
        "PUSHD_API_KEY": KEY,
    }
    done = await trio.run_process(
        command, env=environ, cwd=home, capture_stdout=True, capture_stderr=True, check=False
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    assert "refused" not in said
    assert KEY not in said


async def crash_half_way(server: ServerProcess, lines: list[ChatLine]) -> None:
    await head_reaches(server, CHANNEL, len(lines) // 2)
    await server.kill()
    await server.start()


async def test_replay_survives_a_crash_and_stores_everything_once(tmp_path: Path) -> None:
    lines, ledger = load_lines(), Ledger()
    chat = make_chat(lines)
    async with ServerProcess(tmp_path) as server:
        followers = make_followers(server, chat, ledger, killed=True)[: len(WAYS)]
        with bounded(followers):
            async with trio.open_nursery() as nursery:
                for follower in followers:
                    nursery.start_soon(follower.run)
                nursery.start_soon(crash_half_way, server, lines)
                await replay(server, chat_file_or_made_up(tmp_path), tmp_path)
            fill_in(chat, lines, await pull_everything(server, CHANNEL, ledger))
            await check_all(server, chat, ledger, followers)

"""What the server remembers about itself, and whose devices are never forgotten."""

from __future__ import annotations

from pathlib import Path

import trio

from pushd.errors import BadRequest, PushdError
from pushd.log import Log
from tests.log.support import opened


async def noted(log: Log, name: str) -> str | PushdError | None:
    found: list[str | PushdError | None] = []
    told = trio.Event()

    def done(text: str | PushdError | None) -> None:
        found.append(text)
        told.set()

    log.read_note(name, done)
    await told.wait()
    return found[0]


async def note(log: Log, name: str, text: str) -> None:
    told = trio.Event()

    def done(error: PushdError | None) -> None:
        assert error is None
        told.set()

    log.write_note(name, text, done)
    await told.wait()


async def test_a_note_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        assert await noted(log, "a") is None
        await note(log, "a", "one")
        await note(log, "b", "two ä")
        assert await noted(log, "a") == "one"
        await note(log, "a", "three")
    async with opened(tmp_path) as log:
        assert (await noted(log, "a"), await noted(log, "b")) == ("three", "two ä")
        assert await noted(log, "last_epoch") is None, "what else is in that table is no note"


async def test_a_note_is_text(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        try:
            await note(log, "a", "\ud800")
        except BadRequest:
            return
    raise AssertionError

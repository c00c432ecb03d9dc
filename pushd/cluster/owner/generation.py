"""One life of the process that owns the log: others follow the latest one that they heard of."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Final

from pushd.answers import answer_of
from pushd.core.positions import EPOCH_WIDTH, next_epoch
from pushd.log import Log

_NOTE: Final = "generation"


async def next_generation(log: Log, now_ms: int) -> str:
    """A name that sorts after all that an owner of this log has had, also if the clock was set
    back; copies of the log have others. ``now_ms``: ms since 1970."""
    last: str | None = await answer_of(partial(log.read_note, _NOTE))
    begun = next_epoch(None if last is None else last[:EPOCH_WIDTH], now_ms)
    generation = f"{begun}-{secrets.token_hex(4)}"
    await answer_of(partial(log.write_note, _NOTE, generation))
    return generation

"""Makes a log of a given size, fast: ``python -m benchmarks.make_log DIRECTORY --size 1G``.

It writes what ``pushd`` would have written, through the same statements, but in huge transactions
and without syncing. For start times, cold reads and retention; never for anybody's data.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pushd.core.positions import next_epoch
from pushd.log import LogOptions
from pushd.log.requests import MESSAGE_OVERHEAD
from pushd.log.startup import open_log
from pushd.log.store import DATABASE, Rows

UNITS: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
PER_TRANSACTION: Final = 50_000
# The index makes up some 7 % of a log of small messages.
WITHOUT_INDEX: Final = 0.93
# One message a second and channel, ending now.
STEP_MS: Final = 1_000


@dataclass(frozen=True)
class Made:
    bytes: int
    messages: int
    channels: int
    seconds: float


def parse_size(text: str) -> int:
    """``500M``, ``1G``; a bare number is bytes."""
    unit = UNITS.get(text[-1:].lower())
    return int(text) if unit is None else int(float(text[:-1]) * unit)


def make_log(directory: Path, size: int, channels: int = 1_000, payload: int = 200) -> Made:
    """``size`` and ``payload`` (mean of the data) in bytes. The directory must hold no log yet."""
    started = time.perf_counter()
    opened = open_log(directory, LogOptions(min_free_bytes=0))
    if opened.heads:
        raise SystemExit(f"{directory} holds a log already")
    execute = opened.store.connection.execute
    execute("PRAGMA synchronous = OFF")
    # Sorting once at the end is faster than inserting in the order of arrival.
    [(index,)] = execute("SELECT sql FROM sqlite_master WHERE name = 'messages_by_seq'").fetchall()
    execute("DROP INDEX messages_by_seq")
    database = directory / DATABASE
    messages = 0
    for rows in transactions(channels, payload):
        opened.store.write(rows)
        opened.store.checkpoint()
        messages += len(rows.messages)
        if database.stat().st_size >= size * WITHOUT_INDEX:
            break
    execute(index)
    opened.store.checkpoint("TRUNCATE")
    opened.reader.close()
    opened.store.close()
    opened.lock.release()
    seconds = time.perf_counter() - started
    return Made(database.stat().st_size, messages, channels, seconds)


def transactions(channels: int, payload: int) -> Iterator[Rows]:
    """Channels take turns, as when all are equally busy; text of varying length."""
    source = random.Random(1)
    text = "".join(source.choices("abcdefghijklmnop qrstuvwxyz", k=8 * payload))
    first_at = time.time_ns() // 1_000_000 - STEP_MS * 1_000_000
    epochs: list[str] = []
    for _ in range(channels):
        epochs.append(next_epoch(epochs[-1] if epochs else None, first_at))
    written = 0
    while True:
        rows = Rows(last=(epochs[-1], channels))
        sizes = [0] * channels
        for number in range(written, written + PER_TRANSACTION):
            turn, channel = divmod(number, channels)
            start, length = source.randrange(6 * payload), source.randrange(1, 2 * payload)
            data = b'{"text":"%s"}' % text[start : start + length].encode()
            row = (channel + 1, turn + 1, first_at + STEP_MS * turn, None, f"user-{turn % 97}")
            rows.messages.append((*row, None, data))
            sizes[channel] += len(data) + MESSAGE_OVERHEAD
        written += PER_TRANSACTION
        for channel, epoch in enumerate(epochs):
            head = (written - channel + channels - 1) // channels
            at = first_at + STEP_MS * (head - 1)
            if written == PER_TRANSACTION:
                begun = (channel + 1, f"channel-{channel}", channel + 1, epoch, head, at)
                rows.begun_channels.append((*begun, sizes[channel], first_at))
            else:
                rows.moved_channels.append((head, at, sizes[channel], channel + 1))
        yield rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--size", type=parse_size, default=parse_size("1G"))
    parser.add_argument("--channels", type=int, default=1_000)
    parser.add_argument("--payload", type=int, default=200, help="mean size of data, in bytes")
    options = parser.parse_args()
    made = make_log(options.directory, options.size, options.channels, options.payload)
    print(
        f"{made.bytes / (1 << 20):.0f} MiB: {made.messages} messages in {made.channels} channels"
        f" in {made.seconds:.1f} s"
    )


if __name__ == "__main__":
    main()

"""The thread that says things to Redis: what waits goes out in one pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
from redis.connection import ConnectionInterface
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from pushd.cluster.bus.address import RedisAddress
from pushd.cluster.bus.commands import Command, CommandQueue, RedisAway, Work
from pushd.cluster.bus.line import Line
from pushd.cluster.bus.texts import Hint

WAIT_S: Final = 0.5

_encode = msgspec.json.Encoder().encode


class Said(NamedTuple):
    """One pipeline. ``replies``: to each work's commands; ``heads``: in hints that were said;
    ``lost``: in those that perhaps were not; ``seconds``: until all was answered; ``error``: of
    the first command that was refused."""

    works: list[Work]
    replies: list[list[Any] | RedisAway]
    heads: int
    lost: int
    seconds: float
    error: str | None


class Commander(Line):
    """``said`` is called in this thread with every pipeline, also one that failed."""

    def __init__(
        self,
        address: RedisAddress,
        report: Callable[[Exception | None], None],
        commands: CommandQueue,
        said: Callable[[Said], None],
        hints_channel: str,
    ) -> None:
        super().__init__("commands", address, report)
        self._commands = commands
        self._said = said
        self._hints_channel = hints_channel

    def prepare(self, connection: ConnectionInterface) -> None:
        connection.send_command("PING")  # type: ignore[no-untyped-call]
        connection.read_response()

    def serve(self, connection: ConnectionInterface) -> None:
        while not self.stopping.is_set():
            taken = self._commands.take(WAIT_S)
            if taken is None:
                return
            works, hints = taken
            if works or hints:
                self._say(connection, works, hints)

    def _say(self, connection: ConnectionInterface, works: list[Work], hints: list[Hint]) -> None:
        commands: list[Command] = [
            ("PUBLISH", self._hints_channel, _encode(hint)) for hint in hints
        ]
        for work in works:
            commands += work.commands
        heads = sum(len(hint.heads) for hint in hints)
        began = time.monotonic()
        try:
            replies = _exchange(connection, commands)
        except (RedisError, OSError) as error:
            away = [RedisAway(f"Redis is away: {error}") for _ in works]
            self._said(Said(works, [*away], 0, heads, 0.0, None))
            raise
        took = time.monotonic() - began
        refused = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
        at = len(hints)
        split: list[list[Any] | RedisAway] = []
        for work in works:
            split.append(replies[at : at + len(work.commands)])
            at += len(work.commands)
        self._said(Said(works, split, heads, 0, took, None if refused is None else str(refused)))
        for reply in replies:
            if isinstance(reply, ReadOnlyError):  # a replica since a failover: ask anew who rules
                raise reply


def _exchange(connection: ConnectionInterface, commands: list[Command]) -> list[Any]:
    connection.send_packed_command(connection.pack_commands(commands))  # type: ignore[no-untyped-call]
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies

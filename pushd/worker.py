"""What a node is told by the parent that started it beside others on one address.

A socket joins the two: on it the node says that it is ready, and its end says that the parent is
gone, however it went: then the node stops as well.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import msgspec
import trio

from pushd.errors import BadSetting

VARIABLE: Final = "PUSHD_WORKER"


class Told(msgspec.Struct):
    """The variable's value, as JSON. ``closed``: ``listen`` does not serve what administrators
    need, because the parent's settings have an address of its own for that."""

    fd: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Worker:
    """``closed``: see ``Told``."""

    lifeline: socket.socket
    closed: bool

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self | None:
        """None: nobody started it as one of several. Raises BadSetting."""
        text = environ.get(VARIABLE)
        if text is None:
            return None
        try:
            told = msgspec.json.decode(text, type=Told)
            lifeline = socket.socket(fileno=told.fd)
        except (msgspec.MsgspecError, OSError):
            raise BadSetting(
                f"{VARIABLE} is set by the parent of workers, for them only: unset it"
            ) from None
        lifeline.setblocking(False)
        return cls(lifeline, told.closed)

    def say_ready(self, url: str) -> None:
        """Once requests are accepted."""
        self.lifeline.send(url.encode() + b"\n")

    async def outlive(
        self, stop: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Sets ``stop`` when the parent is gone. Ends by cancellation, too."""
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(self.lifeline)
            try:
                if not self.lifeline.recv(64):
                    break
            except BlockingIOError:
                continue
            except OSError:
                break
        stop.set()

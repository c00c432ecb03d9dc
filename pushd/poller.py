"""One device that only long-polls, and the session that is listed of it.

Nothing is sent to it but the answers of its polls: who is kicked is told by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

import msgspec
import structlog
import trio

from pushd.core.frames import bye_json
from pushd.core.names import SESSION_PREFIX
from pushd.core.permissions import Identity
from pushd.core.positions import Cursor
from pushd.core.wheel import Expiring
from pushd.errors import Reset
from pushd.notices import Poll
from pushd.session import Session

# What a poll's own answer says, or the client has done itself.
SAID_OTHERWISE: Final = (1000, 1012, 4001)

log = structlog.get_logger("pushd.pollers")

Key = tuple[str, str | None]


class Keeper(Protocol):
    """Who keeps all of them."""

    grace_s: float

    def lapse(self, poller: Poller) -> None: ...

    def forget(self, poller: Poller) -> None: ...

    def follows(self, session: PollSession, channels: tuple[str, ...]) -> None: ...

    def unlist(self, poller: Poller, code: int, reason: str) -> None: ...


class PollSession(Session):
    """What is listed of a device that polls. Nothing is sent to it but the answers of its polls."""

    transport = "poll"
    counted = False  # its held polls are
    __slots__ = ("following", "poller")

    def __init__(self, poller: Poller) -> None:
        super().__init__(poller.identity, poller.device, poller.address)
        self.poller = poller
        self.following: tuple[str, ...] = ()

    def expire(self) -> None:
        """The poller is what the wheel has."""

    def send(self, frame: bytes) -> None:
        """What its user is to know of comes with the notices of a poll."""

    def tell(self, type_: str, **members: Any) -> None:
        """As ``send``."""

    def has_news(self) -> None:
        self.poller.wake()

    def bye(
        self, code: int, reason: str, retry_after_ms: int = 0, *, reconnect: bool | None = None
    ) -> None:
        if not self.closing:
            said = bye_json(code, reason, retry_after_ms, reconnect)
            self.poller.part(code, reason, msgspec.Raw(said))


class Poller(Expiring):
    """One device of one user that polls; all that poll for the user without a device are one."""

    __slots__ = (
        "_farewell",
        "_pollers",
        "_polls",
        "address",
        "device",
        "following",
        "identity",
        "last_seen",
        "session",
        "user",
    )

    def __init__(
        self, pollers: Keeper, user: str, device: str | None, identity: Identity, address: str
    ) -> None:
        super().__init__()
        self.user = user
        self.device = device
        self.identity = identity
        self.address = address
        self.last_seen = trio.current_time()
        self.following: tuple[str, ...] = ()
        self.session: PollSession | None = None  # None: another one is the device's
        self._pollers = pollers
        self._polls: list[Poll] = []
        self._farewell: msgspec.Raw | None = None

    @property
    def key(self) -> Key:
        return self.user, self.device

    @property
    def channel(self) -> str:
        """Of messages to its session; empty when it has none."""
        return "" if self.session is None else SESSION_PREFIX + self.session.id

    @property
    def parted(self) -> bool:
        """It was ended, and has not been told yet."""
        return self._farewell is not None

    @property
    def is_held(self) -> bool:
        """A poll of it waits."""
        return any(not each.done for each in self._polls)

    def follow(self, asked: Iterable[tuple[str, object]]) -> None:
        """What its newest poll waits for: channels, and what is known of each."""
        names = tuple(
            [name for name, known in asked if type(known) is Cursor or isinstance(known, Reset)]
        )
        if names != self.following:
            self.following = names
            if self.session is not None:
                self._pollers.follows(self.session, names)

    def hold(self, poll: Poll) -> None:
        """``poll`` waits, and is answered when the session is ended."""
        self._polls = [each for each in self._polls if not each.done]
        self._polls.append(poll)

    def take(self) -> list[msgspec.Raw]:
        """For an answer: the goodbye, if there is one. It polls on from now, or has been told."""
        if self._farewell is None:
            self.deadline = trio.current_time() + self._pollers.grace_s
            return []
        self._pollers.forget(self)
        return [self._farewell]

    def part(self, code: int, reason: str, farewell: msgspec.Raw) -> None:
        """Its session ends; the polls that are held are told, else the next one."""
        self._pollers.unlist(self, code, reason)
        if code in SAID_OTHERWISE:
            self._pollers.forget(self)
            return
        self._farewell = farewell
        self.wake()

    def wake(self) -> None:
        """Its held polls are answered, all of them: two pages may share a device."""
        for poll in [each for each in self._polls if not each.done]:
            try:
                poll.moved()
            except Exception:  # one connection's failure is its own
                log.exception("answering a held poll failed")

    def expire(self) -> None:
        """Its device has not polled for the grace time."""
        self._pollers.lapse(self)

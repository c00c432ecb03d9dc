"""The user's own channels: only the server can name them, so they begin once it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from pushd.client.answers import Head
from pushd.client.mailbox import Mailbox
from pushd.client.state import FollowState

Load = Callable[[list[str]], Awaitable[Mapping[str, str]]]


class Adopter:
    """Each begins after its cursor in the store, else in ``after``, else where the server says."""

    def __init__(
        self, state: FollowState, mailbox: Mailbox, after: Mapping[str, str], load: Load | None
    ) -> None:
        """``load``: asks the cursor store; None: there is none."""
        self._state, self._mailbox = state, mailbox
        self._after, self._load = after, load
        self._waiting: dict[str, Head] = {}
        self._hinted: set[str] = set()

    @property
    def pending(self) -> bool:
        """Channels wait for ``settle``."""
        return bool(self._waiting)

    def met(self, name: str, head: Head) -> None:
        """A head that a hello tells. If it is of a new channel, the store has to be asked."""
        if self._load is None or not self._state.adopts(name):
            self._mailbox.put(self._state.met(name, head, self._after.get(name)))
        elif name in self._waiting:
            self._hinted.add(name)  # begun at the first head, it is behind this one
        else:
            self._waiting[name] = head

    def heard(self, name: str) -> None:
        """A hint: of a channel that waits, it is remembered."""
        if name in self._waiting:
            self._hinted.add(name)

    def forget(self, name: str) -> None:
        """It is the user's no longer."""
        self._waiting.pop(name, None)
        self._hinted.discard(name)

    async def settle(self) -> None:
        """Follow what waits. Raises what the store does."""
        names = list(self._waiting)
        starts = await self._starts(names)
        for name in names:
            head = self._waiting.pop(name, None)
            if head is not None:
                self._mailbox.put(self._state.met(name, head, starts.get(name)))
        self._state.suspect(self._hinted)
        self._hinted.clear()

    async def placed(self, name: str) -> bool:
        """A pull has brought a new channel. True when it begins elsewhere: pull again."""
        if not self._state.adopts(name):
            return False
        start = (await self._starts([name])).get(name)
        if start is None or not self._state.adopts(name):
            return False
        self._state.add(name, start)
        self._state.suspect([name])
        return True

    async def _starts(self, names: list[str]) -> dict[str, str]:
        starts = {name: self._after[name] for name in names if name in self._after}
        return starts if self._load is None else {**starts, **await self._load(names)}

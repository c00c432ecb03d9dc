"""Answers of the application that still count, by the hash of what it was asked."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from pushd.core.permissions import Identity
from pushd.errors import PushdError

MAX_IDENTITIES: Final = 50_000
# Kept apart: whoever tries random tokens drives out nobody's good answer.
MAX_REFUSALS: Final = 10_000
REFUSED_S: Final = 10.0


class Known:
    """Identities until they expire, refusals for ten seconds; the oldest make room. No clock."""

    __slots__ = ("_identities", "_refusals")

    def __init__(self) -> None:
        self._identities: OrderedDict[bytes, Identity] = OrderedDict()
        self._refusals: OrderedDict[bytes, tuple[float, PushdError]] = OrderedDict()

    def __len__(self) -> int:
        """Identities that are remembered."""
        return len(self._identities)

    def identity(self, key: bytes, now: float) -> Identity | None:
        """``now``: Unix seconds, as in the answers."""
        found = self._identities.get(key)
        if found is None:
            return None
        if found.expires is not None and found.expires <= now:
            del self._identities[key]
            return None
        self._identities.move_to_end(key)
        return found

    def refusal(self, key: bytes, now: float) -> PushdError | None:
        """``now``: on a clock that nobody sets."""
        found = self._refusals.get(key)
        if found is None:
            return None
        until, error = found
        if now < until:
            return error
        del self._refusals[key]
        return None

    def learn(self, key: bytes, identity: Identity) -> None:
        """It replaces what was said before."""
        self._identities[key] = identity
        self._identities.move_to_end(key)
        if len(self._identities) > MAX_IDENTITIES:
            self._identities.popitem(last=False)

    def refuse(self, key: bytes, error: PushdError, now: float) -> None:
        """For a while the application is not asked again."""
        self._identities.pop(key, None)
        self._refusals[key] = (now + REFUSED_S, error)
        self._refusals.move_to_end(key)
        if len(self._refusals) > MAX_REFUSALS:
            self._refusals.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """What was said counts no longer."""
        self._identities.pop(key, None)

    def clear(self) -> None:
        """Of somebody else, who is not asked any more."""
        self._identities.clear()
        self._refusals.clear()

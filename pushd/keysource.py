"""Keys that come from a file or an address and change while the server runs: fetched, kept, asked.

A failure keeps the keys that were there. Nobody outside can make more than one fetch in ten
seconds happen, nor have it last longer than five.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from pushd.errors import BadSetting
from pushd.fetch import fetch
from pushd.keysets import MAX_JWKS_BYTES, KeySet, ReadyKey, parse_jwks

RETRY_S = 30.0  # after a failure
ASK_S = 10.0  # between two fetches that unknown kids caused
EARLIER = 0.1  # so that nodes do not come in step

log = structlog.get_logger("pushd.keys")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a set is and what its tokens must say. One of ``file`` and ``url`` is given."""

    algs: frozenset[str]
    aud: str | None
    iss: str | None
    file: Path | None = None
    url: str | None = None

    def __str__(self) -> str:
        """For the log: without the query, which may hold what nobody shall see."""
        return str(self.file) if self.url is None else self.url.partition("?")[0]


class RefreshedKeys:
    """One set of keys, and the task that keeps it fresh. Used on the loop only."""

    def __init__(self, place: Place, refresh_s: float) -> None:
        self.place = place
        self.algs = place.algs
        self.keys: tuple[ReadyKey, ...] = ()
        self.refresh_s = refresh_s
        self.on_change: Callable[[], None] = _nothing  # there are other keys than before
        self._loading = False
        self._loaded_at = -math.inf
        self._asked_at = -ASK_S
        self._wake = trio.Event()

    @property
    def weakness(self) -> str | None:
        """What the log should warn of at the start."""
        if self.place.aud is not None:
            return None
        return f"tokens of {self.place} are good here for whatever audience they are: set aud"

    @property
    def age_s(self) -> float:
        """Seconds since it was last read or fetched as it should be; infinite when it never was."""
        return time.monotonic() - self._loaded_at

    def ask(self) -> bool:
        """An unknown kid came. Whether it is worth coming again.

        True while keys are fetched, and as long as there never were any: then nobody can tell
        a wrong token from a right one.
        """
        now = time.monotonic()
        if not self._loading and now - self._asked_at >= ASK_S:
            self._asked_at = now
            self._loading = True  # from now on, not only from when the task gets its turn
            self._wake.set()
        return self._loading or not self.keys

    def wake(self) -> None:
        """Fetch now."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the keys fresh until cancelled; the first time after ``refresh_s``."""
        loaded = bool(self.keys)
        while True:
            pause = self.refresh_s if loaded else min(self.refresh_s, RETRY_S)
            with trio.move_on_after(pause * (1 - EARLIER * random.random())):
                await self._wake.wait()
            self._wake = trio.Event()
            loaded = await self.load()

    async def load(self) -> bool:
        """Fetch once. Whether it succeeded; else the old keys stay, and the log says why."""
        self._loading = True
        try:
            self.take(await _read(self.place))
        except BadSetting as error:
            reason = error.detail
        except Exception as error:  # of the library: whatever it is, the server goes on
            reason = repr(type(error))
        else:
            return True
        finally:
            self._loading = False
        log.warning("keys not refreshed", place=str(self.place), reason=reason, kept=len(self.keys))
        return False

    def take(self, raw: bytes) -> None:
        """Have the keys of this JWKS from now on. Raises BadSetting, and the old ones stay."""
        found = parse_jwks(raw, self.algs, self.place.aud, self.place.iss)
        self._loaded_at = time.monotonic()
        before = {key.fingerprint for key in self.keys}
        if before == {key.fingerprint for key in found.keys}:
            return
        self.keys = found.keys
        self._tell(found)
        self.on_change()

    def _tell(self, found: KeySet) -> None:
        log.info("keys loaded", place=str(self.place), keys=len(found.keys))
        for note in found.notes:
            log.warning("key left out", place=str(self.place), reason=note)


def _nothing() -> None:
    pass


async def _read(place: Place) -> bytes:
    if place.file is not None:
        return await trio.to_thread.run_sync(read_file, place.file)
    assert place.url is not None
    return await fetch(place.url, MAX_JWKS_BYTES)


def read_file(path: Path) -> bytes:
    """The bytes of a key set, one more than allowed at most. Raises BadSetting."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_JWKS_BYTES + 1)
    except OSError as error:
        raise BadSetting(str(error.strerror)) from None


class Sources:
    """Runs the tasks of all sources; ``replace`` exchanges them. A service of the node."""

    def __init__(self, sources: tuple[RefreshedKeys, ...]) -> None:
        self.current = sources
        self.on_change: Callable[[], None] = _nothing  # of any of them
        self._nursery: trio.Nursery | None = None
        self._running: dict[RefreshedKeys, trio.CancelScope] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Has started once all keys were fetched, or could not be."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await load_all(self.current)
            self.replace(self.current)
            self.on_change()
            task_status.started()
            await trio.sleep_forever()

    def replace(self, sources: tuple[RefreshedKeys, ...]) -> None:
        """Have the tasks of these and no others. Call it once ``run`` has started."""
        assert self._nursery is not None
        self.current = sources
        for gone in set(self._running) - set(sources):
            self._running.pop(gone).cancel()
        for source in sources:
            source.on_change = self.on_change
            if source not in self._running:
                scope = self._running[source] = trio.CancelScope()
                self._nursery.start_soon(_within, scope, source.run)


async def _within(scope: trio.CancelScope, run: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await run()


async def load_all(sources: tuple[RefreshedKeys, ...]) -> None:
    """Fetch those that have no keys yet, at once; whatever fails is logged."""
    async with trio.open_nursery() as nursery:
        for source in sources:
            if not source.keys:
                nursery.start_soon(source.load)

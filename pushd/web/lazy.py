"""The web framework is loaded when somebody first asks for a page: it is a fifth of the start.

Imported in a thread, so that the loop goes on meanwhile, and kept.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import trio

from pushd.front.connection import HttpConnection
from pushd.hub import Hub

if TYPE_CHECKING:
    from pushd.web.engine import WebEngine


class LazyWeb:
    """The engine that the front hands everything to that is not hot."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._engine: WebEngine | None = None
        self._loading = trio.Lock()

    async def serve(self, connection: HttpConnection) -> None:
        """Loads it first if nobody has asked yet."""
        engine = self._engine
        if engine is None:
            engine = await self._load()
        await engine.serve(connection)

    async def _load(self) -> WebEngine:
        async with self._loading:
            if self._engine is None:
                module = await trio.to_thread.run_sync(import_module, "pushd.web.engine")
                engine: WebEngine = module.WebEngine(self._hub)
                await self._hub.services.start(engine.run)
                self._engine = engine
            return self._engine

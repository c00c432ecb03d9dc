"""An application behind https: kept connections, and certificates that are not accepted."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.metrics import Counters
from pushd.outbound import Endpoint, NoAnswer, keys_of, wire
from tests.support.application import WEBHOOK_SECRET, Application, say_ok
from tests.support.tls import certificate


class Encrypted(Application):
    """As its base, behind TLS."""

    context: ssl.SSLContext

    async def _serve(self, stream: Any) -> None:
        await super()._serve(trio.SSLStream(stream, self.context, server_side=True))


@asynccontextmanager
async def encrypted(context: ssl.SSLContext) -> AsyncIterator[Application]:
    async with trio.open_nursery() as nursery:
        made = Encrypted(nursery, say_ok)
        made.context = context
        await made.start()
        yield made
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("trusted", [True, False])
async def test_requests_over_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    context = certificate(tmp_path, "localhost")
    if trusted:
        known = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        monkeypatch.setattr(wire, "_context", lambda: known)
    async with encrypted(context) as app, trio.open_nursery() as nursery:
        url = f"https://localhost:{app.port}/hooks"
        endpoint = Endpoint("webhook", url, keys_of(WEBHOOK_SECRET), Counters())
        await nursery.start(endpoint.run)
        if trusted:
            for number in range(3):
                answer = await endpoint.post(b"{}", id_=f"m{number}", within_s=30)
                assert answer.status == 200
            assert [each.id for each in app.received] == ["m0", "m1", "m2"]
            assert all(each.is_signed() for each in app.received)
            assert app.connections == 1
        else:
            with pytest.raises(NoAnswer, match="its certificate is not accepted"):
                await endpoint.post(b"{}", id_="m", within_s=30, tries=1)
            assert app.received == []
        nursery.cancel_scope.cancel()

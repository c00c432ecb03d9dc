"""Accepting goes on when there were no descriptors left."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import failures, running_server


async def test_without_descriptors_it_is_tried_again_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [OSError(errno.EMFILE, os.strerror(errno.EMFILE)) for _ in range(5)]
    accept = socket.socket.accept

    def refusing(sock: socket.socket) -> Any:
        if refusals:
            raise refusals.pop()
        return accept(sock)

    monkeypatch.setattr("pushd.front.acceptor.OUT_OF_FILES_S", 0.0)
    monkeypatch.setattr("pushd.front.acceptor.SILENCE_S", 3600.0)
    async with running_server(tmp_path, errors_expected=True) as server:
        monkeypatch.setattr(socket.socket, "accept", refusing)
        assert (await server.ask("GET", "/healthz")).status == 200
    assert not refusals
    assert [entry["event"] for entry in failures(server.log)] == ["cannot accept"]

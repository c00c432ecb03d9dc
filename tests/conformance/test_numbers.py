"""The numbers that the contract names and that no case can wait for: the settings as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pushd.settings import Settings

KIB, MIB = 1024, 1024 * 1024
# By section; seconds, bytes, counts.
NUMBERS: dict[str, dict[str, Any]] = {
    "2": {"auth_timeout": 10, "origins": (), "public_namespaces": frozenset()},
    "3": {
        "idempotency": 24 * 3600,
        "max_body": 64 * KIB,
        "max_publish_body": MIB,
        "max_batch_body": 8 * MIB,
        "max_targets": 10_000,
        "publish_backlog": 16 * MIB,
        "body_memory": 64 * MIB,
    },
    "4": {
        "max_pull_messages": 1000,
        "max_pull_bytes": MIB,
        "max_wait": 60,
        "max_cursors": 128,
        "write_behind": 1,
    },
    "5": {
        "heartbeat_interval": 25,
        "heartbeat_timeout": 60,
        "pull_interval": 20,
        "max_channels_per_session": 128,
        "max_connections_per_user": 20,
        "jitter_subscribers": 1000,
        "outgoing_buffer": 64 * KIB,
        "write_timeout": 10,
    },
    "6": {"sse_heartbeat": 15, "poll_grace": 60},
    "8": {"listen": ("127.0.0.1", 8080), "data": Path("data"), "api_key": None, "dev": False},
    "HTTP": {
        "max_head": 16 * KIB,
        "max_headers": 100,
        "head_timeout": 10,
        "body_timeout": 30,
        "idle_timeout": 60,
        "max_handshakes": 1000,
        "max_handshakes_per_address": 32,
        "max_connections": 20_000,
    },
}


@pytest.mark.parametrize("section", NUMBERS)
def test_as_they_come(section: str) -> None:
    settings = Settings()
    assert {name: getattr(settings, name) for name in NUMBERS[section]} == NUMBERS[section]

"""The numbers that the contract names and that no case can wait for: the settings as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pushd import errors
from pushd.settings import Settings

KIB, MIB = 1024, 1024 * 1024
# By section; seconds, bytes, counts.
NUMBERS: dict[str, dict[str, Any]] = {
    "2": {"auth_timeout": 10, "origins": (), "namespaces": {}},
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
    "6": {"sse_heartbeat": 15, "poll_grace": 60, "presence_grace": 5},
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


# The codes of the contract, and the HTTP statuses that they come with.
STATUSES = {
    "bad_request": {400, 405, 408, 426},
    "unauthorized": {401},
    "token_expired": {401},
    "forbidden": {403},
    "not_found": {404},
    "no_handler": {404},
    "refused": {422},
    "call_failed": {502, 504},
    "conflict": {409},
    "expired": {410},
    "epoch_changed": {410},
    "cursor_ahead": {410},
    "too_large": {413, 431},
    "rate_limited": {429},
    "overloaded": {503},
    "not_ready": {503},
    "storage_full": {507},
    "internal": {500},
}


def test_codes_and_statuses() -> None:
    """Clients decide by them. Beside these there are codes of the command line only."""
    found: dict[str, set[int]] = {}
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    for each in classes:
        # Reset is the base of three codes, and has none of its own.
        if issubclass(each, errors.PushdError) and each is not errors.Reset:
            found.setdefault(each.code, set()).add(each.status)
    assert {code: found[code] for code in STATUSES} == STATUSES
    assert all(statuses == {500} for code, statuses in found.items() if code not in STATUSES)

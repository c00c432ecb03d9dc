"""Keys of services with fewer rights than the one that every test server has."""

from __future__ import annotations

import hashlib

from pushd.settings.tables import ApiKeyTable


def key(name: str, *scopes: str, patterns: tuple[str, ...] = ()) -> ApiKeyTable:
    """A key that is its own name."""
    return ApiKeyTable(name, hashlib.sha256(name.encode()).hexdigest(), scopes, patterns)


KEYS = (
    key("publisher-key", "publish"),
    key("reader-key", "read"),
    key("admin-key", "admin"),
    key("rooms-key", "read", "admin", patterns=("room:*",)),
    key("alice-key", "read", "admin", patterns=("user:alice",)),
)

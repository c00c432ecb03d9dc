"""Signatures in the Standard Webhooks form: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

PREFIX = "whsec_"


def keys_of(secret: str) -> list[bytes]:
    """What the setting ``webhook_secret`` signs with; commas stand between several."""
    return [_key_of(each) for each in secret.split(",")]


def _key_of(secret: str) -> bytes:
    """``whsec_`` and base64 as it is customary, else the very bytes."""
    if secret.startswith(PREFIX):
        return base64.b64decode(secret[len(PREFIX) :])
    return secret.encode()


def new_id() -> str:
    """Names one thing that is told; each further attempt to tell it has the same."""
    return "msg_" + secrets.token_urlsafe(18)


def envelope(type_: str, data: Any, now: float | None = None) -> bytes:
    """The body of all that the application is told. ``now``: Unix seconds."""
    at = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    timestamp = at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    return msgspec.json.encode({"type": type_, "timestamp": timestamp, "data": data})


class Signer:
    """Several keys sign side by side while one takes the place of another."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def __repr__(self) -> str:
        return f"Signer({len(self._keys)} keys)"

    def headers(self, id_: str, at: int, body: bytes) -> list[tuple[str, str]]:
        """``at``: Unix seconds, when this attempt is made."""
        signed = f"{id_}.{at}.".encode() + body
        signatures = [
            "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
            for key in self._keys
        ]
        return [
            ("webhook-id", id_),
            ("webhook-timestamp", str(at)),
            ("webhook-signature", " ".join(signatures)),
        ]

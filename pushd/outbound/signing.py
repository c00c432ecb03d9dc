"""Signatures in the Standard Webhooks form: HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """What a secret signs with: ``whsec_`` and base64 as it is customary, else its very bytes."""
    if secret.startswith(PREFIX):
        return base64.b64decode(secret[len(PREFIX) :])
    return secret.encode()


def new_id() -> str:
    """Names one thing that is told; each further attempt to tell it has the same."""
    return "msg_" + secrets.token_urlsafe(18)


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

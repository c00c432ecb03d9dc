"""How nodes of one cluster know each other: by what they sign with the key that all of them share.

The key itself never travels.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

import msgspec

from pushd.core.permissions import SCOPES, Identity
from pushd.errors import Conflict, Unauthorized
from pushd.keysets import fingerprint

PREFIX: Final = "pushd-node."
LIFE_S: Final = 30.0  # and as much may the clocks of two nodes differ, less what is kept
KEPT_S: Final = 10.0


class _Payload(msgspec.Struct, array_like=True):
    node: str
    audience: str
    at: float


_payloads = msgspec.json.Decoder(_Payload)


class NodeTokens:
    """Credentials for other nodes, and what is signed where others could write.

    ``audience``: the generation of this node while it owns the log, for which the others make
    theirs; None at an edge, which takes no node's.
    """

    def __init__(self, key: bytes, node_id: str) -> None:
        """``key``: of at least 16 bytes."""
        self.audience: str | None = None
        self.fingerprint = fingerprint("nodes", key)
        self._node_id = node_id
        self._credentials = hmac.digest(key, b"pushd node credential", "sha256")
        self._records = hmac.digest(key, b"pushd record", "sha256")
        self._kept: tuple[str, float, str] | None = None

    def mint(self, audience: str, now: float) -> str:
        """A bearer credential for the owner of that generation. ``now``: Unix seconds.

        The same for a while: who gets it needs to look at it only once.
        """
        if self._kept is not None:
            kept_for, at, credential = self._kept
            if kept_for == audience and at <= now < at + KEPT_S:
                return credential
        payload = _encoded(msgspec.json.encode(_Payload(self._node_id, audience, now)))
        signature = _encoded(_signed(self._credentials, payload.encode()))
        credential = f"{PREFIX}{payload}.{signature}"
        self._kept = (audience, now, credential)
        return credential

    def verify(self, credential: str, now: float) -> str:
        """The id of the node that made it for this one, not long ago.

        Raises Unauthorized; Conflict for one that is meant for another owner, or another life of
        this one: ``generation`` in it names the one that it is now.
        """
        return self._read(credential, now).node

    def identify(self, credential: str, now: float) -> Identity:
        """A service that may do everything. Raises as ``verify``."""
        payload = self._read(credential, now)
        return Identity(
            user=None,
            scopes=SCOPES,
            expires=payload.at + LIFE_S,
            key_name=f"node:{payload.node}",
            key=self.fingerprint,
            node=payload.node,
        )

    def _read(self, credential: str, now: float) -> _Payload:
        body, _, signature = credential.removeprefix(PREFIX).partition(".")
        if not credential.startswith(PREFIX) or not hmac.compare_digest(
            _encoded(_signed(self._credentials, body.encode())), signature
        ):
            raise Unauthorized(
                "No node of this cluster has signed this.",
                cure="Give all nodes the same cluster_key.",
            )
        payload = _payloads.decode(_decoded(body))
        if not abs(now - payload.at) < LIFE_S:
            raise Unauthorized(
                f"The node's credential is {now - payload.at:.0f} seconds old.",
                cure=f"Set the clocks of the nodes: they may differ by some {LIFE_S - KEPT_S:.0f}"
                " seconds.",
            )
        if payload.audience != self.audience:
            raise other_generation(self.audience)
        return payload

    def sign(self, text: bytes) -> str:
        """For a record that others keep."""
        return _encoded(_signed(self._records, text))

    def check(self, text: bytes, signature: str) -> bool:
        """Whether a node of this cluster has signed this ``text``."""
        return signature.isascii() and hmac.compare_digest(self.sign(text), signature)


def other_generation(current: str | None) -> Conflict:
    """For who asks another life of the owner than this one is. None: this is no owner."""
    return Conflict(
        "This node does not own the log." if current is None else "The owner has begun anew.",
        extra={"generation": current},
        cure="Ask for who owns the log now.",
    )


def _signed(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):  # which only a node with the key can have signed
        raise Unauthorized("A node has signed what is no credential.") from None

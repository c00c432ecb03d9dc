"""Texts in Redis that only somebody with the cluster's key can have written, for that very name."""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

import msgspec

_T = TypeVar("_T")
_encode = msgspec.json.Encoder().encode

LONGEST: Final = 128  # of a signature


class Signer(Protocol):
    """As much of ``NodeTokens`` as is needed."""

    def sign(self, text: bytes) -> str: ...

    def check(self, text: bytes, signature: str) -> bool: ...


class Sealed:
    """Writes structs and reads them again. A signature counts under one name only, so that none
    can be put where another belongs."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def write(self, name: str, struct: msgspec.Struct) -> bytes:
        """As JSON, with a signature before it."""
        text = _encode(struct)
        return self._signer.sign(_bound(name, text)).encode() + b" " + text

    def read(self, name: str, data: object, decoder: msgspec.json.Decoder[_T]) -> _T | None:
        """None for what nobody with the key has written under ``name``."""
        if not isinstance(data, bytes):
            return None
        signature, space, text = data.partition(b" ")
        if not space or len(signature) > LONGEST or not signature.isascii():
            return None
        if not self._signer.check(_bound(name, text), signature.decode()):
            return None
        try:
            return decoder.decode(text)
        except (msgspec.DecodeError, ValueError):  # of another version
            return None


def _bound(name: str, text: bytes) -> bytes:
    return b"%b\n%b" % (name.encode(), text)

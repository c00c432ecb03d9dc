"""What of a draft counts: whether it can be stored, and what a retry must repeat."""

from __future__ import annotations

from hashlib import blake2b

from pushd.core.messages import Draft
from pushd.log.requests import Append


def is_text(append: Append) -> bool:
    """All that goes into the database can be encoded (lone surrogates cannot)."""
    texts = [append.publisher]
    for channel, draft in append.entries:
        texts += [channel, draft.type, draft.id or "", draft.sender or ""]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def digest_of(draft: Draft) -> bytes:
    """What must be equal for a retry to count as one. 16 bytes: nobody collides by chance."""
    type_ = draft.type.encode()
    sender = None if draft.sender is None else draft.sender.encode()
    head = b"%d,%d;" % (len(type_), -1 if sender is None else len(sender))
    return blake2b(head + type_ + (sender or b"") + draft.data, digest_size=16).digest()

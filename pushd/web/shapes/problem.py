"""What every operation refuses with."""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct):
    """A refusal (RFC 9457). ``code`` is stable; ``cure`` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    cure: str
    retry_after_ms: int | None = None

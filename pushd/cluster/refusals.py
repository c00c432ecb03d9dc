"""Refusals of another node, raised here as they were raised there."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pushd.errors import BadRequest, PushdError


class _Problem(msgspec.Struct):
    code: str = "internal"
    detail: str = ""
    cure: str = ""
    retry_after_ms: int | None = None


_STANDARD: Final = frozenset({"type", "title", "code", "status", "detail", "cure"})
_problem = msgspec.json.Decoder(_Problem).decode
_members = msgspec.json.Decoder(dict[str, Any]).decode


def refusal(status: int, body: bytes) -> PushdError:
    """The error that a problem object tells of."""
    try:
        problem, extra = _problem(body), _members(body)
    except msgspec.DecodeError:
        return raised("internal", status, f"Another node answered {status}.", "", None, {})
    extra = {name: value for name, value in extra.items() if name not in _STANDARD}
    milliseconds = extra.pop("retry_after_ms", None)
    after = None if milliseconds is None else (problem.retry_after_ms or 0) / 1000
    return raised(problem.code, status, problem.detail, problem.cure, after, extra)


def raised(
    code: str,
    status: int,
    detail: str,
    cure: str,
    retry_after: float | None,
    extra: dict[str, Any],
) -> PushdError:
    """An error of the type that has this code and status. One that is not known here (of a node of
    another version) is a bad request, or a failure."""
    kind = _kinds().get((code, status)) or (BadRequest if 400 <= status < 500 else PushdError)
    after = None if retry_after is None else max(1, -int(-retry_after // 1))
    error = kind(detail, retry_after=after, extra=extra)
    if cure:
        error.cure = cure
    return error


def _kinds() -> dict[tuple[str, int], type[PushdError]]:
    """The most general type of each code and status."""
    if not _KINDS:
        waiting: list[type[PushdError]] = [PushdError]
        while waiting:
            kind = waiting.pop(0)
            _KINDS.setdefault((kind.code, kind.status), kind)
            waiting += kind.__subclasses__()
    return _KINDS


_KINDS: dict[tuple[str, int], type[PushdError]] = {}

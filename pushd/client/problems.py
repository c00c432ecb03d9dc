"""Errors as the client sees them: the server's own refusals, and what only a client can meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from pushd import errors
from pushd.errors import Forbidden, NotFound, PushdError, TokenExpired, Unauthorized

# These mean 'unknown' or 'later' (docs/protocol.md, "Publish one message"): the same id may be sent
# again. 507 is not among them: it is a definite no, and a disk does not empty itself.
_TRANSIENT_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT_CODES: Final = frozenset({"internal", "overloaded", "not_ready", "rate_limited"})
_LONGEST_RETRY_AFTER_S: Final = 300


class Unreachable(PushdError):
    """No connection, or it ended without an answer."""

    code = "unreachable"
    status = 503
    cure = (
        "Check that the server runs there, or name another with --url (or PUSHD_URL);"
        " 'make run' starts one to try."
    )


class BadAnswer(PushdError):
    """What answered does not keep to the protocol."""

    code = "bad_answer"
    status = 502
    cure = "Check that the URL is a pushd server of this version, and what lies between."


class Kicked(PushdError):
    """The server ended the session and said not to come again."""

    code = "kicked"
    status = 403
    cure = "Ask the operator why; do not reconnect as you are."


class NoToken(PushdError):
    """The application's token function failed or took too long; ``__cause__`` says why."""

    code = "no_token"
    status = 503
    cure = "Look at the application's own error; it is asked again after a while."


class Refused(PushdError):
    """A refusal whose code this client does not know."""

    cure = "The server's documentation explains this code."

    @property
    def named(self) -> str:
        """The server's own code."""
        return str(self.extra.get("code", self.code))


def _all_subclasses(base: type[PushdError]) -> Iterator[type[PushdError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _all_subclasses(kind)


# Some codes have several statuses. Without one the first class wins: the general ones come first.
_BY_CODE: Final[dict[str, type[PushdError]]] = {PushdError.code: PushdError}
_BY_STATUS: Final[dict[tuple[str, int], type[PushdError]]] = {}
for _kind in _all_subclasses(PushdError):
    if _kind.__module__ == errors.__name__:
        _BY_CODE.setdefault(_kind.code, _kind)
        _BY_STATUS.setdefault((_kind.code, _kind.status), _kind)


def error_of_code(
    code: str,
    detail: str,
    *,
    status: int = 0,
    retry_after: int | None = None,
    extra: Mapping[str, Any] = {},
) -> PushdError:
    """The error class of a stable code; Refused for a code that is not in the table."""
    kind = _BY_CODE.get(code)
    if code != PushdError.code:
        kind = _BY_STATUS.get((code, status), kind)
    if kind is None:
        return Refused(f"{detail} ({code})", retry_after=retry_after, extra={**extra, "code": code})
    return kind(detail, retry_after=retry_after, extra=dict(extra))


def error_of_answer(status: int, body: bytes, headers: Mapping[str, str]) -> PushdError:
    """The refusal in an HTTP answer. What is no problem object came from something in between."""
    retry_after = parse_retry_after(headers.get("retry-after"))
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
        code, detail = str(problem.pop("code")), str(problem.pop("detail", f"HTTP {status}"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return _foreign(status, retry_after)
    members = {
        name: value
        for name, value in problem.items()
        if name not in ("type", "title", "status", "cure")
    }
    return error_of_code(code, detail, status=status, retry_after=retry_after, extra=members)


def _foreign(status: int, retry_after: int | None) -> PushdError:
    kinds: dict[int, type[PushdError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
    if status in _TRANSIENT_STATUS:
        return Unreachable(f"The server answered HTTP {status}.", retry_after=retry_after)
    return kinds.get(status, BadAnswer)(
        f"The server answered HTTP {status} without saying why.",
        retry_after=retry_after,
        extra={"foreign": True},
    )


def parse_retry_after(text: str | None) -> int | None:
    """Whole seconds, capped at five minutes. The date form is ignored: it needs equal clocks."""
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return min(int(text[:9]), _LONGEST_RETRY_AFTER_S)


def is_transient(error: PushdError) -> bool:
    """Whether the same request, with the same id, is worth sending again."""
    if isinstance(error, Unreachable | NoToken | errors.RequestTimeout):
        return True
    return error.code in _TRANSIENT_CODES and not isinstance(error, Refused)


def is_foreign(error: PushdError) -> bool:
    """Whether something in between has answered: pushd says a code with every refusal."""
    return isinstance(error, BadAnswer) or "foreign" in error.extra


def error_of_close(code: int, reason: str) -> PushdError:
    """Why a session ended for good (docs/protocol.md, "Close codes")."""
    detail = f"The server ended the session ({code}): {reason or 'no reason given'}."
    if code == 4001:
        return (TokenExpired if "expire" in reason.lower() else Unauthorized)(detail)
    return (Forbidden if code == 4003 else Kicked)(detail)

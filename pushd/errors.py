"""Every refusal pushd gives: a stable code, an HTTP status, a cause and a cure.

One table for HTTP problems (RFC 9457), WebSocket ``error`` frames and the command line.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class PushdError(Exception):
    """Base of all refusals. ``detail`` is the cause in this case, ``cure`` what to do about it.

    ``extra`` carries the members that some codes add (a reset's ``resume``, say).
    ``retry_after`` is in seconds and becomes the ``Retry-After`` header. ``cure`` replaces the
    one of the class where this case has a better one.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    cure: str = "It is the server's fault; its log says more. Retry with the same id."

    def __init__(
        self,
        detail: str,
        *,
        retry_after: int | None = None,
        extra: dict[str, Any] | None = None,
        cure: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        if cure is not None:
            self.cure = cure
        self.retry_after = retry_after
        self.extra = extra or {}

    def again(self) -> PushdError:
        """The same to raise once more: one that is kept would keep what it went through."""
        error = type(self)(self.detail, retry_after=self.retry_after, extra=self.extra)
        error.cure = self.cure
        return error

    def as_dict(self) -> dict[str, Any]:
        """Members of the problem object, ``code`` first."""
        members = {
            "code": self.code,
            "status": self.status,
            "detail": self.detail,
            "cure": self.cure,
            **self.extra,
        }
        if self.retry_after is not None:
            members["retry_after_ms"] = self.retry_after * 1000
        return members

    def as_json(self) -> bytes:
        """``as_dict`` as JSON."""
        return msgspec.json.encode(self.as_dict())


class BadRequest(PushdError):
    code = "bad_request"
    status = 400
    cure = "Correct the request; docs/protocol.md shows its form."


class Unauthorized(PushdError):
    code = "unauthorized"
    status = 401
    cure = "Send a valid key or token as 'Authorization: Bearer …'."


class TokenExpired(PushdError):
    code = "token_expired"
    status = 401
    cure = "Get a new token from your application and come again."


class Forbidden(PushdError):
    code = "forbidden"
    status = 403
    cure = "Use a key or token whose scopes and patterns cover this."


class NotFound(PushdError):
    code = "not_found"
    status = 404
    cure = "Check the name and the path; docs/protocol.md lists the paths."


class UpgradeRequired(PushdError):
    code = "bad_request"
    status = 426
    cure = "Connect with WebSocket version 13 (RFC 6455)."


class MethodNotAllowed(PushdError):
    """``extra`` holds ``allow``, the methods that are served there."""

    code = "bad_request"
    status = 405
    cure = "Use one of the methods named in the Allow header."


class RequestTimeout(PushdError):
    code = "bad_request"
    status = 408
    cure = "Send the whole request sooner."


class Conflict(PushdError):
    code = "conflict"
    status = 409
    cure = "An id names one body: use a new id for a new message."


class DeviceConnected(Conflict):
    """``extra`` holds ``session``, the one that lives."""

    cure = "Close that session, or name it with replaces=SESSION."


class Reset(PushdError):
    """A complete answer is impossible; ``extra`` holds epoch, first, head, skipped, resume."""

    status = 410
    cure = "Load a snapshot of your data, then go on from the cursor in 'resume'."


class Expired(Reset):
    code = "expired"


class EpochChanged(Reset):
    code = "epoch_changed"


class CursorAhead(Reset):
    code = "cursor_ahead"


class TooLarge(PushdError):
    code = "too_large"
    status = 413
    cure = "Send less at once; docs/settings.md lists the limits."


class HeadTooLarge(PushdError):
    code = "too_large"
    status = 431
    cure = "Send fewer or shorter headers; put large things into the body."


class RateLimited(PushdError):
    code = "rate_limited"
    status = 429
    cure = "Slow down; come again after Retry-After seconds, with the same id."


class Overloaded(PushdError):
    code = "overloaded"
    status = 503
    cure = "Come again after Retry-After seconds, with the same id."


class NotReady(PushdError):
    code = "not_ready"
    status = 503
    cure = "The server is starting or stopping; come again after Retry-After seconds."


class OwnerAway(NotReady):
    """Of a node without a log of its own: the one that owns it was not reached, or said nothing.

    ``sent``: it may have got what was asked; whether it did it is unknown.
    """

    cure = "This node has lost the others for now; come again after Retry-After seconds."
    sent = False


class StorageFull(PushdError):
    code = "storage_full"
    status = 507
    cure = "Free disk space on the server; pulls go on meanwhile. Nothing of this was stored."


class StorageBroken(PushdError):
    """The disk refused a write or a sync. Never retried: what was in flight is unknown."""

    code = "internal"
    status = 500
    cure = "Check the disk and the file system, then start pushd again; retry with the same id."


class CannotStart(PushdError):
    """A clear refusal to start: a file that is locked, read-only, corrupt or from elsewhere."""

    code = "cannot_start"
    status = 500
    cure = "Mend what the detail names, then start again."


class NotALog(PushdError):
    """A file or directory that a tool was given is not readable as a log of pushd."""

    code = "not_a_log"
    cure = "Name a data directory, or a file that 'pushctl backup' has made."


class BackupFailed(PushdError):
    code = "backup_failed"
    cure = "Mend what the detail names and do it again; an earlier backup is as it was."


class RestoreRefused(PushdError):
    """Before anything was changed."""

    code = "restore_refused"
    cure = "Nothing was changed. 'pushctl verify' says more about a backup or a data directory."


class CompactFailed(PushdError):
    """Before anything was changed."""

    code = "compact_failed"
    cure = "The log is as it was. Mend what the detail names and do it again."


class BadSetting(PushdError):
    code = "bad_setting"
    status = 500
    cure = "Correct it; 'pushctl config docs' lists every setting."


class NoHandler(PushdError):
    code = "no_handler"
    status = 404
    cure = "Check the name; the application registers what can be called (docs/guide/calls.md)."


class CallRefused(PushdError):
    """The application says no. ``extra`` may hold ``data``, what it has to say besides."""

    code = "refused"
    status = 422
    cure = "Its detail is the application's; the same call again will be refused again."


class CallFailed(PushdError):
    """The application broke down, or did not answer: nobody knows what it has done."""

    code = "call_failed"
    status = 502
    cure = "Call again with the same id, later; the server's log says more."


class CallTimedOut(CallFailed):
    status = 504

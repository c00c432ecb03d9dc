"""What became of an append at the owner, as the log of this node would have told."""

from __future__ import annotations

from pushd.cluster.refusals import raised
from pushd.cluster.wire import AppendResult, StoredBody
from pushd.errors import OwnerAway, PushdError
from pushd.log import Append, Stored

Results = list[tuple[Append, list[Stored] | PushdError]]


class StoredThere(Stored):
    """``online``: whether somebody was there for it, on any node; ``known``: and that is sure."""

    online: bool
    known: bool


def result_of(result: AppendResult, known: bool) -> list[Stored] | PushdError:
    """``known``: the owner knows of all nodes who is there."""
    error = result.error
    if error is not None:
        return raised(
            error.code, error.status, error.detail, error.cure, error.retry_after, error.extra
        )
    return [_stored(each, known) for each in result.stored]


def _stored(each: StoredBody, known: bool) -> Stored:
    stored = StoredThere(each.channel, each.epoch, each.seq, each.id, each.at, each.duplicate)
    stored.online, stored.known = each.online, known
    return stored


def refused(appends: list[Append], *, sent: bool) -> Results:
    """The owner was not reached; ``sent``: it may have got them."""
    return [(append, _away(sent=sent)) for append in appends]


def _away(*, sent: bool) -> OwnerAway:
    if sent:
        detail = "The node that owns the log did not answer: this may have been stored."
    else:
        detail = "The node that owns the log cannot be reached: nothing of this was stored."
    error = OwnerAway(detail, retry_after=1)
    error.sent = sent
    return error

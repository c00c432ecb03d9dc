"""What is at this moment, as the wire has it."""

from __future__ import annotations

from collections.abc import Sequence

from pushd.cluster.wire import HeadState, Members, Revoked
from pushd.groups import Groups
from pushd.log import Head, Log


def head_state(head: Head) -> HeadState:
    """One life of a channel."""
    return HeadState(
        head.channel,
        head.epoch,
        head.first,
        head.seq,
        head.at,
        head.first_at,
        head.redactions,
        head.bytes,
        head.added,
    )


def members_state(groups: Groups, group: str, users: Sequence[str]) -> Members:
    """Which of these users are members."""
    epoch, seqs = groups.state(group)
    joined = {user: seqs[user] for user in users if user in seqs}
    left = [] if len(joined) == len(users) else [user for user in users if user not in seqs]
    return Members(group, epoch, joined, left)


def revoked_state(log: Log, kind: str, value: str) -> Revoked:
    """Whether it is revoked."""
    return Revoked(kind, value, *log.revocations.get((kind, value), (0.0, 0.0)))

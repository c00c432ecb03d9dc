"""What a node has to be told of after something of the owner's was applied to the mirror."""

from __future__ import annotations

from dataclasses import dataclass, field

from pushd.core.topics import Mark
from pushd.log import Advance, Change, MembersChanged


@dataclass(slots=True)
class Applied:
    """To be told in this order. ``claims``: channels that have moved, and are followed here: their
    messages are to be pulled first. ``revoked``: something was, or is no longer."""

    changes: list[Change] = field(default_factory=list)
    advances: list[Advance] = field(default_factory=list)
    members: list[MembersChanged] = field(default_factory=list)
    claims: dict[str, Mark] = field(default_factory=dict)
    revoked: bool = False

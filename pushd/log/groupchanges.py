"""What may be asked of the writer about groups (see ``changes``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pushd.errors import NotFound
from pushd.groups import GROUP
from pushd.log import members
from pushd.log.changes import Request
from pushd.log.ledger import Ledger
from pushd.log.live import MembersChanged


class ChangeMembers(Request):
    """Adds and removes, all of them or none; who is there already, or is not, stays so."""

    __slots__ = ("add", "group", "remove")

    def __init__(
        self,
        group: str,
        add: members.Names,
        remove: members.Names,
        done: Callable[[Any], None],
    ) -> None:
        super().__init__(done)
        self.group = group
        self.add = add
        self.remove = remove

    @property
    def weight(self) -> int:
        return 1 + len(self.add) + len(self.remove)

    def apply(self, ledger: Ledger) -> MembersChanged:
        return members.change(ledger, self.group, self.add, self.remove)


class DeleteGroup(Request):
    """Nobody is a member any more, and the group's channel is deleted. Refused: NotFound."""

    __slots__ = ("group",)
    wipes = True

    def __init__(self, group: str, done: Callable[[Any], None]) -> None:
        super().__init__(done)
        self.group = group

    def apply(self, ledger: Ledger) -> None:
        channel = ledger.find(GROUP + self.group)
        if not members.end(ledger, self.group) and channel is None:
            raise NotFound(f"There is no group {self.group!r}.")
        if channel is not None:
            ledger.delete(channel)

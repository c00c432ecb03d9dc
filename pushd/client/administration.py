"""Users, sessions and groups, for services whose key has scope ``read`` or ``admin``."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

import msgspec

from pushd.client.answers import decode
from pushd.client.http import Http
from pushd.client.paging import Pages
from pushd.client.people import (
    Erased,
    GroupInfo,
    GroupItem,
    GroupOfUser,
    Member,
    MembersChanged,
    NodeItem,
    Revoked,
    SessionItem,
    UserInfo,
    UserItem,
)
from pushd.errors import BadRequest, NotFound

_MOST = 1000  # items of one page


class _Kicked(msgspec.Struct, frozen=True):
    kicked: int


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(part, safe=":") for part in parts)


def _bye(reason: str | None, reconnect: bool) -> dict[str, str | int]:
    given = {} if reason is None else {"reason": reason}
    return {**given, "reconnect": "true"} if reconnect else {**given}


async def _kick(http: Http, path: str, reason: str | None, reconnect: bool) -> int:
    return decode(await http.delete(path, _bye(reason, reconnect)), _Kicked).kicked


class Users:
    """``client.users``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self, *, online: bool | None = None) -> Pages[UserItem]:
        """Those who are online or have an inbox; ``online`` True or False: only those."""
        params: dict[str, str | int] = {"limit": _MOST}
        if online is not None:
            params["online"] = "true" if online else "false"
        return Pages(self._http, "/v1/users", params, UserItem)

    async def get(self, user: str) -> UserInfo:
        """Sessions, and how far each device is. Of somebody nothing is known of: nothing."""
        return decode(await self._http.get(_path("users", user), {}), UserInfo)

    def groups(self, user: str) -> Pages[GroupOfUser]:
        """The groups that the user is in."""
        return Pages(self._http, _path("users", user, "groups"), {"limit": _MOST}, GroupOfUser)

    async def kick(self, user: str, *, reason: str | None = None, reconnect: bool = False) -> int:
        """End all sessions; how many there were. A good token lets in again: revoke it first."""
        return await _kick(self._http, _path("users", user, "sessions"), reason, reconnect)

    async def revoke(self, user: str, *, until: int | None = None) -> Revoked:
        """Refuse the user's tokens of before now, and end what lives by them.

        ``until``: ms since 1970, when the last of them has expired; 30 days if left out.
        """
        body = {"user": user} if until is None else {"user": user, "until": until}
        return decode(await self._http.post("/v1/revocations", body), Revoked)

    async def erase(self, user: str) -> Erased:
        """Delete the inboxes and whatever is recorded of the user; end the sessions."""
        return decode(await self._http.delete(_path("users", user), {}), Erased)


class Sessions:
    """``client.sessions``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self, *, user: str | None = None, node: str | None = None) -> Pages[SessionItem]:
        """All live sessions, or those of one user, or of one node."""
        params: dict[str, str | int] = {"limit": _MOST}
        if user is not None:
            params["user"] = user
        if node is not None:
            params["node"] = node
        return Pages(self._http, "/v1/sessions", params, SessionItem)

    async def kick(
        self, session: str, *, reason: str | None = None, reconnect: bool = False
    ) -> bool:
        """End one session; False: there is none of this id any more."""
        try:
            await self._http.delete(_path("sessions", session), _bye(reason, reconnect))
        except NotFound as error:
            if "foreign" in error.extra:
                raise
            return False
        return True


class Nodes:
    """``client.nodes``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> Pages[NodeItem]:
        """All nodes, as the one knows them that is asked."""
        return Pages(self._http, "/v1/nodes", {}, NodeItem)


class Groups:
    """``client.groups``. A group is there as long as somebody is in it."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self, prefix: str = "") -> Pages[GroupItem]:
        """Groups by name."""
        params: dict[str, str | int] = {"limit": _MOST}
        if prefix:
            params["prefix"] = prefix
        return Pages(self._http, "/v1/groups", params, GroupItem)

    async def get(self, group: str) -> GroupInfo:
        """How many are in it, and online. Raises NotFound when nobody is in it."""
        return decode(await self._http.get(_path("groups", group), {}), GroupInfo)

    def members(self, group: str) -> Pages[Member]:
        """Members by name."""
        return Pages(self._http, _path("groups", group, "members"), {"limit": _MOST}, Member)

    async def add(self, group: str, users: Iterable[str]) -> MembersChanged:
        """Put users in, effective at once. Who is in already stays."""
        return await self.change(group, add=users)

    async def remove(self, group: str, users: Iterable[str]) -> MembersChanged:
        """Take users out, effective at once."""
        return await self.change(group, remove=users)

    async def change(
        self, group: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> MembersChanged:
        """Both in one transaction, or nothing; at most 10,000 users."""
        if isinstance(add, str) or isinstance(remove, str):
            raise BadRequest("Users are several names: write ['alice'].")
        body = {"add": [*add], "remove": [*remove]}
        return decode(
            await self._http.post(_path("groups", group, "members"), body), MembersChanged
        )

    async def delete(self, group: str) -> MembersChanged:
        """End the group and its messages. Raises NotFound when there is neither."""
        return decode(await self._http.delete(_path("groups", group), {}), MembersChanged)

    async def kick(self, group: str, *, reason: str | None = None, reconnect: bool = False) -> int:
        """End all sessions of all members, who stay members; how many there were."""
        return await _kick(self._http, _path("groups", group, "sessions"), reason, reconnect)

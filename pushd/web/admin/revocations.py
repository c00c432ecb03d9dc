"""Revocations: tokens that count no more, although they have not expired."""

from __future__ import annotations

import heapq
import time
from functools import partial
from typing import Final

from pushd.answers import answer_of
from pushd.core.names import check_user
from pushd.core.permissions import ADMIN
from pushd.errors import BadRequest
from pushd.revocations import JTI, USER
from pushd.web.call import Call, page
from pushd.web.operation import Answer, Body, Operation
from pushd.web.params import LIMIT, NEXT, REVOKED_JTI, REVOKED_USER
from pushd.web.shapes.revocations import RevocationBody, RevocationItem, RevocationPage

DAY_S: Final = 86_400
DEFAULT_S: Final = 30 * DAY_S
LONGEST_S: Final = 3650 * DAY_S

Key = tuple[str, str]


async def list_revocations(call: Call) -> RevocationPage:
    held = call.hub.log.revocations
    now, limit = time.time(), call.args["limit"]
    by_name = {f"{kind}:{value}": (kind, value) for kind, value in held}
    wanted = (
        name for name, key in by_name.items() if name > call.args["next"] and held[key][1] > now
    )
    found, following = page(heapq.nsmallest(limit + 1, wanted), limit)
    return RevocationPage([_item(by_name[name], held[by_name[name]]) for name in found], following)


def _item(key: Key, times: tuple[float, float]) -> RevocationItem:
    at, until = (round(each * 1000) for each in times)
    return RevocationItem(at, until, **{key[0]: key[1]})


async def revoke(call: Call) -> RevocationItem:
    body: RevocationBody = call.body
    kind, value = _key(body.user, body.jti)
    now = time.time()
    until = now + DEFAULT_S if body.until is None else body.until / 1000
    if not now < until <= now + LONGEST_S:
        raise BadRequest("until must be in the future, in milliseconds since 1970.")
    times = await answer_of(partial(call.hub.log.revoke, kind, value, until))
    call.hub.enforcer.look()
    return _item((kind, value), times)


async def unrevoke(call: Call) -> None:
    kind, value = _key(call.args["user"], call.args["jti"])
    await answer_of(partial(call.hub.log.unrevoke, kind, value))


def _key(user: str | None, jti: str | None) -> Key:
    """Exactly one of them. Raises BadRequest."""
    if user is not None and jti is None:
        return USER, check_user(user)
    if jti and user is None:
        return JTI, jti
    raise BadRequest("Name either a user or the jti of a token.")


OPERATIONS = (
    Operation(
        name="list_revocations",
        method="GET",
        path="/v1/revocations",
        tag="Revocations",
        summary="Revocations that hold",
        scopes=(ADMIN,),
        whole=True,
        params=(LIMIT, NEXT),
        answers=(Answer(200, "A page of revocations.", RevocationPage),),
        handler=list_revocations,
    ),
    Operation(
        name="revoke",
        method="POST",
        path="/v1/revocations",
        tag="Revocations",
        summary="Revoke a token, or all that a user has",
        help="Of a user: every token whose iat is not later than now, and those without iat. "
        "Live sessions are ended (4001) within 5 seconds; held polls answer 401. An earlier "
        "revocation of the same user or jti is replaced.",
        scopes=(ADMIN,),
        whole=True,
        body=Body(RevocationBody, '{"user":"alice"}'),
        answers=(Answer(201, "It is on disk, and holds.", RevocationItem),),
        refusals=(507,),
        handler=revoke,
    ),
    Operation(
        name="unrevoke",
        method="DELETE",
        path="/v1/revocations",
        tag="Revocations",
        summary="Take a revocation back",
        scopes=(ADMIN,),
        whole=True,
        params=(REVOKED_USER, REVOKED_JTI),
        answers=(Answer(204, "It holds no more."),),
        refusals=(404, 507),
        handler=unrevoke,
    ),
)

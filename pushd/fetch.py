"""Fetching one small document from an address that the settings name.

Deliberately little: one GET, one plain answer 200. ``outbound.wire`` says what all it does not do.
"""

from __future__ import annotations

import trio

from pushd.errors import BadSetting
from pushd.outbound.wire import Answer, Connection, NoAnswer, Place

FETCH_S = 5.0  # from the name's look-up to the last byte

_HEADERS = [
    ("Accept", "application/jwk-set+json, application/json"),
    ("Connection", "close"),
]


async def fetch(url: str, max_bytes: int) -> bytes:
    """The body at ``url`` (http or https).

    Raises BadSetting, which names the host and the reason, when it is not to be had.
    """
    place = Place(url)
    reason = f"no whole answer within {FETCH_S:g} s"
    with trio.move_on_after(FETCH_S):
        try:
            answer = await _get(place, max_bytes)
        except NoAnswer as error:
            reason = error.reason
        else:
            if answer.status == 200:
                return answer.body
            more = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            reason = f"status {answer.status}{more}"
    raise BadSetting(f"{place.netloc}: {reason}")


async def _get(place: Place, max_bytes: int) -> Answer:
    connection = await Connection.open(place, max_bytes)
    try:
        return await connection.exchange("GET", _HEADERS)
    finally:
        await connection.close()

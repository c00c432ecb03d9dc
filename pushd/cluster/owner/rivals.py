"""Before a node opens its log to a cluster: does another one own a log there?

Two owners would each take publishes, and the edges would go over to the newer one, whose log has
none of their channels.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec
import structlog
import trio
from redis.exceptions import RedisError

from pushd.cluster.bus.address import RedisAddress
from pushd.cluster.bus.sealed import Sealed
from pushd.cluster.bus.texts import OwnerRecord
from pushd.cluster.peer import Peer
from pushd.cluster.wire import PATH, LoadBody, LoadResults
from pushd.errors import CannotStart, PushdError
from pushd.nodetokens import NodeTokens

LOOK_S: Final = 3.0  # for Redis, and for the other node

log = structlog.get_logger("pushd.cluster")

_records = msgspec.json.Decoder(OwnerRecord)
_answers = msgspec.json.Decoder(LoadResults)


async def refuse_rival(address: RedisAddress, key: str, tokens: NodeTokens, node: str) -> None:
    """Raises CannotStart when another process owns a log, and answers for it.

    ``key``: the name of its record. A record alone is no proof: it outlives its node by a lease,
    and anybody can repeat it who can write to Redis. Without Redis nothing is asked.
    """
    with trio.move_on_after(LOOK_S):
        text = await trio.to_thread.run_sync(_read, address, key, abandon_on_cancel=True)
        record = Sealed(tokens).read(key, text, _records)
        if record is not None and await _answers_for_it(record, tokens, node):
            raise CannotStart(
                f"Node {record.node} at {record.url} owns a log in this cluster already.",
                cure="Start this one with edge, stop that one first, or give each cluster its own"
                " cluster_name.",
            )


async def _answers_for_it(record: OwnerRecord, tokens: NodeTokens, node: str) -> bool:
    """Only an owner of that very generation does."""
    peer = Peer(record.url, lambda: tokens.mint(record.generation, time.time()), connections=1)
    body = msgspec.json.encode(LoadBody(record.generation, node, []))
    deadline = trio.current_time() + LOOK_S
    try:
        answer = _answers.decode(await peer.ask("POST", PATH + "load", body, deadline=deadline))
    except (PushdError, msgspec.DecodeError) as error:
        log.info("the last owner does not answer", node=record.node, reason=str(error))
        return False
    finally:
        peer.close()
    return answer.generation == record.generation


def _read(address: RedisAddress, key: str) -> object:
    """In a thread. None also where Redis cannot be asked."""
    connection = address.connection()
    try:
        connection.connect()  # type: ignore[no-untyped-call]
        connection.send_command("GET", key)  # type: ignore[no-untyped-call]
        return connection.read_response()
    except (RedisError, OSError):
        return None
    finally:
        connection.disconnect()  # type: ignore[no-untyped-call]

"""Publishes at an edge that wait until a user has the message: the owner hears of every device."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import structlog
import trio

from pushd.cluster.edge.upstream import Upstream
from pushd.cluster.wire import PATH, AwaitBody, AwaitResult
from pushd.deliveries import Deliveries, Delivery
from pushd.errors import PushdError

RETRY_S: Final = 0.5
LATE_S: Final = 1.0  # for the answer to come

log = structlog.get_logger("pushd.cluster")
_encode = msgspec.json.Encoder().encode
_result = msgspec.json.Decoder(AwaitResult)


class EdgeDeliveries(Deliveries):
    """One question to the owner for each that waits; devices of this node are heard of at once.

    ``run`` is the service: before it runs, only those are.
    """

    def __init__(self, upstream: Upstream, *parts: Any) -> None:
        super().__init__(*parts)
        self._upstream = upstream
        self._nursery: trio.Nursery | None = None
        self._asking: dict[Delivery, trio.CancelScope] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def hold(self, delivery: Delivery, *, stored_before: bool) -> None:
        """``stored_before``: the owner looks what is recorded, in any case."""
        super().hold(delivery, stored_before=False)
        if delivery.waits and self._nursery is not None:
            scope = self._asking[delivery] = trio.CancelScope()
            self._nursery.start_soon(self._ask, delivery, scope)

    def forget(self, delivery: Delivery) -> None:
        super().forget(delivery)
        scope = self._asking.pop(delivery, None)
        if scope is not None:
            scope.cancel()

    async def _ask(self, delivery: Delivery, scope: trio.CancelScope) -> None:
        """Until it has ended, which the wheel sees to at last."""
        with scope:
            while True:
                try:
                    if await self._is_delivered(delivery):
                        delivery.end(delivered=True)
                except (PushdError, msgspec.DecodeError) as error:
                    log.debug("the owner could not be asked for a delivery", reason=str(error))
                except Exception:  # the publisher's connection must not harm others
                    log.exception("a publish that waited could not be answered")
                await trio.sleep(RETRY_S)

    async def _is_delivered(self, delivery: Delivery) -> bool:
        left_s = max(delivery.deadline - trio.current_time(), 0.0)
        wanted = {
            channel: str(cursor)
            for channel, cursor in delivery.wanted.items()
            if cursor is not None
        }
        upstream = self._upstream
        body = AwaitBody(
            upstream.generation, upstream.node, delivery.user, wanted, int(left_s * 1000)
        )
        answer = await upstream.wait(
            PATH + "await", _encode(body), deadline=trio.current_time() + left_s + LATE_S
        )
        return _result.decode(answer).delivered

"""Handlers of calls, for the tests: a server is told of them by its setting ``handlers``."""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from pushd.handlers import Call, Refused, handler


class Order(msgspec.Struct):
    item: str
    count: int = 1


class Stage:
    """What the handlers tell the test, and wait for. Made anew by each test that needs it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Call, Any]] = []
        self.entered = trio.Event()
        self.go = trio.Event()
        self.left: list[str] = []


stage = Stage()


def new_stage() -> Stage:
    global stage
    stage = Stage()
    return stage


@handler("ORDER_CREATE")
async def create(call: Call, order: Order) -> dict[str, Any]:
    stage.calls.append((call, order))
    return {"item": order.item, "count": order.count, "for": call.user}


@handler("anything")
async def anything(call: Call, body) -> Any:  # type: ignore[no-untyped-def]
    stage.calls.append((call, body))
    return body


@handler("nothing")
async def nothing(call: Call) -> None:
    stage.calls.append((call, None))


@handler("raises")
async def raises(call: Call) -> None:
    raise ZeroDivisionError("of the handler")


@handler("leaves")
async def leaves(call: Call) -> None:
    raise SystemExit(3)


@handler("refuses")
async def refuses(call: Call, why: str) -> None:
    raise Refused(why, {"left": 0})


@handler("refuses-badly")
async def refuses_badly(call: Call) -> None:
    raise Refused("no", object())


@handler("unspeakable")
async def unspeakable(call: Call) -> object:
    return object()


@handler("large")
async def large(call: Call, size: int) -> str:
    return "x" * size


@handler("waits")
async def waits(call: Call) -> str:
    stage.entered.set()
    try:
        await stage.go.wait()
        await call.publish("waited", channels=["done"])
    finally:
        stage.left.append("waits")
    return "waited"


@handler("publishes")
async def publishes(call: Call, to: dict[str, Any]) -> list[dict[str, Any]]:
    return await call.publish({"by": call.user}, id="p-1", **to)


@handler("large-later")
async def large_later(call: Call) -> str:
    await stage.go.wait()
    return "x" * 60_000

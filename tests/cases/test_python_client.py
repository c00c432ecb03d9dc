"""The Python client does what the shared cases say: docs/your-own-client.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from tests.cases.files import load
from tests.cases.stage import Asked, Socket, Stage, staged

CASES = load()
WITHIN_S: Final = 5.0
_OWN: Final = ("user:", "group:")
# Steps that say what the application is told next.
_TOLD: Final = ("reset", "drop", "expiring", "read", "end")


@pytest.mark.parametrize("name", CASES)
async def test_case(name: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    async with staged(case, monkeypatch) as stage:
        script = Script(stage, case)
        await script.begin()
        for at, step in enumerate(case["steps"], start=1):
            try:
                await script.step(step)
            except AssertionError as error:
                error.add_note(f"step {at}: {step}")
                raise
        await script.end()


class Script:
    """Plays the server, and checks what the client asks and tells."""

    def __init__(self, stage: Stage, case: dict[str, Any]) -> None:
        self._stage, self._hello = stage, case.get("hello")
        self._pulled: Asked | None = None
        self._loose = False

    async def begin(self) -> None:
        """The first session. Who follows from the head may pull at once, and gets nothing."""
        while await self._until(1, lambda: self._stage.asked):
            match self._stage.asked[0]:
                case Socket() as socket:
                    self._stage.accept(socket)
                    socket.say(self._hello)
                case Asked(kind="pull") as asked if self._is_current(asked):
                    self._nothing(asked)
                case _:
                    return
            self._stage.asked.pop(0)

    def _is_current(self, asked: Asked) -> bool:
        if self._hello is None:
            return not asked.body.get("wait")
        heads = {n: f"{head['epoch']}.{head['head']}" for n, head in self._hello["heads"].items()}
        cursors: dict[str, str] = asked.body["cursors"]
        known = not asked.body.get("mine") or heads.keys() <= cursors.keys()
        return known and all(heads.get(n) == cursor for n, cursor in cursors.items())

    async def step(self, step: dict[str, Any]) -> None:
        kind, value = next(iter(step.items()))
        if kind in _TOLD:
            await self._told({kind: value})
        else:
            await getattr(self, f"_{kind}")(value, step)

    async def end(self) -> None:
        """Nothing but what was scripted."""
        if not self._loose:
            await self._quiet_s(2, {})

    # -- what the server and the network do ------------------------------------------------------

    async def _world(self, value: object, step: object) -> None:
        """Only a real server needs to be told."""

    async def _say(self, frame: object, step: object) -> None:
        assert self._stage.socket is not None
        self._stage.socket.say(frame)
        await trio.testing.wait_all_tasks_blocked()

    async def _close(self, code: int, step: object) -> None:
        assert self._stage.socket is not None
        self._stage.socket.close(code)

    async def _silence(self, value: object, step: object) -> None:
        assert self._stage.socket is not None
        self._stage.socket.deaf = True

    async def _down(self, value: object, step: object) -> None:
        self._stage.down = True

    async def _up(self, value: object, step: object) -> None:
        self._stage.down = False

    async def _answer(self, body: Any, step: dict[str, Any]) -> None:
        asked = self._pulled
        assert asked is not None
        if asked.answered.is_set():
            return
        if body is None:
            asked.fail()
        else:
            told = body["channels"][asked.body] if asked.kind == "begin" else body
            asked.respond(step.get("status", 200), told, step.get("headers"))
        await trio.testing.wait_all_tasks_blocked()

    # -- what the client asks --------------------------------------------------------------------

    async def _connect(self, expected: dict[str, Any], step: dict[str, Any]) -> None:
        socket = await self._asked(("connect",), {**step, "idle": True})
        named = {each for each in socket.channels if each != "all" and not each.startswith(_OWN)}
        assert named == set(expected["channels"])
        assert socket.token == expected.get("token", socket.token)
        if not self._stage.down:
            self._stage.accept(socket)

    async def _pull(self, expected: dict[str, Any], step: dict[str, Any]) -> None:
        asked = self._pulled = await self._asked(("pull",), step)
        assert asked.body["cursors"] == expected["cursors"]
        if "atleast" in expected:
            assert asked.body.get("atleast", {}) == expected["atleast"]
        assert (asked.body.get("wait", 0) > 0) == expected.get("held", False)
        assert asked.token == step.get("token", asked.token)

    async def _begin(self, channel: str, step: dict[str, Any]) -> None:
        asked = self._pulled = await self._asked(("begin", "pull"), step)
        if asked.kind == "begin":
            assert asked.body == channel
        else:
            assert asked.body["mine"]
            assert channel not in asked.body["cursors"]

    async def _send(self, expected: object, step: dict[str, Any]) -> None:
        assert (await self._asked(("send",), step))["send"] == expected

    async def _ack(self, cursors: dict[str, str], step: object) -> None:
        def known() -> bool:
            return cursors.items() <= self._stage.delivered.items()

        assert await self._until(WITHIN_S, known), self._stage.delivered

    # -- what the application is told ------------------------------------------------------------

    async def _deliver(self, messages: list[Any], step: object) -> None:
        for message in messages:
            await self._told({"deliver": [message]})

    async def _in_any_order(self, steps: list[dict[str, Any]], step: object) -> None:
        await self._until(WITHIN_S, lambda: len(self._stage.told) >= len(steps))
        told, self._stage.told = self._stage.told, []
        assert sorted(map(str, told)) == sorted(map(str, steps))

    async def _told(self, expected: dict[str, Any]) -> None:
        assert await self._until(WITHIN_S, lambda: self._stage.told), f"not told: {expected}"
        assert self._stage.told.pop(0) == expected

    # -- nothing ---------------------------------------------------------------------------------

    async def _quiet_s(self, seconds: float, step: object) -> None:
        stage = self._stage
        await self._until(seconds, lambda: stage.asked or stage.told)
        assert not stage.asked, "nothing should be asked"
        assert not stage.told, "nothing should be told"

    async def _idle_s(self, seconds: float, step: object) -> None:
        """Pulls may come, and bring nothing new."""
        over = trio.current_time() + seconds
        while await self._until(over - trio.current_time(), lambda: self._stage.asked):
            self._nothing(self._stage.asked.pop(0))
        assert not self._stage.told

    async def _undelivered_s(self, seconds: float, step: object) -> None:
        """What was answered is refused: asked for again from the same cursor, or an error."""
        self._loose = True
        await trio.sleep(seconds)
        assert not any("deliver" in each for each in self._stage.told)
        assert self._pulled is not None
        for asked in self._stage.asked:
            if isinstance(asked, Asked):
                assert asked.body["cursors"] == self._pulled.body["cursors"]

    def _nothing(self, asked: Any) -> None:
        assert isinstance(asked, Asked), "only pulls are expected here"
        assert asked.kind == "pull"
        if asked.body.get("wait"):
            return
        channels = {}
        for name, asked_for in asked.body["cursors"].items():
            cursor = asked_for if "." in asked_for else "none.0"
            epoch, seq = cursor.split(".")
            channels[name] = {
                "channel": name, "epoch": epoch, "first": 1, "head": int(seq),
                "next": cursor, "more": False, "messages": [],
            }  # fmt: skip
        asked.respond(200, {"channels": channels, "notices": []})

    # -- waiting ---------------------------------------------------------------------------------

    async def _asked(self, kinds: tuple[str, ...], step: dict[str, Any]) -> Any:
        """The next that the client asks, which has to be of one of these kinds."""
        stage, now = self._stage, trio.current_time()
        after_s = step.get("after_s", 0)
        until = now + step.get("within_s", WITHIN_S + after_s)
        while await self._until(until - trio.current_time(), lambda: stage.asked):
            asked = stage.asked.pop(0)
            if step.get("idle") and isinstance(asked, Asked):
                self._nothing(asked)
                continue
            assert getattr(asked, "kind", "send") in kinds, f"{asked} instead"
            assert trio.current_time() >= now + after_s, "too soon"
            return asked
        raise AssertionError(f"no {kinds[0]} in time")

    async def _until(self, seconds: float, check: Callable[[], object]) -> bool:
        with trio.move_on_after(max(seconds, 0)):
            while not check():
                await self._stage.changes()
        return bool(check())

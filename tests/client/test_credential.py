"""Keys, tokens, and functions that give them: when they are asked, and what if they fail."""

from __future__ import annotations

import httpx
import pytest
import trio
from trio.testing import MockClock

from pushd.auth import mint_token
from pushd.client import Client, NoToken, RetryPolicy
from pushd.client.credential import Credential, expiry_of
from pushd.errors import BadSetting, Unauthorized
from tests.client.stores import problem

SECRET = "s" * 40
NOW = 1_800_000_000.0


class Function:
    """Gives tokens that live so long, and counts."""

    def __init__(self, *lives: float) -> None:
        self.lives = list(lives)
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        life = self.lives.pop(0) if len(self.lives) > 1 else self.lives[0]
        began = NOW + trio.current_time()
        return mint_token(SECRET, f"u{self.asked}", ttl_s=life, now=began)


def clock() -> float:
    return NOW + trio.current_time()


async def test_a_text_is_sent_as_it_is_and_never_renewed() -> None:
    credential = Credential("key")
    assert await credential.headers() == {"Authorization": "Bearer key"}
    assert not credential.renewable
    assert not credential.refused("key")
    assert credential.renew_in() == float("inf")
    assert await Credential(None).headers() == {}


@pytest.mark.parametrize(("life", "due"), [(3600, 3540), (100, 80), (10, 8)])
async def test_it_is_renewed_before_it_expires(
    autojump_clock: MockClock, life: float, due: float
) -> None:
    function = Function(life)
    credential = Credential(function, now=clock)
    first = await credential.token()
    assert credential.renew_in() == pytest.approx(due, abs=1.1)
    await trio.sleep(due - 2)
    assert await credential.token() == first
    await trio.sleep(3)
    assert await credential.token() != first
    assert function.asked == 2


async def test_many_that_come_at_once_ask_once() -> None:
    function = Function(3600)
    credential = Credential(function, now=clock)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(credential.token)
    assert function.asked == 1


async def test_a_token_that_our_clock_calls_expired_is_left_to_the_server() -> None:
    function = Function(-5000)
    credential = Credential(function, now=clock)
    await credential.token()
    await credential.token()
    assert function.asked == 1


async def test_a_refused_token_makes_room_once() -> None:
    function = Function(3600)
    credential = Credential(function, now=clock)
    first = await credential.token()
    assert credential.refused(first)
    second = await credential.token()
    assert second != first
    assert credential.refused(first), "an old request, answered late"
    assert await credential.token() == second


@pytest.mark.parametrize("wrong", ["", "a b", None, 7])
async def test_a_function_that_gives_no_token(wrong: object) -> None:
    async def function() -> str:
        return wrong  # type: ignore[return-value]

    with pytest.raises(BadSetting):
        await Credential(function).token()


async def test_a_function_that_fails_or_hangs(autojump_clock: MockClock) -> None:
    async def fails() -> str:
        raise ValueError("no network")

    with pytest.raises(NoToken, match="ValueError: no network") as raised:
        await Credential(fails).token()
    assert isinstance(raised.value.__cause__, ValueError)

    async def hangs() -> str:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(NoToken, match="30 s"):
        await Credential(hangs).token()

    async def refuses() -> str:
        raise Unauthorized("logged out")

    with pytest.raises(Unauthorized, match="logged out"):
        await Credential(refuses).token()


async def test_what_it_raises_itself_is_told_as_it_is() -> None:
    async def impatient() -> str:
        with trio.fail_after(0):
            await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(NoToken, match="TooSlowError"):
        await Credential(impatient).token()


async def test_while_the_old_token_holds_a_failing_function_stops_nothing(
    autojump_clock: MockClock,
) -> None:
    """A token service that is down for half a minute must not hold up pulls for half a minute."""
    function = Function(3600)
    asked: list[float] = []

    async def sometimes() -> str:
        asked.append(trio.current_time())
        if len(asked) == 1:
            return await function()
        raise OSError("down")

    credential = Credential(sometimes, now=clock)
    token = await credential.token()
    await trio.sleep(3545)
    for _ in range(50):
        assert await credential.token() == token
        await trio.sleep(1)
    assert 8 <= len(asked) <= 12, "not with every request"
    await trio.sleep(10)
    with pytest.raises(NoToken, match="down"):
        await credential.token()


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a.e30.c", "a.W10.c", "a.eyJleHAiOiJ4In0.c"])
def test_what_has_no_expiry(text: str) -> None:
    assert expiry_of(text) is None


async def test_a_request_is_tried_once_more_with_a_new_token() -> None:
    function = Function(3600)
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        if len(seen) == 1:
            return problem(401, "token_expired")
        return httpx.Response(200, json={"items": [], "next": None})

    transport = httpx.MockTransport(handler)
    async with Client("http://x", function, transport=transport) as client:
        assert await client.channels() == []
    assert len(seen) == len(set(seen)) == 2


async def test_a_token_refused_again_and_again_is_an_error() -> None:
    function = Function(3600)
    transport = httpx.MockTransport(lambda _: problem(401, "unauthorized"))
    retries = RetryPolicy(give_up_s=1)
    async with Client("http://x", function, transport=transport, retries=retries) as client:
        with pytest.raises(Unauthorized):
            await client.publish("a", 1)
    assert function.asked == 2

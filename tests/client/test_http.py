"""Addresses, credentials, errors and backoff: what the client refuses before or after sending."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest
import trio

from pushd import errors
from pushd.client import Client
from pushd.client.backoff import Backoff
from pushd.client.credential import Credential
from pushd.client.http import check_url
from pushd.client.problems import (
    Kicked,
    Refused,
    Unreachable,
    error_of_answer,
    error_of_close,
    error_of_code,
    is_transient,
    parse_retry_after,
)
from pushd.errors import BadSetting, PushdError
from tests.support.app import running_server, until


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8080", "ftp://x", "http://", "http://x:y", "http://x/?a=1", "http://x/#f",
     "http://user:pw@x", "http://[::1", "http://x:99999"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(BadSetting):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://example.org/push/", "https://example.org/push"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_what_is_an_address(url: str, base: str) -> None:
    assert check_url(url) == base


@pytest.mark.parametrize("credential", ["", "a b", "a\nb", "ключ", "x\x00"])
def test_a_credential_that_fits_no_header_is_never_shown(credential: str) -> None:
    with pytest.raises(BadSetting) as raised:
        Credential(credential)
    assert not credential or credential not in str(raised.value.as_dict())


def test_every_code_of_the_table_comes_back_as_its_class() -> None:
    kinds = [errors.BadRequest, errors.Unauthorized, errors.TokenExpired, errors.Forbidden,
             errors.NotFound, errors.Conflict, errors.Expired, errors.EpochChanged,
             errors.CursorAhead, errors.TooLarge, errors.RateLimited, errors.Overloaded,
             errors.NotReady, errors.StorageFull]  # fmt: skip
    for kind in kinds:
        original = kind("why", extra={"resume": "c"})
        back = error_of_answer(kind.status, original.as_json(), {"retry-after": "3"})
        assert type(back) is kind
        assert (back.detail, back.retry_after, back.extra) == ("why", 3, {"resume": "c"})
    internal = error_of_answer(500, PushdError("oops").as_json(), {})
    assert type(internal) is PushdError


def test_an_unknown_code_keeps_its_name() -> None:
    error = error_of_code("tea_time", "come later")
    assert isinstance(error, Refused)
    assert error.named == "tea_time"
    assert "tea_time" in error.detail
    assert not is_transient(error)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (Unreachable("x"), True),
        (errors.Overloaded("x"), True),
        (errors.NotReady("x"), True),
        (errors.RateLimited("x"), True),
        (errors.RequestTimeout("x"), True),
        (PushdError("x"), True),
        (errors.StorageFull("x"), False),
        (errors.BadRequest("x"), False),
        (errors.Conflict("x"), False),
        (errors.Unauthorized("x"), False),
    ],
)
def test_what_is_worth_another_attempt(error: PushdError, transient: bool) -> None:
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("", None), ("5", 5), ("0", 0), ("-1", None), ("1.5", None), ("٣", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("99999999999999999999", 300)],
)  # fmt: skip
def test_retry_after(text: str | None, seconds: int | None) -> None:
    assert parse_retry_after(text) == seconds


def test_a_close_says_code_and_reason() -> None:
    error = error_of_close(4009, "spam")
    assert isinstance(error, Kicked)
    assert "4009" in error.detail
    assert "spam" in error.detail


def test_backoff_doubles_up_to_its_cap_and_jitters_fully() -> None:
    backoff = Backoff(1, 30, random.Random(3))
    delays = [backoff.next_delay() for _ in range(4000)]
    assert all(delay <= min(30, 2**n) for n, delay in enumerate(delays[:10]))
    late = delays[100:]
    assert max(late) > 29
    assert min(late) < 1
    assert 14 < sum(late) / len(late) < 16
    backoff.reset()
    assert backoff.next_delay() <= 1


def test_backoff_waits_at_least_what_the_server_asks() -> None:
    backoff = Backoff(1, 30, random.Random(3))
    assert 20 <= backoff.next_delay(20) <= 21
    assert len({Backoff(1, 30).next_delay(20) for _ in range(20)}) > 10, "a crowd is spread"


async def test_requests_that_are_held_leave_room_for_the_others(tmp_path: Path) -> None:
    """One client serves any number of tasks: a hundred that wait keep nobody from publishing."""
    async with running_server(tmp_path, max_connections_per_user=1000) as server:
        url = f"http://127.0.0.1:{server.port}"
        token = server.token("alice", publish=["*"])
        async with Client(url, token) as client, trio.open_nursery() as nursery:
            for _ in range(101):
                nursery.start_soon(partial(client.pull, "news", after="none.0", wait=60))
            await until(lambda: len(server.hub.pulls.held) == 101)
            with trio.fail_after(50):
                await client.publish("other", 1)
            nursery.cancel_scope.cancel()

"""Key sets from an address: fetched from a real web server, whatever that answers."""

from __future__ import annotations

import gzip
import ssl
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from pushd import fetch as fetching
from pushd import keysource
from pushd.errors import BadSetting
from pushd.keysets import MAX_JWKS_BYTES
from pushd.keysource import Place, RefreshedKeys, Sources, load_all
from pushd.outbound import wire
from tests.support.app import until
from tests.support.jwks import ISS, Provider, key_set, ok, provider
from tests.support.server import free_port
from tests.support.tls import certificate

ALGS = frozenset({"EdDSA"})


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "FETCH_S", 60.0)


async def fetch(url: str) -> bytes:
    return await fetching.fetch(url, MAX_JWKS_BYTES)


def source_of(host: Provider, refresh_s: float = 3600) -> RefreshedKeys:
    return RefreshedKeys(Place(ALGS, None, ISS, url=host.url), refresh_s)


def kids(source: RefreshedKeys) -> list[str | None]:
    return [key.key.kid for key in source.keys]


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_fetching_sends_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No credentials of the machine's user, no cookie, and no detour by a proxy."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with provider() as host:
        assert await fetch(host.url) == key_set("one")
    [head] = host.heads
    assert b"authorization" not in head.lower()
    assert b"cookie" not in head.lower()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer("500 Oops", "Content-Length: 0"), "status 500"),
        (answer("404 Not Found", body=key_set("one")), "status 404"),
        (answer("204 No Content"), "status 204"),
        (answer("206 Partial Content", body=key_set("one")), "status 206"),
        (answer("304 Not Modified"), "status 304"),
        (ok(b"x" * (MAX_JWKS_BYTES + 1)), "more than"),
        (answer("200 OK", body=b"x" * (MAX_JWKS_BYTES + 1)), "more than"),
        (ok(gzip.compress(b"x" * 10**7), "Content-Encoding: gzip"), "compressed"),
        (ok(b"x", "Content-Encoding: br"), "compressed"),
        (answer("200 OK", "Content-Length: 100", body=b"{"), "no proper HTTP"),
        (answer("200 OK", *(f"X-{at}: {'y' * 1000}" for at in range(200))), "no proper HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no proper HTTP"),
        (b"", "no "),
    ],
    ids=lambda value: ascii(value[:40]),
)
async def test_answers_that_are_refused(given: bytes, reason: str) -> None:
    async with provider() as host:
        host.answer = given
        with pytest.raises(BadSetting) as caught:
            await fetch(host.url)
    assert reason in caught.value.detail
    assert len(caught.value.detail) < 150


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target", ["/other", "http://127.0.0.1:{port}/inner", "file:///etc/passwd"]
)
async def test_redirects_are_not_followed(status: int, target: str) -> None:
    async with provider() as host:
        location = target.format(port=host.port)
        host.answer = answer(f"{status} Elsewhere", f"Location: {location}", "Content-Length: 0")
        with pytest.raises(BadSetting, match="redirects are not followed"):
            await fetch(host.url)
        assert host.paths == ["/jwks.json"]


@pytest.mark.parametrize("drip", [False, True])
async def test_a_slow_server_is_given_up(drip: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "FETCH_S", 0.3)
    async with provider() as host:
        host.drip = drip
        if not drip:
            host.go = trio.Event()
        with trio.fail_after(60), pytest.raises(BadSetting, match="no whole answer"):
            await fetch(host.url)


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSetting, match="cannot be reached"):
        await fetch(f"http://127.0.0.1:{free_port()}/jwks.json")
    monkeypatch.setattr(fetching, "FETCH_S", 5.0)  # for those who look names up in vain
    with pytest.raises(BadSetting, match=r"nowhere\.invalid"):
        await fetch("https://nowhere.invalid/")


@pytest.mark.parametrize(
    ("name", "trusted", "fine"),
    [("localhost", True, True), ("localhost", False, False), ("example.com", True, False)],
)
async def test_the_certificate_is_checked(
    name: str, trusted: bool, fine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = certificate(tmp_path, name)
    if trusted:
        known = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        monkeypatch.setattr(wire, "_context", lambda: known)
    async with provider(context) as host:
        url = f"https://localhost:{host.port}/jwks.json"
        if fine:
            assert await fetch(url) == key_set("one")
        else:
            with pytest.raises(BadSetting, match="its certificate is not accepted"):
                await fetch(url)
            assert host.asked == 0


async def test_failures_keep_the_keys_and_are_told() -> None:
    async with provider() as host:
        source = source_of(host)
        assert await source.load()
        assert kids(source) == ["one"]
        bad: list[Any] = [
            b"",
            ok(b"{}"),
            ok(b'{"keys":[]}'),
            answer("500 Oops"),
            ok(b"\0" * 300_000),
        ]
        for host.answer in bad:
            with structlog.testing.capture_logs() as entries:
                assert not await source.load()
            [entry] = entries
            assert (entry["event"], entry["kept"]) == ("keys not refreshed", 1)
            assert kids(source) == ["one"]
        host.publish("two", "three")
        assert await source.load()
        assert kids(source) == ["two", "three"]


async def test_a_fault_of_the_library_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider() as host:
        source = source_of(host)
        await source.load()

        async def fail(*_: object) -> bytes:
            raise RuntimeError("secret")

        monkeypatch.setattr(keysource, "fetch", fail)
        with structlog.testing.capture_logs() as entries:
            assert not await source.load()
        assert "secret" not in str(entries)
        assert kids(source) == ["one"]


async def test_the_log_names_no_query() -> None:
    async with provider() as host:
        place = Place(ALGS, None, ISS, url=f"{host.url}?secret=x")
        host.answer = b""
        with structlog.testing.capture_logs() as entries:
            await RefreshedKeys(place, 10).load()
        assert "secret" not in str(entries)
        assert host.url in str(entries)


async def test_it_refreshes_by_itself(mock_clock: trio.testing.MockClock) -> None:
    """Time jumps when the test says so; the web server is a real one none the less."""
    mock_clock.rate = 1.0

    async def later(seconds: float) -> None:
        await trio.testing.wait_all_tasks_blocked()  # it sleeps by now
        mock_clock.jump(seconds)

    async with provider() as host, trio.open_nursery() as nursery:
        source = source_of(host, refresh_s=1000)
        await load_all((source,))
        nursery.start_soon(source.run)
        host.publish("two")
        await later(800)
        await trio.testing.wait_all_tasks_blocked()
        assert (kids(source), host.asked) == (["one"], 1)
        await later(250)
        await until(lambda: kids(source) == ["two"])
        assert host.asked == 2
        host.answer = answer("500 Oops")
        with structlog.testing.capture_logs() as told:
            await later(1000)
            await until(lambda: told)
        assert (told[0]["event"], host.asked) == ("keys not refreshed", 3)
        host.publish("three")
        await later(31)  # sooner than else: the last one failed
        await until(lambda: kids(source) == ["three"])
        nursery.cancel_scope.cancel()


async def test_unknown_kids_cause_one_fetch_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(keysource.time, "monotonic", lambda: now)
    async with provider() as host, trio.open_nursery() as nursery:
        source = source_of(host)
        await source.load()
        nursery.start_soon(source.run)
        host.go = trio.Event()
        assert all(source.ask() for _ in range(1000))
        with trio.fail_after(60):
            while host.asked < 2:
                await trio.sleep(0.01)
        assert source.ask()  # under way
        host.go.set()
        with trio.fail_after(60):
            while source.ask():
                await trio.sleep(0.01)
        now += 9.9
        assert not any(source.ask() for _ in range(1000))
        assert host.asked == 2
        now += 0.2
        assert source.ask()
        nursery.cancel_scope.cancel()


async def test_what_is_asked_for_while_keys_are_fetched_causes_no_other_fetch() -> None:
    async with provider() as host, trio.open_nursery() as nursery:
        source = source_of(host)
        await source.load()
        nursery.start_soon(source.run)
        host.go = trio.Event()
        source.wake()
        with trio.fail_after(60):
            while host.asked < 2:
                await trio.sleep(0.01)
        assert all(source.ask() for _ in range(1000))
        host.publish("two")
        host.go.set()
        with trio.fail_after(60):
            while kids(source) != ["two"]:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert host.asked == 2
        nursery.cancel_scope.cancel()


async def test_the_same_keys_are_no_change() -> None:
    """Nobody is looked through, and the log says nothing."""
    changes = []
    async with provider() as host:
        source = source_of(host)
        source.on_change = lambda: changes.append(kids(source))
        for kid in ("one", "one", "two", "two"):
            host.publish(kid)
            assert await source.load()
    assert changes == [["one"], ["two"]]


async def test_without_any_keys_nobody_is_told_that_a_token_is_wrong() -> None:
    async with provider() as host:
        host.answer = answer("500 Oops")
        source = source_of(host)
        await source.load()
        assert source.ask()
        source._loading = False  # nobody runs it here
        assert source.ask()


async def test_only_the_sources_of_now_are_asked() -> None:
    async with provider() as host, provider() as other, trio.open_nursery() as nursery:
        one, two = source_of(host), source_of(other)
        changes = []
        sources = Sources((one,))
        sources.on_change = lambda: changes.append(1)
        await nursery.start(sources.run)
        assert (host.asked, other.asked) == (1, 0)
        assert kids(one) == ["one"]
        changes.clear()
        sources.replace((two,))
        one.wake()
        two.wake()
        with trio.fail_after(60):
            while not changes:
                await trio.sleep(0.01)
        assert (host.asked, other.asked) == (1, 1)
        assert kids(two) == ["one"]
        nursery.cancel_scope.cancel()


async def test_a_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    source = RefreshedKeys(Place(ALGS, None, None, file=path), 3600)
    assert not await source.load()
    path.write_bytes(key_set("one"))
    assert await source.load()
    path.write_bytes(b"{")
    assert not await source.load()
    path.write_bytes(key_set("two").ljust(MAX_JWKS_BYTES + 1))
    assert not await source.load()
    path.unlink()
    assert not await source.load()
    assert kids(source) == ["one"]
    path.write_bytes(key_set("two"))
    assert await source.load()
    assert kids(source) == ["two"]

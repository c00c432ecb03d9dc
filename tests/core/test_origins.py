"""One list of origins; look-alikes are others."""

from __future__ import annotations

import pytest

from pushd.core.origins import Origins

LISTED = "https://app.example.com"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (LISTED, True),
        ("https://app.example.com:8443", False),
        ("https://app.example.com:443", False),
        ("http://app.example.com", False),
        ("https://APP.example.com", False),
        ("HTTPS://app.example.com", False),
        ("https://app.example.com/", False),
        ("https://app.example.com.evil.net", False),
        ("https://evil-app.example.com", False),
        ("https://evil.net#https://app.example.com", False),
        ("https://app.example.co", False),
        (" https://app.example.com", False),
        ("https://app.example.com, https://evil.net", False),
        ("null", False),
        ("", False),
        ("http://localhost:5173", False),
        ("*", False),
    ],
)
def test_only_exactly_what_is_listed(origin: str, allowed: bool) -> None:
    assert Origins([LISTED]).allows(origin) is allowed
    assert Origins([LISTED]).allows_upgrade(origin, "push.example.com") is allowed


def test_null_only_when_listed() -> None:
    assert Origins(["null"]).allows("null")
    assert not Origins([]).allows_upgrade("null", "push.example.com")
    assert not Origins([]).allows_upgrade("null", "")  # HTTP/1.0 may come without a host


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost", True),
        ("http://localhost:5173", True),
        ("https://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost.evil.net", False),
        ("http://localhost:5173.evil.net", False),
        ("http://localhost:123456", False),
        ("http://127.0.0.1.nip.io", False),
        ("http://127.0.0.2", False),
        ("ftp://localhost", False),
        ("http://localhost\n", False),
        ("http://evil.net/http://localhost", False),
    ],
)
def test_in_development_pages_of_this_machine(origin: str, allowed: bool) -> None:
    assert Origins([], loopback=True).allows(origin) is allowed


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "push.example.com", True),  # programs send none
        ("https://push.example.com", "push.example.com", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("https://push.example.com", "push.example.com:8080", False),
        ("https://push.example.com.evil.net", "push.example.com", False),
        ("https://evil.net", "push.example.com", False),
        ("null", "null", False),
        ("", "", True),  # no Origin and no Host: an HTTP/1.0 program
    ],
)
def test_an_upgrade_may_also_come_from_a_page_of_this_very_host(
    origin: str | None, host: str, allowed: bool
) -> None:
    assert Origins([]).allows_upgrade(origin, host) is allowed

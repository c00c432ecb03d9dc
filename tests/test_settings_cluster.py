"""Settings of several nodes: what a node refuses to start with, and what it shows."""

from __future__ import annotations

import pytest

from pushd.errors import BadSetting
from pushd.settings import load
from pushd.settings.model import by_name

KEY = {"PUSHD_CLUSTER_KEY": "a-key-that-all-nodes-share"}
HERE = {"redis": "redis://127.0.0.1:6379/0"}
THERE = {"redis": "rediss://redis.example.com:6380"}


@pytest.mark.parametrize(
    "options",
    [
        HERE,
        {**HERE, "workers": "3"},
        {**HERE, "listen": "127.0.0.1:0"},
        {**HERE, "advertise": "http://127.0.0.1:8080"},
        {"redis": "unix:///run/redis.sock", "workers": "1", "listen": "0.0.0.0:80"},
        {**THERE, "listen": "10.0.0.7:8080"},
        {**THERE, "listen": "0.0.0.0:8080", "advertise": "https://a.example.com"},
        {**THERE, "listen": "0.0.0.0:8080", "cluster_listen": "10.0.0.7:8081", "workers": "3"},
        {**THERE, "listen": "0.0.0.0:8080", "edge": "true"},
        {"redis": "sentinel://a.example.com:26379,b.example.com:26379/push", "edge": "true"},
    ],
)
def test_a_cluster_that_can_be(options: dict[str, str]) -> None:
    assert load(environ=KEY, options=options).settings.redis == options["redis"]


@pytest.mark.parametrize(
    ("environ", "options", "says"),
    [
        ({}, HERE, "needs cluster_key"),
        (KEY, {"edge": "true"}, "edge: needs redis"),
        (KEY, {"workers": "2"}, "workers: needs redis"),
        (KEY, {"advertise": "http://a.example.com"}, "advertise: needs redis"),
        (KEY, THERE, "127.0.0.1 cannot be reached"),
        (KEY, {**THERE, "listen": "0.0.0.0:8080"}, "does not say where others reach"),
        (KEY, {**THERE, "advertise": "http://localhost:8080"}, "localhost cannot be reached"),
        (KEY, {**THERE, "advertise": "http://0.0.0.0:8080"}, "0.0.0.0 cannot be reached"),
        (KEY, {**THERE, "workers": "2", "listen": "10.0.0.7:80"}, "127.0.0.1 cannot be reached"),
        (
            KEY,
            {**THERE, "workers": "2", "advertise": "http://10.0.0.7:80"},
            "needs cluster_listen",
        ),
        ({"PUSHD_CLUSTER_KEY": "short"}, HERE, "must have at least 16"),
        (KEY, {"redis": "http://127.0.0.1"}, "must begin with redis://"),
        (KEY, {"redis": "redis://"}, "names no host"),
        (KEY, {"redis": "unix://"}, "needs the path"),
        (KEY, {"redis": "sentinel://a:26379"}, "name of the service"),
    ],
)
def test_a_cluster_that_cannot_be(
    environ: dict[str, str], options: dict[str, str], says: str
) -> None:
    with pytest.raises(BadSetting, match=says):
        load(environ=environ, options=options)


def test_development_makes_the_key_up() -> None:
    load(environ={}, options={**HERE, "dev": "true"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:hidden@127.0.0.1", "redis://:***@127.0.0.1"),
        ("rediss://me:hidden@h:1/0?ssl_password=hidden", "rediss://me:***@h:1/0"),
        ("sentinel://me:hidden@a:1,b:2/push", "sentinel://me:***@a:1,b:2/push"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    kind = by_name()["redis"].kind
    assert kind.show(url) == kind.plain(url) == shown

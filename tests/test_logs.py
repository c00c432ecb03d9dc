"""No credential reaches a log line, whichever way it takes."""

from __future__ import annotations

import errno
import io
import json
import logging
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from pushd import logs
from pushd.nodetokens import NodeTokens

NODE = NodeTokens(b"the key of a cluster", "edge").mint("g", 1e9)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl-_"
KEY = "k3y-of-a-service"


pytestmark = pytest.mark.usefixtures("own_logging")


def written(form: str = "json", level: str = "info") -> tuple[Any, io.StringIO]:
    stream = io.StringIO()
    logs.configure(form, level, stream)
    return structlog.get_logger(), stream


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"got {JWT}, refused", "got [redacted], refused"),
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer [redacted]"),
        (f"pushd.v1, bearer.{JWT}", "pushd.v1, bearer [redacted]"),
        (f"GET /v1/ws?token={KEY}&channels=a HTTP/1.1", "?token=[redacted]&channels=a"),
        (f"/v1/events?channels=a&access_token={KEY}", "channels=a&access_token=[redacted]"),
        (f"next=%2Fv1%2Fws%3Ftoken%3D{KEY}", "token%3D[redacted]"),
        (f"PUSHD_API_KEY={KEY}", "PUSHD_API_KEY=[redacted]"),
        (f"what is {{'token': '{KEY}', 'a': 1}}?", "what is {'token': '[redacted]', 'a': 1}?"),
        (f'{{"Cookie":"sid={KEY}","a":1}}', '{"Cookie":"[redacted]","a":1}'),
        (f"{{'authorization': {KEY.encode()!r}}}", "{'authorization': b'[redacted]'}"),
        (f"cut off: {JWT[:30]}", "cut off: [redacted]"),
        (f"of {NODE}, refused", "of [redacted], refused"),
        (f"redis://pushd:{KEY}@10.0.0.9/0 is away", "redis://pushd:[redacted]@10.0.0.9/0 is"),
        (f"rediss://:{KEY}@cache:6379", "rediss://:[redacted]@cache:6379"),
        (f"PUSHD_CLUSTER_KEY={KEY}", "PUSHD_CLUSTER_KEY=[redacted]"),
    ],
)
def test_credentials_are_cut_out_of_text(text: str, left: str) -> None:
    clean = logs.redact_text(text)
    assert left in clean
    assert KEY not in clean
    assert JWT[:30] not in clean
    assert NODE[:24] not in clean


@pytest.mark.parametrize(
    "text",
    [
        "0mhx3f9ab.41",
        "user:alice",
        "tokens: 3",
        "{'tokens': 3}",
        "eyes.example.com",
        "http://[::1]:80/a@b",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert logs.redact_text(text) == text


@given(
    st.recursive(
        st.sampled_from([JWT, f"Bearer {KEY}", JWT.encode(), ValueError(JWT)]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_no_depth_and_no_type_hides_a_credential(value: object) -> None:
    clean = logs.redact(None, "info", {"event": "x", "value": value})
    text = json.dumps(clean)
    assert JWT not in text
    assert KEY not in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_every_way_into_the_log_is_clean(form: str) -> None:
    log, stream = written(form)
    log.info("pulled", url=f"/v1/pull?token={KEY}", token=KEY, identity={"secret": KEY})
    try:
        raise ValueError(f"Bearer {KEY}")  # noqa: TRY301
    except ValueError:
        log.exception("failed")
        logging.getLogger("hypercorn.error").exception("failed with %s", JWT)
    text = stream.getvalue()
    assert text.count("failed") >= 2
    assert "Traceback" in text
    assert KEY not in text
    assert JWT not in text


def test_json_lines_have_time_level_and_event_first() -> None:
    log, stream = written()
    log.info("started", listen="127.0.0.1:1", count=3)
    logging.getLogger("quart.app").warning("odd")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert list(first) == ["time", "level", "event", "listen", "count"]
    assert first["time"].endswith("Z")
    assert first["count"] == 3
    assert (second["logger"], second["level"], second["event"]) == ("quart.app", "warning", "odd")


def test_levels() -> None:
    log, stream = written(level="warning")
    log.info("quiet")
    for name in ("trio-websocket", "hypercorn.access", "anything"):
        logging.getLogger(name).info("quiet")
    assert stream.getvalue() == ""
    log.warning("loud")
    assert "loud" in stream.getvalue()


def test_a_second_call_replaces_the_first() -> None:
    _, before = written()
    _, after = written()
    logging.getLogger("quart").error("once")
    assert before.getvalue() == ""
    assert after.getvalue().count("once") == 1


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "the disk is full")

    def flush(self) -> None:
        raise OSError(errno.EIO, "the terminal was closed")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_stream_that_takes_no_more_harms_nobody(form: str) -> None:
    logs.configure(form, "info", Full())
    structlog.get_logger().warning("unheard")
    logging.getLogger("quart").error("unheard, too")


def test_no_colours_off_a_terminal() -> None:
    log, stream = written("console")
    log.warning("plain")
    assert "\x1b" not in stream.getvalue()

"""The description and the server agree: generated requests, their answers checked against it.

Deterministic: the same requests each time, a dozen per operation and phase.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pushd.web.openapi import openapi
from tests.support.server import ROOT

KEY = "key-of-a-service"
EXAMPLES = 12
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
]

_described = openapi()
for endless in ("/v1/events", "/v1/ws"):  # an answer without an end, and no HTTP
    del _described["paths"][endless]
schema = schemathesis.openapi.from_dict(_described)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own; what it logs is looked at in the end."""
    home = tmp_path_factory.mktemp("described")
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PUSHD_")}
    environ = {**clean, "PUSHD_API_KEY": KEY, "PUSHD_MAX_WAIT": "10ms"}
    environ["PUSHD_SHED_LAG"] = "1h"  # a machine that is busy is not what this is about
    command = [sys.executable, "-m", "pushd", "serve", "--listen", "127.0.0.1:0"]
    command += ["--data", str(home / "data"), "--min-free-disk", "0", "--log-format", "json"]
    log = home / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        assert process.stdout is not None
        ready = _ready_line(process)
        yield ready
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    _check_log(log)


def _ready_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(rb"ready on (http://\S+)", line)
        if found:
            return found[1].decode()
    raise AssertionError("the server did not start")


def _check_log(path: Path) -> None:
    text = path.read_text()
    assert "Traceback" not in text
    assert '"level": "error"' not in text
    assert KEY not in text


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_described(case: Any, url: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=60)

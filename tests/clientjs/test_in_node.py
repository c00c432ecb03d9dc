"""The tests of client-js that need no browser: Node runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client-js"
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="there is no Node here")
def test_in_node() -> None:
    """PUSHD_RUNS=10000 looks longer; a run that fails names its seed, and PUSHD_SEED replays it."""
    assert NODE is not None
    environ = {"PUSHD_RUNS": "500", **os.environ}
    done = subprocess.run(
        [NODE, "--test", "test/"],
        cwd=CLIENT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

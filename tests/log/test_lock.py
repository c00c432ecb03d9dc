"""One process per log, and a refusal that says which."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pushd.errors import CannotStart
from pushd.log.lock import LOCK
from pushd.log.startup import open_log
from tests.log.support import OPTIONS, open_and_close, opened


def test_a_second_process_is_told_who_holds_the_log(tmp_path: Path) -> None:
    """Another process holds it; the refusal names process, host, time and address."""
    program = (
        "import sys; from pathlib import Path; from pushd.log import LogOptions;"
        "from pushd.log.startup import open_log;"
        "held = open_log(Path(sys.argv[1]), LogOptions(listen='127.0.0.1:8080'));"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CannotStart) as caught:
            open_log(tmp_path, OPTIONS)
        holder.kill()
    record = json.loads((tmp_path / LOCK).read_bytes())
    for part in (f"process {holder.pid} ", record["host"], record["since"], "127.0.0.1:8080"):
        assert part in caught.value.detail
    # Killed: the lock is gone with it, whatever stands in the file.
    open_and_close(tmp_path)
    assert (tmp_path / LOCK).read_bytes() == b""


async def test_a_second_log_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(CannotStart, match=f"process {os.getpid()} "):
            open_log(tmp_path, OPTIONS)


def test_a_lock_without_a_readable_record_is_still_a_lock(tmp_path: Path) -> None:
    with (tmp_path / LOCK).open("wb") as file:
        file.write(b"{half")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CannotStart, match="not written yet who it is"):
            open_log(tmp_path, OPTIONS)

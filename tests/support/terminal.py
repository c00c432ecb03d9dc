"""What a program writes to a real terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def on_a_terminal(*words: str, cwd: Path | None = None, **environ: str) -> str:
    """``pushctl WORDS`` with more in its environment, which has to end well: all of its output."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pushd", *words]
    env: Mapping[str, str] = {**os.environ, "TERM": "xterm", "COLUMNS": "120", **environ}
    with subprocess.Popen(
        command, stdout=theirs, stdin=subprocess.DEVNULL, env=env, cwd=cwd
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while more := os.read(ours, 65536):
                written += more
        except OSError:  # EIO: the other side has closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return written.decode()

"""A disk that fails on demand under a real process: ``faultdisk.c``, switched by a file."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("faultdisk.c")


def build() -> Path:
    """The shared library, compiled once per version of its source."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"pushd-faultdisk-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    library = directory / f"faultdisk-{digest}.so"
    if not library.exists():
        compiler = shutil.which("cc") or sysconfig.get_config_var("CC").split()[0]
        unfinished = directory / f"{os.getpid()}.so"
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", unfinished]
        subprocess.run([*command, SOURCE, "-ldl", "-lpthread"], check=True)
        # Two test runs may do this at once: a file appears whole or not at all.
        unfinished.rename(library)
    return library


class FaultDisk:
    """Start the process with ``environment()``; then say what fails, and when it is over."""

    def __init__(self, directory: Path) -> None:
        self._control = directory / "faults"
        self._library = build()

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "LD_PRELOAD": str(self._library),
            "FAULTDISK": str(self._control),
        }

    def refuse(self, *rules: str) -> None:
        """Rules as in ``faultdisk.c``: ``sync EIO pushd.db-wal``, ``write ENOSPC pushd.db``."""
        unfinished = self._control.with_suffix(".new")
        unfinished.write_text("\n".join(rules))
        unfinished.rename(self._control)

    def mend(self) -> None:
        self._control.unlink(missing_ok=True)

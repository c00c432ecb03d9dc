"""Which files are synced and renamed, in their order: what a power cut would show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """'sync NAME' and 'NAME -> NAME' of all that this process does from now on, as it is done."""
    steps: list[str] = []

    def note_sync(name: str) -> None:
        real = getattr(os, name)

        def sync(fd: int) -> None:
            steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")
            real(fd)

        monkeypatch.setattr(os, name, sync)

    def note_rename(name: str) -> None:
        real = getattr(os, name)

        def rename(source: Any, target: Any, **named: Any) -> None:
            steps.append(f"{Path(source).name} -> {Path(target).name}")
            real(source, target, **named)

        monkeypatch.setattr(os, name, rename)

    for name in ("fsync", "fdatasync"):
        note_sync(name)
    for name in ("rename", "replace"):
        note_rename(name)
    return steps

"""The shared cases of ``cases/``: what a client does, whatever it is written in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[2] / "cases"


def load() -> dict[str, dict[str, Any]]:
    """All of them, by ``FILE:NAME``."""
    return {
        f"{path.stem}:{case['name']}": case
        for path in sorted(CASES.glob("*.json"))
        for case in json.loads(path.read_text("utf-8"))["cases"]
    }

"""Durations and sizes as people write them: "25s", "1h30m", "64KiB". Bare: seconds, bytes."""

from __future__ import annotations

import re

_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)?")
_COUNT = re.compile(r"[0-9]+(?:_[0-9]+)*")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
# Longer digit strings name nothing real, and int() of them takes quadratic time.
_MAX_TEXT = 32


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError that shows the form."""
    text = text.strip()
    if len(text) <= _MAX_TEXT:
        if _NUMBER.fullmatch(text):
            return float(text)
        if _DURATION.fullmatch(text):
            return sum(float(n) * _SECONDS[unit] for n, unit in _DURATION_PART.findall(text))
    raise ValueError(f"{_quote(text)} is no duration: write 250ms, 25s, 10m, 24h or 7d")


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError that shows the form."""
    text = text.strip()
    found = _SIZE.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if found is not None:
        number, unit = found.group(1), (found.group(2) or "b").lower()
        if unit in _BYTES:
            return round(float(number) * _BYTES[unit])
        if unit + "ib" in _BYTES:
            raise ValueError(f"{_quote(text)} is no size: did you mean {number}{unit.upper()}iB?")
    raise ValueError(f"{_quote(text)} is no size: write 4096, 64KiB, 16MiB or 1GiB")


def parse_count(text: str) -> int:
    """A whole number; ``_`` may group its digits. Raises ValueError."""
    text = text.strip()
    if len(text) <= _MAX_TEXT and _COUNT.fullmatch(text):
        return int(text)
    raise ValueError(f"{_quote(text)} is no whole number: write 1000 or 20_000")


def show_duration(seconds: float) -> str:
    """The largest unit that needs no fraction; days and minutes only from two on (24h, 60s)."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    for unit, size, least in (("d", 86_400_000, 2), ("h", 3_600_000, 1), ("m", 60_000, 2)):
        if milliseconds % size == 0 and milliseconds // size >= least:
            return f"{milliseconds // size}{unit}"
    if milliseconds % 1000 == 0:
        return f"{milliseconds // 1000}s"
    return f"{milliseconds}ms"


def show_size(size: int) -> str:
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def _quote(text: str) -> str:
    """Cut short, so that a wrongly pasted file does not fill the screen."""
    return repr(text if len(text) <= 40 else text[:39] + "…")

"""Kinds of settings that are several texts: origins, networks, names."""

from __future__ import annotations

from pathlib import Path

from pushd.settings.kinds import Kind


class Texts(Kind[tuple[str, ...]]):
    """With commas between them, or none; in TOML a list."""

    in_quotes = False  # whether TOML may have them as one text as well

    def read(self, texts: list[str]) -> tuple[str, ...]:
        """Each once. Raises ValueError."""
        raise NotImplementedError

    def parse(self, text: str) -> tuple[str, ...]:
        if text.strip().lower() in ("", "none"):
            return ()
        return self.read([part.strip() for part in text.split(",")])

    def from_toml(self, value: object, base: Path) -> tuple[str, ...]:
        if self.in_quotes and isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f'must be a list, like ["{self.form.partition(",")[0]}"]')
        return self.read(value)

    def show(self, value: tuple[str, ...]) -> str:
        return ", ".join(value) or "none"

    def plain(self, value: tuple[str, ...]) -> object:
        return list(value)

"""How a setting is declared: once, as a dataclass field that carries its kind and its help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from pushd.settings.kinds import Kind, T

_KEY = "pushd.setting"


@dataclass(frozen=True, slots=True)
class Declared:
    """One setting, as the file reader, the command line and the documentation see it."""

    name: str
    kind: Kind[Any]
    help: str
    default: Any
    default_text: str
    common: bool  # shown in the short help of ``serve``

    @property
    def variable(self) -> str | None:
        return f"PUSHD_{self.name.upper()}" if self.kind.in_text else None

    @property
    def option(self) -> str | None:
        """None for secrets: every user of a machine can read a command line."""
        if self.kind.secret or not self.kind.in_text:
            return None
        return "--" + self.name.replace("_", "-")


def setting(
    default: T | Callable[[], T],
    kind: Kind[T],
    help_: str,
    *,
    common: bool = False,
    default_text: str | None = None,
) -> T:
    """A field of a settings class. A callable makes the default: name it in ``default_text``."""
    metadata = {_KEY: (kind, help_, common, default_text)}
    if callable(default):
        return field(default_factory=default, metadata=metadata, repr=not kind.secret)
    return field(default=default, metadata=metadata, repr=not kind.secret)


def declared(group: type) -> list[Declared]:
    """The settings of one group, in the order they are written."""
    return [_declared(item) for item in fields(group)]


def _declared(item: Field[Any]) -> Declared:
    kind, help_, common, default_text = item.metadata[_KEY]
    default = item.default if item.default_factory is MISSING else item.default_factory()
    text = kind.show(default) if default_text is None else default_text
    return Declared(item.name, kind, help_, default, text, common)

"""What a case calls ``0mwqm7aaa`` or ``s1`` has another value at a real server."""

from __future__ import annotations

import re
from typing import Any

EPOCHS = ("0mwqm7aaa", "0mwqm7bbb")
_NAME = re.compile(r"\b(0mwqm7aaa|0mwqm7bbb|s[12])\b")
# Known by their place only.
_FREE = frozenset({"at", "node", "detail", "cure", "title", "expires", "retry_after_ms"})


class Binding:
    """A name has one value from its first sight on, and no two have the same."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def met(self, epoch: str) -> None:
        """Epochs have their names in the order in which they come."""
        if epoch not in self._values.values():
            free = [name for name in EPOCHS if name not in self._values]
            self._values[free[0]] = epoch

    def real(self, value: Any) -> Any:
        """With values instead of names."""
        if isinstance(value, dict):
            return {self.real(name): self.real(each) for name, each in value.items()}
        if isinstance(value, str):
            return _NAME.sub(lambda found: self._values[found[0]], value)
        return value

    def check(self, expected: Any, said: Any) -> None:
        """Everything that is expected is there, in its order; more may be."""
        if isinstance(expected, dict):
            for name, value in expected.items():
                real = self.real(name)
                assert real in said, f"no {real!r} in {said}"
                if name == "session":
                    self._values[value] = said[name]
                elif name not in _FREE:
                    self.check(value, said[real])
        elif isinstance(expected, list):
            assert len(said) == len(expected), f"{said} instead of {expected}"
            for one, other in zip(expected, said, strict=True):
                self.check(one, other)
        else:
            assert said == self.real(expected), f"{said!r} instead of {expected!r}"

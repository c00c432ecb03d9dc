"""Options and arguments that one of pushd's own checks accepts; its refusal is a usage error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pushd.core.positions import parse_cursor
from pushd.errors import BadRequest


class Checked(click.ParamType[Any]):
    """``name`` is shown in the help; the value is what ``check`` makes of the text."""

    def __init__(self, name: str, check: Callable[[str], object]) -> None:
        self.name = name
        self._check = check

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Also of defaults. Raises BadParameter."""
        try:
            return self._check(value)
        except BadRequest as error:
            self.fail(error.detail, param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _cursor(text: str) -> str:
    parse_cursor(text)
    return text


CURSOR = Checked("cursor", _cursor)

"""What the writer found to be damaged beside its appends: told once, and left alone from then on.

Trying it again and again would end the process, or fill its log, for messages that can only be had
back from a backup. The next start tries once more.
"""

from __future__ import annotations

from typing import Final

import structlog

from pushd.log import failures

_logger = structlog.get_logger("pushd.log")

# What cannot be done for a channel; also what the log says.
KEEPING: Final = "retention"
SWEEPING: Final = "sweeping"
TIDYING: Final = "tidying"


class Damage:
    """The writer's; others may count."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        """Channels, and tables, of which something could not be done."""
        return len({of for _, of in self._known})

    def is_known(self, what: str, of: str) -> bool:
        """It was found since the start."""
        return (what, of) in self._known

    def found(self, what: str, of: str, error: Exception) -> None:
        """``of``: the channel or table. Says it, the first time."""
        if self.is_known(what, of):
            return
        self._known.add((what, of))
        _logger.error(
            f"{what} cannot go on: the log is damaged",
            of=of,
            error=str(error),
            cure=failures.CURE_OF_DAMAGE,
        )

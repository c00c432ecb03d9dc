"""One pull, as it is asked."""

from __future__ import annotations

from typing import NamedTuple


class Ask(NamedTuple):
    """One pull: these channels from these cursors. ``wanted`` were known to be behind.

    ``atleast``: the seqs that were hinted at. ``mine``: also what is the user's own; ``placing``:
    these of it because the server knows where they begin.
    """

    cursors: dict[str, str]
    wanted: frozenset[str]
    atleast: dict[str, int]
    mine: bool
    placing: frozenset[str] = frozenset()

"""Changes to the schema of ``pushd.db``, oldest first, each applied once and for good.

A released migration is never edited: a later one corrects it. ``sqlite_utils`` records each in
the transaction that applies it, so a crash leaves it either done or still to do. They are
imported by name, not searched for, so that a one-file binary finds them too.
"""

from __future__ import annotations

from migrations import m0001_log, m0002_groups, m0003_heard, m0004_seen
from migrations.registry import MIGRATIONS

NUMBERED = (m0001_log, m0002_groups, m0003_heard, m0004_seen)

__all__ = ["MIGRATIONS", "NUMBERED"]

"""The one set of migrations. A module of its own, so that numbered files can import it."""

from __future__ import annotations

from typing import Final

from sqlite_utils import Migrations

# The set's name stands in every database: never rename it.
MIGRATIONS: Final = Migrations("pushd")

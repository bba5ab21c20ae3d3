"""Columns that a command leaves alone, such as for what hangs on their table, while it does the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from azpg.failures import FAILED
from azpg.output import complain
from azpg_provision.commands.databases import Place
from azpg_provision.errors import ExtensionMismatch, LedgerMismatch, PlanRefused
from azpg_provision.vectorize.connections import Unbound

_OF_A_COLUMN = (PlanRefused, LedgerMismatch, ExtensionMismatch, Unbound)


class Refused:
    """What was refused of the columns that a command is about.

    Args:
        total: how many columns these are.

    Attributes:
        columns: those that were refused, with the reason, as --json has them.
    """

    def __init__(self, total: int) -> None:
        self.columns: list[dict[str, Any]] = []
        self._total = total

    @contextmanager
    def noting(self, place: Place) -> Iterator[None]:
        """What is done with a column: where that is refused, it ends, is said in a line, and noted."""
        try:
            yield
        except _OF_A_COLUMN as error:
            reason, name = str(error), place.column.name
            self.columns.append(named(place) | {"reason": reason})
            complain(f"{place.database}: {reason if name in reason else f'{name}: {reason}'}")

    def end(self) -> None:
        """Says how many were refused, and ends the command with exit code 1; does nothing if none was."""
        if not self.columns:
            return
        number = len(self.columns)
        complain(
            f"{number} column{'' if number == 1 else 's'} of {self._total} "
            f"{'was' if number == 1 else 'were'} refused: see why above."
        )
        raise typer.Exit(FAILED)


def named(place: Place) -> dict[str, Any]:
    """A column as --json names it."""
    one = place.column
    return {"database": place.database, "schema": one.schema, "table": one.table, "column": one.column}

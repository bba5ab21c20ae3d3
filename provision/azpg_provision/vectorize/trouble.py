"""What to do about an error of the server: try again, look for the row, or stop."""

from __future__ import annotations

import random
from enum import Enum, auto

import psycopg


class Remedy(Enum):
    """What helps."""

    AGAIN = auto()
    """Time: a connection, a lock, the model host, memory or disk that may come back."""
    SMALLER = auto()
    """Fewer rows, down to the one that fails: its text, its expression, or a constraint on it."""
    NONE = auto()
    """Nothing: a table, a right or a model that is not there fails for every row."""


LOCKED = "55P03"
FULL = "53100"
"""A full disk, which is no text's fault."""
_AGAIN = {"08", "40", "53", "58"}
_NONE = {"0A", "0L", "0P", "25", "26", "28", "2B", "34", "3D", "3F", "42", "55", "F0"}
_OF_A_ROW = "42601"
"""A syntax error, which a cast of a row's text raises: to tsquery, jsonpath or ltree."""
_LONGEST = 1000
"""Characters of a message, which a trigger may have written."""
SHORTEST, LONGEST = 0.1, 5.0
"""Seconds of a pause."""


def remedy(error: psycopg.Error) -> Remedy:
    """What helps against an error, by its SQLSTATE."""
    state = error.sqlstate
    if state is None:  # libpq's own: the connection is gone
        return (
            Remedy.AGAIN
            if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
            else Remedy.NONE
        )
    if state[:2] in _AGAIN or state == LOCKED or state.startswith("57P"):
        return Remedy.AGAIN
    # What is none of PostgreSQL's own is a trigger's or a function's of the user, and may be of one row only.
    return Remedy.NONE if state[:2] in _NONE and state != _OF_A_ROW else Remedy.SMALLER


def pause(attempt: int) -> float:
    """Seconds to wait after the attempt of that number, from 1; never quite the same."""
    longest = min(LONGEST, SHORTEST * 2.0 ** min(attempt - 1, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that workers do not come back together


def said(error: psycopg.Error) -> str:
    """What the server said, in one line that is not endless; no row's values, which its detail may hold."""
    primary = error.diag.message_primary or str(error).strip() or type(error).__name__
    return " ".join(primary[:_LONGEST].split())

"""One thing that was looked at before anything is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How it stands."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """A finding.

    Attributes:
        id: what was looked at, such as ``extension.vector``.
        reason: why it stands so, a sentence.
        action: what to do; '' where there is nothing to do.
    """

    id: str
    status: Status
    reason: str
    action: str = ""

    def as_json(self) -> dict[str, Any]:
        """The machine-readable form."""
        return asdict(self)


Look = tuple[str, Callable[[], Check]]
"""The id of a check, and what makes it."""
Looks = Iterator[Look]


def passed(id_: str, reason: str) -> Check:
    """What is as it should be."""
    return Check(id_, Status.PASS, reason)


def failed(id_: str, reason: str, action: str) -> Check:
    """What has to be changed first."""
    return Check(id_, Status.FAIL, reason, action)


def unknown(id_: str, reason: str, action: str = "") -> Check:
    """What cannot be known from here."""
    return Check(id_, Status.UNKNOWN, reason, action)

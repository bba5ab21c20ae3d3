"""Who is told what an apply does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from azpg_provision.plan.change import Change


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a change is.

    Attributes:
        what: in a few words, such as the phase of an index; '' where the figures say it all.
        done, total: such as rows; `total` is 0 where that is unknown.
        rate: of them a second, where nobody can say how far it is and a sample was measured.
    """

    what: str
    done: int
    total: int
    rate: float | None = None


class Reporter(Protocol):
    """Whoever watches an apply."""

    def tell(self, text: str) -> None:
        """Is told what is waited for, or what else there is to say: a sentence without its full stop."""

    def begin(self, change: Change, number: int, total: int) -> None:
        """Is told each change before it is done; it is the one of that number, from 1, of so many."""

    def show(self, progress: Progress) -> None:
        """Is told how far the present one is."""

    def done(self, change: Change, result: str, seconds: float) -> None:
        """Is told that it is done: what came of it in a word, such as ``800``, and how long it took."""


class Silent:
    """A `Reporter` whom nobody listens to."""

    def tell(self, text: str) -> None:
        """Says nothing."""

    def begin(self, change: Change, number: int, total: int) -> None:
        """Says nothing."""

    def show(self, progress: Progress) -> None:
        """Says nothing."""

    def done(self, change: Change, result: str, seconds: float) -> None:
        """Says nothing."""

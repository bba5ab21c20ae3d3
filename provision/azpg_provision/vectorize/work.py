"""What a run is asked for, what it tells while it works, and what came of it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from azpg_provision.errors import RowsFailed
from azpg_provision.target.target import Connection

Connect = Callable[[], Connection]
"""Opens a connection to the column's database, as the server's admin."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a run works.

    Attributes:
        workers: connections that work at the same time. With two, one writes while the other's texts are
            embedded.
        batch_rows, batch_bytes: the texts of one statement at most, and their bytes of UTF-8 (one text may
            have more). What a kill can lose is the statements under way.
        lease: seconds for which a range stays its worker's between two statements, while its session lasts.
        attempts: of a statement that fails for a reason that may go away.
        max_rate: rows a second of all workers together; None for as many as possible.
        max_failures: recorded failures after which a run stops: something is wrong with all rows.
        passes: how often rows that writers had locked are tried again.
    """

    workers: int = 2
    batch_rows: int = 256
    batch_bytes: int = 96 * 1024
    lease: float = 5.0
    attempts: int = 8
    max_rate: float | None = None
    max_failures: int = 1000
    passes: int = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        embedded: rows that got their vector, or NULL for a NULL text.
        skipped: rows that a writer had locked.
        failed: rows that got none, and why is recorded.
        seconds: since the run began.
    """

    embedded: int
    skipped: int
    failed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run, as in `Progress`; `skipped` is what was still locked at the end."""

    embedded: int
    skipped: int
    failed: int


Tell = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Tells nobody."""


def ignore(_: str) -> None:
    """Says nothing."""


class Tally:
    """The counts of one run, shared by its workers, and its speed limit.

    Attributes:
        own: the ids of its workers (see `azpg_provision.vectorize.claims.attend`).
    """

    def __init__(self, options: Options, tell: Tell, say: Callable[[str], None] = ignore) -> None:
        self._options = options
        self._tell = tell
        self._say = say
        self._said = False
        self.own: set[uuid.UUID] = set()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._due = 0.0
        self.embedded = self.skipped = self.failed = 0

    def add(self, *, embedded: int = 0, skipped: int = 0, failed: int = 0) -> None:
        """Counts rows, and tells. Raises `RowsFailed` after `Options.max_failures`."""
        with self._lock:
            self.embedded += embedded
            self.skipped += skipped
            self.failed += failed
            seconds = time.monotonic() - self._began
            self._tell(Progress(self.embedded, self.skipped, self.failed, seconds))
            if failed and self.failed >= self._options.max_failures:
                raise RowsFailed(
                    f"{self.failed} rows got no embedding, so that something is wrong with all of them: "
                    "see why with `azpg vectorize --failed`, then go on with `azpg vectorize --retry-failed`."
                )

    def pay(self, rows: int) -> float:
        """Notes rows that were done; returns the seconds to wait before the next, to keep to `max_rate`."""
        if self._options.max_rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now) + rows / self._options.max_rate
            return self._due - now

    def waits(self, text: str) -> None:
        """Says in a sentence, without its full stop, what the run waits for; once."""
        with self._lock:
            if not self._said:
                self._said = True
                self._say(text)

    def new_pass(self) -> None:
        """Forgets the rows that were skipped: they are tried again."""
        with self._lock:
            self.skipped = 0

    def outcome(self) -> Outcome:
        """What there is to say at the end."""
        return Outcome(self.embedded, self.skipped, self.failed)

"""A bar on a terminal: as wide as there is room for, moving between two reports, gone when it is over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

_NARROW = 100
"""Columns below which there is no room for a rate."""
_BESIDE = 36
"""Columns that a short bar and the time left take beside the name, and what stands around the figures."""
_ECHO = 5
"""Columns for what the terminal writes of a Ctrl-C."""
_NEARLY = 0.99
"""A bar is full when the work is done, not when it is thought to be."""


class Pace:
    """How far something is between two reports, by the rate of those before. No clock: it is told the time.

    Args:
        total: of what is done.
        began: seconds, as all times here.
        rate: a second, where nothing will be reported, and it was estimated beforehand.
    """

    def __init__(self, total: float, *, began: float, rate: float | None = None) -> None:
        self.total = total
        self.done = 0.0
        self._rate = rate
        self._began = self._when = began
        self._first: tuple[float, float] | None = None
        self._most = total if rate is not None else 0.0
        self._shown = 0.0

    def report(self, done: float, now: float) -> None:
        """Notes that so much is done."""
        if done > self.done:
            # The next report will not be about much more than this one was.
            self._most = done + 2 * (done - self.done)
            # What came before the first report may have been something else, such as loading a model.
            since, before = self._first or (self._began, 0.0)
            if now > since:
                self._rate = (done - before) / (now - since)
            self._first = self._first or (now, done)
        self.done, self._when = done, now

    def at(self, now: float) -> float:
        """What is probably done; never less than was said before, and no more than nearly all until it is."""
        if self.done >= self.total:
            return self.total
        guess = self.done + (self._rate or 0.0) * max(0.0, now - self._when)
        self._shown = max(self._shown, self.done, min(guess, self._most, _NEARLY * self.total))
        return self._shown

    def left(self, now: float) -> float | None:
        """Seconds until all is done; None as long as nobody knows."""
        at = self.at(now)
        if not self._rate or self.done < self.total <= at / _NEARLY:  # it takes longer than was thought
            return None
        return max(0.0, self.total - at) / self._rate

    @property
    def rate(self) -> float | None:
        """A second; None as long as nobody knows."""
        return self._rate


class Shown(Protocol):
    """A bar that is on the screen."""

    def begin(
        self,
        what: str,
        *,
        total: float | None = None,
        rate: float | None = None,
        unit: str | None = None,
        count: str = "",
    ) -> None:
        """Begins anew.

        Args:
            what: what is done.
            total: how much of it, None where that is unknown.
            rate: of it a second, where nobody will say how far it is.
            unit: such as ``rows``: the rate is shown, too, where there is room.
            count: which of how many things this is, such as ``3/17``.
        """
        ...

    def show(self, done: float, what: str = "") -> None:
        """Shows how much is done, and of what, such as a phase; nothing of it means the figures."""
        ...


class _Bar:
    """The columns of a `rich.progress.Progress`, and what they show."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # Rich would send what is printed meanwhile to the bar's own stream.
        self.progress = _Short(
            TextColumn("{task.description}", markup=False),
            _Line(table_column=Column(ratio=1)),
            TextColumn("{task.fields[figures]}", markup=False),
            _Left(table_column=Column(no_wrap=True, justify="right")),
            console=console,
            transient=True,
            redirect_stdout=False,
            expand=True,
        )
        self._task = self.progress.add_task("", total=None, visible=False, figures="", pace=None)
        self._pace: Pace | None = None
        self._unit: str | None = None

    def begin(
        self,
        what: str,
        *,
        total: float | None = None,
        rate: float | None = None,
        unit: str | None = None,
        count: str = "",
    ) -> None:
        """As `Shown.begin`."""
        now = time.monotonic()
        self._unit = unit
        self._pace = None if not total else Pace(total, began=now, rate=rate)
        beside = _BESIDE + len(count) + 2 * len(f"{total or 0:,.0f}")
        name = fitted(what, max(12, self._console.width - beside))
        self.progress.reset(
            self._task, description=f"{count} {name}".strip(), visible=True, figures="", pace=self._pace
        )
        if self._pace is not None:
            self.show(0, f"about {total:,.0f}" if rate is not None else "")

    def show(self, done: float, what: str = "") -> None:
        """As `Shown.show`."""
        pace = self._pace
        if pace is None:
            figures = what or (f"{done:,.0f}" if done else "")
        else:
            pace.report(done, time.monotonic())
            figures = what or f"{done:,.0f} of {pace.total:,.0f}"
            if self._unit is not None and pace.rate and self._console.width >= _NARROW:
                figures += f", {pace.rate:,.0f} {self._unit}/s"
        self.progress.update(self._task, figures=figures)


class _Short(Progress):
    """Leaves room for the ``^C`` of a terminal, which would else move the bar out of where it is erased."""

    def get_renderable(self) -> RenderableType:
        return _Shortened(super().get_renderable())


@dataclass(frozen=True)
class _Shortened:
    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.inner, options.update_width(max(1, options.max_width - _ECHO)))


class _Line(ProgressColumn):
    """The bar itself."""

    def render(self, task: Task) -> RenderableType:
        pace: Pace | None = task.fields["pace"]
        return ProgressBar(
            total=None if pace is None else pace.total,
            completed=0 if pace is None else pace.at(time.monotonic()),
            pulse=pace is None,
            animation_time=task.get_time(),
        )


class _Left(ProgressColumn):
    """The time left, or the time that has passed where that is all that is known."""

    def render(self, task: Task) -> Text:
        pace: Pace | None = task.fields["pace"]
        left = None if pace is None else pace.left(time.monotonic())
        if left is not None:
            return Text(f"{duration(left)} left", style="progress.remaining")
        return Text(duration(task.elapsed or 0.0), style="progress.elapsed")


@contextmanager
def bar(console: Console) -> Iterator[Shown]:
    """A bar at the end of what is printed; nothing of it is left afterwards."""
    made = _Bar(console)
    with made.progress:
        yield made


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:00:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fitted(text: str, width: int) -> str:
    """`text` in so many columns: its beginning and, of what is too long, its end."""
    if len(text) <= width:
        return text
    head = width // 3
    return f"{text[:head]}…{text[head + 1 - width :]}"

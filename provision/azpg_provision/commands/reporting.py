"""What a person sees of an apply while it works, and what stays of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from azpg.output import err, say

if TYPE_CHECKING:
    from rich.console import Console

    from azpg.progress import Shown
    from azpg_provision.apply.reporter import Progress, Reporter
    from azpg_provision.plan.change import Change
    from azpg_provision.plan.plan import Plan

_LONG = 2.0
"""Seconds after which it is worth a line in a log that a change is done."""


@contextmanager
def reporting(plan: Plan) -> Iterator[Reporter]:
    """Yields who is told of the changes of `plan`: a bar on a terminal, lines elsewhere."""
    console = err()
    if not console.is_interactive:
        yield Lines()
        return
    from azpg.progress import bar  # noqa: PLC0415

    databases = {change.database for change in plan.changes if change.database is not None}
    with bar(console) as shown:
        yield OnTerminal(console, shown, several=len(databases) > 1)


class Lines:
    """A line for each change when it begins, and one more when it is done for those that take long."""

    def tell(self, text: str) -> None:
        """See `Reporter`."""
        say(text)

    def begin(self, change: Change, number: int, total: int) -> None:
        """See `Reporter`."""
        say(f"{change} ({number} of {total})")

    def show(self, progress: Progress) -> None:
        """Says nothing."""

    def done(self, change: Change, result: str, seconds: float) -> None:
        """See `Reporter`."""
        if result or seconds >= _LONG:
            say(_done(change, result, seconds))


class OnTerminal:
    """A bar for the present change, and a line that stays for each that is done."""

    def __init__(self, console: Console, shown: Shown, *, several: bool) -> None:
        self._console, self._shown, self._several = console, shown, several
        self._begun: tuple[Change, str] | None = None
        self._what, self._total = "", 0

    def tell(self, text: str) -> None:
        """See `Reporter`."""
        from rich.text import Text  # noqa: PLC0415

        self._console.print(Text(text, style="dim"))

    def begin(self, change: Change, number: int, total: int) -> None:
        """See `Reporter`."""
        self._begun = change, f"{number}/{total}"
        self._what, self._total = "", 0
        self._shown.begin(change.what, count=f"{number}/{total}")

    def show(self, progress: Progress) -> None:
        """See `Reporter`."""
        assert self._begun is not None
        change, count = self._begun
        if progress.total != self._total or progress.what != self._what:  # such as the next phase of an index
            self._what, self._total = progress.what, progress.total
            self._shown.begin(
                change.what,
                total=progress.total or None,
                rate=progress.rate,
                unit="rows" if change.kind == "rows" else None,
                count=count,
            )
        if progress.rate is None:
            self._shown.show(progress.done, progress.what)

    def done(self, change: Change, result: str, seconds: float) -> None:
        """See `Reporter`."""
        from rich.text import Text  # noqa: PLC0415

        line = _done(change, result, seconds, several=self._several)
        self._console.print(Text.assemble((line[0], "green"), line[1:]))


def _done(change: Change, result: str, seconds: float, *, several: bool = False) -> str:
    where = f" in {change.database}" if several and change.database is not None else ""
    return f"✓ {change.what}{where}  {result}{' in ' if result else ''}{seconds:.1f} s"

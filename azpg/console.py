"""Rich's console, with our manners when nobody reads any more."""

from __future__ import annotations

from rich.console import Console


class Results(Console):
    """Standard output: a reader that leaves ends the command."""

    def on_broken_pipe(self) -> None:
        """Lets the error pass, where Rich would end the process."""
        raise  # noqa: PLE0704 - called while the error is handled


class Remarks(Console):
    """Standard error: nothing fails because nobody reads a remark."""

    def on_broken_pipe(self) -> None:
        """Falls silent."""
        self.quiet = True
